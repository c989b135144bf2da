# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a rotation of the SSH key: the key of the services, and beside it the old and the new one."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.durable_file import read, write
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.key_text import (
    KeyTextError,
    public_line,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import PublicKey
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.decisions import Keys
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.retired import with_retired

# Arguments of ssh-keygen, as community.crypto makes keys by default.
_GENERATED = {
    "ssh-ed25519": ("-t", "ed25519"),
    "ssh-rsa": ("-t", "rsa", "-b", "4096"),
    "ecdsa-sha2-nistp256": ("-t", "ecdsa", "-b", "256"),
    "ecdsa-sha2-nistp384": ("-t", "ecdsa", "-b", "384"),
    "ecdsa-sha2-nistp521": ("-t", "ecdsa", "-b", "521"),
}
_KEYGEN_SECONDS = 120


class KeyFiles:
    """The key files of one stack.

    Each change is complete or did not happen. The public half of a key that the collection generated lies beside it and
    goes first: clients refuse a private key beside the public half of another one.

    Args:
        stack: The stack's directory.
        uid: Of the containers' user, who reads the key.
        gid: Of the containers' group.
    """

    def __init__(self, stack: Path, uid: int, gid: int) -> None:
        self._services = stack / ".secrets" / "mlflow_sftp_key"
        self.place = stack / ".secrets" / "rotation"
        self.before = self.place / "ssh_key.before"
        self.following = self.place / "ssh_key.next"
        self._claim = self.place / "ssh_key.run"
        self._retired = stack / ".secrets" / "retired_keys"
        self._owner = (uid, gid)

    @property
    def current(self) -> Path | None:
        """The private key of the services; None where there is none.

        Raises:
            RefusedError: There are several.
        """
        found = sorted(path for path in self._services.glob("id_*") if not path.name.endswith(".pub"))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise RefusedError(f"{self._services} holds several keys: {names}", "Run site.yml first")
        return found[0] if found else None

    @property
    def claimed_by(self) -> str:
        """The run that makes the steps of the rotation; empty for none that has a name."""
        return (read(self._claim) or b"").decode(errors="replace")

    def claim(self, run: str) -> None:
        """Let a run make the steps from now on, and no other one."""
        if self.claimed_by != run:
            write(self._claim, run.encode() or None, (0, 0))

    @property
    def certificate(self) -> Path | None:
        """The certificate of the services' key; None where there is none."""
        current = self.current
        path = current.with_name(f"{current.name}-cert.pub") if current else None
        return path if path and path.exists() else None

    def keys(self) -> Keys:
        """Return the public halves of what there is.

        Raises:
            RefusedError: A key cannot be read.
        """
        return Keys(*(_public_half(path) for path in (self.current, self.before, self.following)))

    def begin(self, text: str | None) -> None:
        """Put the old and the new key aside; without a text, the new one is generated, of the old one's type.

        Raises:
            CutoverError: There is no key to replace, or ssh-keygen failed.
        """
        current, old = self.current, self.keys().current
        if current is None or old is None:
            raise CutoverError("there is no key to replace")
        self.place.mkdir(mode=0o700, exist_ok=True)
        write(_public(self.before), read(_public(current)), (0, 0))
        write(self.before, current.read_bytes(), (0, 0))
        if text is None:
            self._generate(old, _comment(current))
        else:
            # A generation that was interrupted may have left its public half.
            _public(self.following).unlink(missing_ok=True)
            # ssh reads no private key without the end of its last line.
            write(self.following, f"{text.rstrip()}\n".encode(), (0, 0))

    def install(self) -> None:
        """Give the services the new key."""
        self._give(self.following)

    def restore(self) -> None:
        """Give the services the old key again."""
        self._give(self.before)

    def retire(self) -> None:
        """Record that the old key is not to be used again, before the account refuses it."""
        keys = self.keys()
        if keys.before is None or keys.following is None:
            raise CutoverError("there is no old key to retire")
        record = (read(self._retired) or b"").decode(errors="replace")
        after = with_retired(record, keys.before.fingerprint, keys.following.fingerprint)
        write(self._retired, after.encode(), (0, 0))

    def finish(self) -> None:
        """Forget the old key; the services have the new one."""
        self._claim.unlink(missing_ok=True)
        for path in (self.before, self.following):
            for each in (_public(path), path):
                each.unlink(missing_ok=True)
        if not any(self.place.iterdir()):
            self.place.rmdir()

    def _give(self, source: Path) -> None:
        current = self.current
        if current is None:
            raise CutoverError(f"{self._services} holds no key any more", "Run site.yml")
        _public(current).unlink(missing_ok=True)
        write(current, source.read_bytes(), self._owner)
        write(_public(current), read(_public(source)), self._owner)

    def _generate(self, old: PublicKey, comment: str) -> None:
        made = self.place / "ssh_key.made"
        for path in (made, _public(made)):
            path.unlink(missing_ok=True)
        command = ["ssh-keygen", "-q", *_GENERATED[old.type], "-N", "", "-C", comment, "-f", str(made)]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_KEYGEN_SECONDS,
            check=False,
        )
        if done.returncode:
            raise CutoverError(f"ssh-keygen made no key: {done.stderr.strip() or done.returncode}")
        write(_public(self.following), read(_public(made)), (0, 0))
        write(self.following, made.read_bytes(), (0, 0))
        for path in (made, _public(made)):
            path.unlink()


def public_half(text: str) -> PublicKey:
    """Return the public half of a private key's text; raises KeyTextError."""
    return PublicKey(*public_line(text).split())


def _public_half(path: Path | None) -> PublicKey | None:
    if path is None or not path.exists():
        return None
    try:
        return public_half(path.read_text(errors="replace"))
    except KeyTextError as error:
        raise RefusedError(
            f"The private key in {path} {error}. Nothing was changed", "Run site.yml first"
        ) from error


def _public(path: Path) -> Path:
    return path.with_name(f"{path.name}.pub")


def _comment(path: Path) -> str:
    fields = (read(_public(path)) or b"").decode(errors="replace").split(None, 2)
    return fields[2].strip() if len(fields) > 2 else "mlflow"
