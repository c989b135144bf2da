"""Which host keys known_hosts and pins make trusted."""

from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.known_hosts import read_known_hosts
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import KEY_TYPES, PublicKey
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.trust import (
    ServerKey,
    TrustRules,
    further_types,
)

_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZ1UQtXGDoShNzKfC7uTLVpmUWJBVnPSDEKbC1nKVH1"
_OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHl2kzmGKHgXDYLMXbnxHGzYZ2ZtrPpCtUGxIFXOBX9w"
_RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQC7"
_NAME = "[tajo.host.ch]:2121"


def rules(tmp_path: Path, text: str, *fingerprints: str) -> TrustRules:
    """Trust rules of a known_hosts file and pins."""
    file = tmp_path / "known_hosts"
    file.write_text(text)
    return TrustRules("tajo.host.ch", read_known_hosts([str(file)], _NAME), fingerprints, checks_files=True)


def key(text: str) -> PublicKey:
    """Key from ``type blob``."""
    return PublicKey(*text.split())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "host_key_unknown"),
        (f"{_NAME} {_OTHER}\n", "host_key_changed"),
        (f"{_NAME} {_RSA}\n", "host_key_other_algorithm"),
        (f"{_NAME} {_KEY}\n@revoked * {_KEY}\n", "host_key_revoked"),
    ],
)
def test_untrusted_key(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(DiagnosedError) as raised:
        rules(tmp_path, text).check(ServerKey(key(_KEY), None))
    assert raised.value.cause.code == code
    assert key(_KEY).fingerprint in str(raised.value)


def test_changed_key_shows_both_fingerprints(tmp_path: Path) -> None:
    with pytest.raises(DiagnosedError) as raised:
        rules(tmp_path, f"{_NAME} {_OTHER}\n").check(ServerKey(key(_KEY), None))
    assert key(_OTHER).fingerprint in str(raised.value)


def test_file_and_pin_must_agree(tmp_path: Path) -> None:
    line = f"{_NAME} {_KEY}\n"
    assert "pinned" in rules(tmp_path, line, key(_OTHER).fingerprint, key(_KEY).fingerprint).check(
        ServerKey(key(_KEY), None)
    )
    with pytest.raises(DiagnosedError):
        rules(tmp_path, line, key(_OTHER).fingerprint).check(ServerKey(key(_KEY), None))


def test_algorithms_of_known_keys_come_first(tmp_path: Path) -> None:
    assert rules(tmp_path, f"{_NAME} {_RSA}\n").key_algorithms[:2] == ["rsa-sha2-512", "rsa-sha2-256"]


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        (("ssh-ed25519",), []),
        (("rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"), ["ssh-rsa"]),
        (("rsa-sha2-512", "ecdsa-sha2-nistp256", "ssh-ed25519"), ["ssh-rsa", "ecdsa-sha2-nistp256"]),
    ],
)
def test_only_types_that_the_server_has_are_asked_for(offered: tuple[str, ...], expected: list[str]) -> None:
    assert further_types(KEY_TYPES, "ssh-ed25519", offered) == expected


def test_types_that_the_pinned_keys_have_come_first() -> None:
    trusting = TrustRules("tajo.host.ch", [], ("SHA256:x",), checks_files=False, first_types=("ssh-rsa",))
    assert trusting.key_algorithms[:3] == ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]
