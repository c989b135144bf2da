"""sftp_check, sftp_digest and sftp_host_key_info as tasks; the faults are in tests/faults."""

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import STAGES

from tests.integration.plugins.conftest import account
from tests.support.ansible import run_module, run_task
from tests.support.server import SftpServer, keygen
from tests.support.sshd import SshServer


def statuses(result: dict[str, Any]) -> dict[str, str]:
    """Status of each stage."""
    return {stage["name"]: stage["status"] for stage in result["stages"]}


def test_healthy_account(server: SftpServer) -> None:
    result = run_module("sftp_check", {**account(server), "path": str(server.root)}).result
    assert result["ok"]
    assert not result.get("changed")
    assert statuses(result) == dict.fromkeys(STAGES, "ok")
    assert not [name for name in os.listdir(server.root) if name.startswith(".sftp_check")]


def test_as_a_task_shows_no_secret(sshd: SshServer) -> None:
    secrets = {"password": "hunter2", "private_key_passphrase": "correct horse"}
    outcome = run_task("sftp_check", {**account(sshd), **secrets, "path": str(sshd.root)})
    assert outcome.result["ok"], outcome.output
    for secret in (*secrets.values(), "PRIVATE KEY", "b3BlbnNzaC1rZXkt"):
        assert secret not in outcome.output


def test_check_mode_writes_nothing_and_says_so(sshd: SshServer) -> None:
    sshd.root.chmod(0o500)
    before = sshd.root.stat().st_mtime_ns
    outcome = run_task("sftp_check", {**account(sshd), "path": str(sshd.root)}, check=True)
    result = outcome.result
    assert result["ok"]
    skipped = [stage for stage in result["stages"] if stage["status"] == "skipped"]
    assert [stage["name"] for stage in skipped] == ["write", "read", "rename", "delete"]
    assert all("check mode" in stage["detail"] for stage in skipped)
    assert sshd.root.stat().st_mtime_ns == before


def test_without_a_path_the_check_ends_after_the_login(sshd: SshServer) -> None:
    result = run_module("sftp_check", account(sshd)).result
    assert statuses(result)["sftp"] == "ok"
    assert statuses(result)["path"] == "skipped"


@pytest.mark.parametrize(
    ("validity", "cause"), [("-1h:+1h", None), ("20240101Z:20250101Z", "user_certificate_invalid")]
)
def test_certificate_and_its_end(tmp_path: Path, validity: str, cause: str | None) -> None:
    authority = keygen(tmp_path / "authority", "ed25519")
    config = f"TrustedUserCAKeys {authority}.pub\nAuthorizedKeysFile none"
    with SshServer(tmp_path / "server", config=config) as sshd:
        command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", sshd.user, "-V", validity]
        subprocess.run([*command, f"{sshd.client_key}.pub"], check=True)
        result = run_module("sftp_check", {**account(sshd), "fail_on_error": False}).result
    assert result.get("cause") == cause
    assert not cause or f"{sshd.client_key}-cert.pub has expired at 2025-01-01" in result["msg"]


def test_client_configuration(sshd: SshServer) -> None:
    options = {"host": "tajo.host.ch", "ssh_config_file": str(sshd.ssh_config), "path": str(sshd.root)}
    assert run_module("sftp_check", options).result["ok"]


def test_failure_without_failing_the_task(sshd: SshServer) -> None:
    sshd.stop()
    outcome = run_module("sftp_check", {**account(sshd), "fail_on_error": False})
    assert not outcome.failed
    assert outcome.result["ok"] is False
    assert outcome.result["msg"].startswith(
        f"SFTP check of {sshd.user}@{sshd.host}:{sshd.port} failed at connect:"
    )


def test_pin_of_a_key_the_client_would_not_choose(tmp_path: Path) -> None:
    rsa = keygen(tmp_path / "rsa", "rsa")
    with SshServer(tmp_path / "server", config=f"HostKey {rsa}") as server:
        offered = run_module("sftp_host_key_info", {"host": server.host, "port": server.port}).result[
            "host_keys"
        ]
        assert [key["type"] for key in offered] == ["ssh-ed25519", "ssh-rsa"]
        options = {**account(server), "known_hosts_file": None}
        for key in offered:
            pinned = {**options, "host_key_fingerprints": ["SHA256:old", key["fingerprint"]]}
            assert run_module("sftp_check", pinned).result["ok"]


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_host_keys(tmp_path: Path, kind: str) -> None:
    with SshServer(tmp_path / "server", host_key_type=kind, client_key_type=kind) as server:
        pins = ["SHA256:old", server.host_key_fingerprint]
        options = {"host": "tajo.host.ch", "address": server.host, "port": server.port, "fingerprints": pins}
        result = run_module("sftp_host_key_info", options).result
        (key,) = result["host_keys"]
        assert (key["fingerprint"], key["trusted"]) == (server.host_key_fingerprint, True)
        assert result["unused_fingerprints"] == ["SHA256:old"]
        public = " ".join(server.host_key.with_suffix(".pub").read_text().split()[:2])
        assert key["known_hosts_line"] == f"[tajo.host.ch]:{server.port} {public}"
        assert run_module("sftp_check", account(server)).result["ok"]


def test_host_keys_of_a_server_that_is_down(sshd: SshServer) -> None:
    sshd.stop()
    outcome = run_task("sftp_host_key_info", {"host": sshd.host, "port": sshd.port})
    assert outcome.failed
    assert outcome.result["cause"] == "connection_refused"


def test_digest(server: SftpServer) -> None:
    contents = {"a": b"", "d/e/ü 1": b"x" * 3_000_000, "d/f": b"y"}
    for path, content in contents.items():
        file = server.root / "t" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (server.root / "t/link").symlink_to("a")
    expected = {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    options = {**account(server), "path": str(server.root / "t"), "expected": expected}
    result = run_module("sftp_digest", options).result
    assert [file["path"] for file in result["files"]] == sorted(contents)
    assert {file["path"]: file["size"] for file in result["files"]} == {
        path: len(content) for path, content in contents.items()
    }


def test_digest_names_differences(sshd: SshServer) -> None:
    for name in ("same", "changed", "more"):
        (sshd.root / name).write_text(name)
    expected = {"same": hashlib.sha256(b"same").hexdigest(), "changed": "0", "gone": "0"}
    outcome = run_task("sftp_digest", {**account(sshd), "path": str(sshd.root), "expected": expected})
    assert outcome.failed
    assert outcome.result["differences"] == {
        "missing": ["gone"],
        "changed": ["changed"],
        "unexpected": ["more"],
    }
    assert "missing: gone; changed: changed; unexpected: more" in outcome.result["msg"]


def test_digest_of_nothing(sshd: SshServer) -> None:
    outcome = run_module("sftp_digest", {**account(sshd), "path": str(sshd.root / "gone")})
    assert outcome.failed
    assert str(sshd.root / "gone") in outcome.result["msg"]
