"""What a user certificate is, when it does not let its key in."""

import subprocess
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.key_text import public_line
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import PublicKey
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.user_certificate import (
    certificate_problem,
)

from tests.support.server import keygen


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificate")
    keygen(directory / "authority", "ed25519")
    return keygen(directory / "key", "ed25519")


def certified(key: Path, *options: str) -> str:
    authority = key.with_name("authority")
    command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", *options, f"{key}.pub"]
    subprocess.run(command, check=True, capture_output=True)
    return key.with_name("key-cert.pub").read_text()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("-n", "freegee"), ""),
        ((), ""),
        (("-n", "freegee", "-V", "-1h:+1h"), ""),
        (("-n", "freegee", "-V", "20240101Z:20250101Z"), "has expired at 2025-01-01 00:00 UTC"),
        (("-n", "freegee", "-V", "20990101Z:21000101Z"), "is valid only from 2099-01-01 00:00 UTC"),
        (("-n", "root,admin"), "is for root, admin, not for freegee"),
        (("-h", "-n", "freegee"), "is not for users"),
    ],
)
def test_problem(key: Path, options: tuple[str, ...], expected: str) -> None:
    own = PublicKey(*public_line(key.read_text()).split())
    assert certificate_problem(certified(key, *options), "freegee", own) == expected


def test_certificate_of_another_key(key: Path) -> None:
    other = PublicKey(*public_line(key.with_name("authority").read_text()).split())
    assert "is for another key, SHA256:" in certificate_problem(certified(key), "freegee", other)


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----", "ssh-ed25519 AAAA"])
def test_no_certificate(text: str) -> None:
    assert "is no certificate of OpenSSH" in certificate_problem(text, "freegee")


def test_damaged_certificate(key: Path) -> None:
    kind, blob, _ = certified(key).split()
    assert certificate_problem(f"{kind} {blob[:100]}", "freegee") == "is damaged"
