"""The data plane and the modules use two SSH libraries: they get into the same servers, and into those of ssh."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlflow_sftp.errors import SftpError
from mlflow_sftp.settings import Settings
from mlflow_sftp.storage import SftpStorage
from tests.integration.plugins.conftest import account, run
from tests.support.server import keygen
from tests.support.sshd import SshServer


def plain(config: str = "", **options: Any) -> Callable[[Path], SshServer]:
    return lambda directory: SshServer(directory / "server", config=config, **options)


def with_user_certificate(kind: str) -> Callable[[Path], SshServer]:
    """A server that knows no key, but an authority that signed the client's."""

    def make(directory: Path) -> SshServer:
        authority = keygen(directory / "authority", "ed25519")
        config = f"TrustedUserCAKeys {authority}.pub\nAuthorizedKeysFile none"
        server = SshServer(directory / "server", config=config, client_key_type=kind)
        sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", server.user]
        subprocess.run([*sign, f"{server.client_key}.pub"], check=True)
        return server

    return make


SERVERS = {
    "ed25519": plain(),
    "ecdsa": plain(client_key_type="ecdsa", host_key_type="ecdsa"),
    "rsa": plain(client_key_type="rsa", host_key_type="rsa"),
    "signatures with SHA-1": plain("PubkeyAcceptedAlgorithms ssh-rsa", client_key_type="rsa"),
    "signatures with SHA-256": plain("PubkeyAcceptedAlgorithms rsa-sha2-256", client_key_type="rsa"),
    "signatures with SHA-512": plain("PubkeyAcceptedAlgorithms rsa-sha2-512", client_key_type="rsa"),
    "host key with SHA-1": plain("HostKeyAlgorithms ssh-rsa", host_key_type="rsa"),
    "host key with SHA-256": plain("HostKeyAlgorithms rsa-sha2-256", host_key_type="rsa"),
    "user certificate": with_user_certificate("ed25519"),
    "RSA user certificate": with_user_certificate("rsa"),
    "old": plain("KexAlgorithms diffie-hellman-group14-sha1\nCiphers aes128-cbc\nMACs hmac-sha1"),
    "old exchange": plain("KexAlgorithms diffie-hellman-group14-sha1"),
    "old cipher": plain("Ciphers aes128-cbc,3des-cbc"),
    "curve25519-sha256": plain("KexAlgorithms curve25519-sha256"),
    "chacha20": plain("Ciphers chacha20-poly1305@openssh.com\nRekeyLimit 64K"),
    "AES-GCM": plain("Ciphers aes256-gcm@openssh.com\nRekeyLimit 64K"),
    "hmac-sha1": plain("Ciphers aes128-ctr\nMACs hmac-sha1"),
    "sntrup": plain("KexAlgorithms sntrup761x25519-sha512@openssh.com"),
    "umac": plain("Ciphers aes128-ctr\nMACs umac-128-etm@openssh.com"),
}
# What both libraries lack, and what only the modules' one does: the doctor says so.
MISSING_IN_BOTH, MISSING_IN_PARAMIKO = {"sntrup"}, {"umac"}


@pytest.mark.parametrize("name", SERVERS)
def test_both_get_in_where_ssh_does(tmp_path: Path, name: str) -> None:
    with SERVERS[name](tmp_path) as server:
        batch = ["-o", "BatchMode=yes", "-b", "-", f"{server.user}@{server.host}"]
        ssh = subprocess.run(
            ["sftp", "-F", str(server.ssh_config), *batch], input=b"ls /\n", capture_output=True
        )
        settings = Settings(ssh_config=server.ssh_config, retry_timeout=1.0)
        try:
            SftpStorage(server.uri(), settings).list_directory()
            store = True
        except SftpError:
            store = False
        result = run("sftp_check", {**account(server), "path": str(server.root), "probe_size": 300_000})
        modules = not result.get("failed")
    if name in MISSING_IN_BOTH | MISSING_IN_PARAMIKO:
        assert result["cause"] == "algorithm_missing_here"
        assert store is (name in MISSING_IN_PARAMIKO)
        return
    assert store == modules, result
    assert store or ssh.returncode != 0
