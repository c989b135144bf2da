"""Faults of host key, private key and login."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Diagnose, options
from tests.support.ansible import run_module
from tests.support.server import keygen
from tests.support.sshd import SshServer

_PASSPHRASE = "correct horse"


def public(key: Path) -> str:
    """Text of the public half."""
    return key.with_suffix(".pub").read_text()


def known_hosts(sshd: SshServer, text: str) -> Path:
    """Replace the list of trusted keys."""
    sshd.known_hosts.write_text(text)
    return sshd.known_hosts


def test_client_configuration_is_missing(sshd: SshServer, tmp_path: Path, diagnose: Diagnose) -> None:
    config = str(tmp_path / "missing")
    diagnose(options(sshd, ssh_config_file=config), "ssh_config_unreadable", remedy=config)


def test_host_key_is_unknown(sshd: SshServer, diagnose: Diagnose) -> None:
    known_hosts(sshd, "")
    seen = diagnose(options(sshd), "host_key_unknown", remedy=str(sshd.known_hosts))
    assert sshd.host_key_fingerprint in seen["detail"]


def test_host_key_is_listed_without_the_port(sshd: SshServer, diagnose: Diagnose) -> None:
    known_hosts(sshd, f"{sshd.host} {public(sshd.host_key)}")
    diagnose(options(sshd), "host_key_unknown", remedy="sftp_host_key_fingerprints")


def test_host_key_changed(sshd: SshServer, tmp_path: Path, diagnose: Diagnose) -> None:
    old = public(keygen(tmp_path / "old", "ed25519"))
    known_hosts(sshd, f"[{sshd.host}]:{sshd.port} {old}")
    seen = diagnose(options(sshd), "host_key_changed", remedy="sftp_host_key_fingerprints")
    assert seen["detail"].count("SHA256:") == 2


def test_host_key_is_not_the_pinned_one(sshd: SshServer, diagnose: Diagnose) -> None:
    pin = f"SHA256:{'A' * 43}"
    changed = {"known_hosts_file": None, "host_key_fingerprints": [pin]}
    seen = diagnose(options(sshd, **changed), "host_key_changed", remedy="sftp_host_key_fingerprints")
    assert pin in seen["detail"]
    assert sshd.host_key_fingerprint in seen["detail"]


def test_host_key_of_another_algorithm(sshd: SshServer, tmp_path: Path, diagnose: Diagnose) -> None:
    old = public(keygen(tmp_path / "old", "rsa"))
    known_hosts(sshd, f"[{sshd.host}]:{sshd.port} {old}")
    seen = diagnose(options(sshd), "host_key_other_algorithm", remedy="fingerprint")
    assert "ssh-rsa" in seen["detail"]
    assert "ssh-ed25519" in seen["detail"]


def test_host_key_is_revoked(sshd: SshServer, diagnose: Diagnose) -> None:
    known_hosts(sshd, sshd.known_hosts.read_text() + f"@revoked * {public(sshd.host_key)}")
    diagnose(options(sshd), "host_key_revoked", remedy="Do not connect")


def test_list_of_trusted_keys_is_missing(sshd: SshServer, tmp_path: Path, diagnose: Diagnose) -> None:
    missing = str(tmp_path / "missing")
    diagnose(options(sshd, known_hosts_file=missing), "known_hosts_unreadable", remedy=missing)


@pytest.mark.parametrize(
    ("trusted", "names", "validity", "problem"),
    [
        (True, "127.0.0.1", "+1h", None),
        (False, "127.0.0.1", "+1h", "authority is not trusted"),
        (True, "other.host.ch", "+1h", "not for 127.0.0.1"),
        (True, "127.0.0.1", "20200101:20200102", "not valid now"),
    ],
)
def test_host_certificate(
    tmp_path: Path, diagnose: Diagnose, trusted: bool, names: str, validity: str, problem: str | None
) -> None:
    authority = keygen(tmp_path / "authority", "ed25519")
    signer = authority if trusted else keygen(tmp_path / "other", "ed25519")
    certificate = tmp_path / "server/server/host_key-cert.pub"
    server = SshServer(tmp_path / "server", config=f"HostCertificate {certificate}")
    sign = ["ssh-keygen", "-q", "-h", "-s", str(signer), "-I", "tajo", "-n", names, "-V", validity]
    subprocess.run([*sign, f"{server.host_key}.pub"], check=True)
    with server:
        known_hosts(server, f"@cert-authority 127.0.0.* {public(authority)}")
        if problem is None:
            assert run_module("sftp_check", options(server)).result["ok"]
            return
        seen = diagnose(options(server), "host_certificate_invalid", remedy="sign the host key again")
        assert problem in seen["detail"]


def test_no_common_algorithm(misbehaving: Callable[[str], SshServer], diagnose: Diagnose) -> None:
    server = misbehaving("KexAlgorithms diffie-hellman-group14-sha1")
    seen = diagnose(options(server), "no_common_algorithm", remedy="KexAlgorithms")
    assert "only diffie-hellman-group14-sha1;" in seen["detail"]


def test_algorithm_that_only_openssh_has(misbehaving: Callable[[str], SshServer], diagnose: Diagnose) -> None:
    server = misbehaving("KexAlgorithms sntrup761x25519-sha512@openssh.com")
    diagnose(options(server), "algorithm_missing_here", remedy="lacks sntrup761x25519-sha512@openssh.com")


def test_key_is_missing(sshd: SshServer, tmp_path: Path, diagnose: Diagnose) -> None:
    key = str(tmp_path / "missing")
    diagnose(options(sshd, private_key_file=key), "key_missing", remedy=key)


def test_key_cannot_be_read(sshd: SshServer, tmp_path: Path, diagnose: Diagnose) -> None:
    diagnose(options(sshd, private_key_file=str(tmp_path)), "key_unreadable", remedy=str(tmp_path))


def test_key_is_too_open(sshd: SshServer, diagnose: Diagnose) -> None:
    sshd.client_key.chmod(0o644)
    diagnose(options(sshd), "key_too_open", remedy=f"chmod 600 {sshd.client_key}")


def protect(key: Path) -> None:
    """Put a passphrase on a key."""
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-N", _PASSPHRASE, "-f", str(key)], check=True, capture_output=True
    )


def test_key_is_encrypted(sshd: SshServer, diagnose: Diagnose) -> None:
    protect(sshd.client_key)
    diagnose(options(sshd), "key_encrypted", remedy="private_key_passphrase")
    assert run_module("sftp_check", options(sshd, private_key_passphrase=_PASSPHRASE)).result["ok"]


def test_passphrase_is_wrong(sshd: SshServer, diagnose: Diagnose) -> None:
    protect(sshd.client_key)
    wrong = options(sshd, private_key_passphrase="hunter2")
    diagnose(wrong, "key_passphrase_wrong", remedy=str(sshd.client_key))


def test_key_is_the_public_half(sshd: SshServer, diagnose: Diagnose) -> None:
    key = sshd.client_key.with_suffix(".pub")
    key.chmod(0o600)
    seen = diagnose(options(sshd, private_key_file=str(key)), "key_format", remedy="OpenSSH format")
    assert "public key" in seen["detail"]


def test_key_is_not_authorized(sshd: SshServer, tmp_path: Path, diagnose: Diagnose) -> None:
    key = keygen(tmp_path / "other", "ed25519")
    seen = diagnose(options(sshd, private_key_file=str(key)), "auth_refused", remedy=f"{key}")
    assert "the server offers publickey" in seen["detail"]


def test_server_takes_no_keys(misbehaving: Callable[[str], SshServer], diagnose: Diagnose) -> None:
    server = misbehaving("PubkeyAuthentication no\nPasswordAuthentication yes")
    seen = diagnose(options(server), "auth_method_refused", remedy="PubkeyAuthentication")
    assert "the server offers password" in seen["detail"]


def test_password_is_wrong(misbehaving: Callable[[str], SshServer], diagnose: Diagnose) -> None:
    server = misbehaving("PermitRootLogin yes\nPasswordAuthentication yes")
    changed = {"private_key_file": None, "password": "hunter2"}
    diagnose(options(server, **changed), "auth_refused", remedy="sftp_user")


def test_second_factor_is_wanted(misbehaving: Callable[[str], SshServer], diagnose: Diagnose) -> None:
    server = misbehaving("PasswordAuthentication yes\nAuthenticationMethods publickey,password")
    seen = diagnose(options(server), "auth_incomplete", remedy="AuthenticationMethods publickey")
    assert "still wants password" in seen["detail"]
