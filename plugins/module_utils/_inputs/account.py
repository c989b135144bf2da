# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the names, directories and keys of an account that is to be made on a server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.paths import path_problem

_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
# Stands in sshd's configuration and in a shell's words, without quotes.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9./_-]+")
_PUBLIC_KEY = re.compile(
    r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9-]+@openssh[.]com) [A-Za-z0-9+/]+=*( [^\r\n]*)?"
)


def account_problems(
    user: str, group: str, chroot: str, path: str, keys: Sequence[str], *, needs_key: bool = True
) -> list[str]:
    """Return a sentence for each value with which role sftp_target cannot make an account.

    Args:
        user: sftp_user.
        group: sftp_target_group.
        chroot: sftp_target_chroot.
        path: sftp_path.
        keys: sftp_target_authorized_keys.
        needs_key: Whether there must be a key already.
    """
    found = [
        f"{name} is '{value}'; expected a word of lower-case letters, digits, '_' and '-', 32 at most."
        for name, value in (("sftp_user", user), ("sftp_target_group", group))
        if not _NAME.fullmatch(value)
    ]
    if problem := path_problem(chroot):
        found.append(f"sftp_target_chroot is '{chroot}'; {problem}")
    elif not _PLAIN_PATH.fullmatch(chroot):
        found.append(
            f"sftp_target_chroot is '{chroot}'; expected letters, digits, '.', '_' and '-' between '/'."
        )
    if problem := path_problem(path, without_spaces=True):
        found.append(f"sftp_path is '{path}'; {problem}")
    found += _key_problems(keys)
    if needs_key and not keys:
        found.append(f"sftp_target_authorized_keys is empty, so that {user} could not log in.")
    return found


def _key_problems(keys: Sequence[str]) -> Iterator[str]:
    # What is no public key may be a private one, and is not shown.
    wrong = [str(number) for number, key in enumerate(keys, 1) if not _PUBLIC_KEY.fullmatch(key.strip())]
    if wrong:
        yield (
            f'Of sftp_target_authorized_keys, entry {", ".join(wrong)} is not "type base64 [comment]" on one line. '
            'Give public keys (*.pub) without options; the role adds "restrict".'
        )
