"""Every way in which a private key file can be unusable has a name of its own."""

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.private_key import load_private_key

_PASSPHRASE = "correct horse"


def keygen(path: Path, *arguments: str) -> Path:
    """Make a key with ssh-keygen."""
    command = ["ssh-keygen", "-q", "-C", "", "-f", str(path), *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def cause(file: Path, passphrase: str | None = None) -> str:
    """Return the code with which loading fails, having checked that no secret is told."""
    with pytest.raises(DiagnosedError) as raised:
        load_private_key(str(file), passphrase)
    told = f"{raised.value} {raised.value.remedy}"
    assert str(file) in told
    assert _PASSPHRASE not in told
    assert "b3BlbnNzaC1rZXkt" not in told
    return raised.value.cause.code


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("passphrase", ["", _PASSPHRASE])
@pytest.mark.parametrize("file_format", ["RFC4716", "PKCS8", "PEM"])
def test_formats(tmp_path: Path, kind: str, passphrase: str, file_format: str) -> None:
    file = keygen(tmp_path / "key", "-t", kind, "-N", passphrase, "-m", file_format)
    public = file.with_suffix(".pub").read_text().split()
    key = load_private_key(str(file), passphrase or None)
    assert [key.get_name(), key.get_base64()] == public[:2]


def test_passphrase_given_for_a_key_without_one(tmp_path: Path) -> None:
    file = keygen(tmp_path / "key", "-t", "ed25519", "-N", "")
    assert load_private_key(str(file), _PASSPHRASE).get_name() == "ssh-ed25519"


def test_missing(tmp_path: Path) -> None:
    assert cause(tmp_path / "missing") == "key_missing"


def test_unreadable(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    assert cause(tmp_path / "key") == "key_unreadable"


def test_too_open(tmp_path: Path) -> None:
    file = keygen(tmp_path / "key", "-t", "ed25519", "-N", "")
    file.chmod(0o640)
    assert cause(file) == "key_too_open"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_mode_of_another_owners_key_is_not_judged(tmp_path: Path) -> None:
    file = keygen(tmp_path / "key", "-t", "ed25519", "-N", "")
    file.chmod(0o644)
    os.chown(file, 10001, 10001)
    assert load_private_key(str(file), None)


@pytest.mark.parametrize("file_format", ["RFC4716", "PEM"])
def test_encrypted(tmp_path: Path, file_format: str) -> None:
    file = keygen(tmp_path / "key", "-t", "rsa", "-N", _PASSPHRASE, "-m", file_format)
    assert cause(file) == "key_encrypted"
    assert cause(file, "wrong") == "key_passphrase_wrong"


@pytest.mark.parametrize(
    "content", ["", "rubbish", "ssh-ed25519 AAAA", "PuTTY-User-Key-File-3: ssh-ed25519\n"]
)
def test_not_a_private_key(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key"
    file.write_text(content)
    file.chmod(0o600)
    assert cause(file) == "key_format"


def test_truncated(tmp_path: Path) -> None:
    file = keygen(tmp_path / "key", "-t", "ed25519", "-N", "")
    file.write_text(file.read_text()[:200])
    assert cause(file) == "key_format"


def test_certificate_beside_the_key_is_used(tmp_path: Path) -> None:
    authority = keygen(tmp_path / "ca", "-t", "ed25519", "-N", "")
    file = keygen(tmp_path / "key", "-t", "ed25519", "-N", "")
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", "freegee", f"{file}.pub"]
    subprocess.run(sign, check=True)
    assert load_private_key(str(file), None).public_blob is not None
