"""sftp_directory and sftp_authorized_key on OpenSSH, ProFTPD and Dropbear: check, do, again."""

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.plugins.conftest import account
from tests.support.ansible import Outcome, run_module, run_task
from tests.support.link import Link
from tests.support.server import SftpServer, keygen
from tests.support.sshd import SshServer


def twice_checked(module: str, options: dict[str, Any]) -> Outcome:
    """Run in check mode, for real, and both again; the prediction must be exact and the second run idle."""
    predicted = run_module(module, options, check=True)
    done = run_module(module, options)
    assert not done.failed, done.output
    assert predicted.result == done.result
    for check in (True, False):
        again = run_module(module, options, check=check)
        assert again.result["changed"] is False, again.output
    return done


def mode(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_directory_with_parents_and_mode(server: SftpServer) -> None:
    path = server.root / "a b/ü/c"
    done = twice_checked("sftp_directory", {**account(server), "path": str(path), "mode": "0750"})
    assert done.result["changed"]
    assert done.result["created"] == [str(server.root / "a b"), str(server.root / "a b/ü"), str(path)]
    assert mode(path) == 0o750
    assert done.result["diff"]["before"]["state"] == "absent"


def test_mode_of_a_directory_that_is_there(sshd: SshServer) -> None:
    path = sshd.root / "a"
    path.mkdir(mode=0o755)
    done = twice_checked("sftp_directory", {**account(sshd), "path": str(path), "mode": "0700"})
    assert done.result["changed"]
    assert done.result["created"] == []
    assert mode(path) == 0o700
    assert run_module("sftp_directory", {**account(sshd), "path": str(path)}).result["changed"] is False


def test_directory_without_its_parents(sshd: SshServer) -> None:
    options = {**account(sshd), "path": str(sshd.root / "a/b"), "parents": False}
    for check in (True, False):
        refused = run_module("sftp_directory", options, check=check)
        assert refused.failed
        assert "parents is false" in refused.result["msg"]
    assert not (sshd.root / "a").exists()


def test_directory_where_a_file_is(server: SftpServer) -> None:
    (server.root / "file").touch()
    refused = run_module("sftp_directory", {**account(server), "path": str(server.root / "file/a")})
    assert "is not a directory" in refused.result["msg"]


def test_removal_refuses_what_holds_something(sshd: SshServer) -> None:
    (sshd.root / "a/b").mkdir(parents=True)
    options = {**account(sshd), "path": str(sshd.root / "a"), "state": "absent"}
    for check in (True, False):
        refused = run_module("sftp_directory", options, check=check)
        assert "recurse is false" in refused.result["msg"]
    assert (sshd.root / "a/b").is_dir()


def test_recursive_removal_does_not_follow_links(server: SftpServer) -> None:
    outside = server.root / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (server.root / "a/b").mkdir(parents=True)
    (server.root / "a/b/file").touch()
    (server.root / "a/link").symlink_to(outside)
    options = {**account(server), "path": str(server.root / "a"), "state": "absent", "recurse": True}
    assert run_module("sftp_directory", options).result["changed"]
    assert not (server.root / "a").exists()
    assert (outside / "precious").exists()


def test_link_itself_is_not_removed(server: SftpServer) -> None:
    (server.root / "directory").mkdir()
    (server.root / "link").symlink_to(server.root / "directory")
    options = {**account(server), "path": str(server.root / "link"), "state": "absent", "recurse": True}
    assert run_module("sftp_directory", options).failed
    assert (server.root / "link").is_symlink()


def test_key_is_added_and_removed(server: SftpServer, tmp_path: Path) -> None:
    public = keygen(tmp_path / "new", "ed25519").with_suffix(".pub").read_text()
    file = server.root / "keys/authorized_keys"
    options = {**account(server), "path": str(file), "key": public}
    assert twice_checked("sftp_authorized_key", options).result["changed"]
    assert public.split()[1] in file.read_text().replace("\n", "")
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    assert os.listdir(file.parent) == ["authorized_keys"]
    assert run_module("sftp_authorized_key", {**options, "state": "absent"}).result["changed"]
    assert file.read_text() == ""


def test_odd_file_survives(server: SftpServer, tmp_path: Path) -> None:
    public = keygen(tmp_path / "new", "ed25519").with_suffix(".pub").read_text()
    file = server.root / "authorized_keys"
    content = b'from="a b",x ssh-rsa AAAA1234 c\r\n\n# c\nfrobnicate\nssh-rsa AAAA5678 no end'
    file.write_bytes(content)
    options = {**account(server), "path": str(file), "key": public, "key_options": "restrict"}
    assert run_module("sftp_authorized_key", options).result["changed"]
    assert file.read_bytes().startswith(content)
    assert twice_checked("sftp_authorized_key", {**options, "state": "absent"}).result["changed"]
    assert file.read_bytes() == content


def test_own_key_is_not_removed(sshd: SshServer, tmp_path: Path) -> None:
    file = sshd.root / "authorized_keys"
    own = sshd.client_key.with_suffix(".pub").read_text()
    other = keygen(tmp_path / "other", "ed25519").with_suffix(".pub").read_text()
    file.write_text(own)
    options = {**account(sshd), "path": str(file)}
    removed = {"key": own, "state": "absent"}
    replaced = {"key": other, "exclusive": True}
    for asked in (removed, replaced):
        refused = run_module("sftp_authorized_key", {**options, **asked})
        assert "allow_lockout" in refused.result["msg"]
        assert file.read_text() == own
    assert run_module("sftp_authorized_key", {**options, **replaced, "allow_lockout": True}).result["changed"]
    assert file.read_text() == other


def test_file_that_others_may_write_is_tightened(sshd: SshServer) -> None:
    file = sshd.root / "authorized_keys"
    own = sshd.client_key.with_suffix(".pub").read_text()
    file.write_text(own)
    file.chmod(0o666)
    assert twice_checked("sftp_authorized_key", {**account(sshd), "path": str(file), "key": own}).result[
        "changed"
    ]
    assert mode(file) == 0o600


def test_link_to_the_file_is_kept(sshd: SshServer) -> None:
    own = sshd.client_key.with_suffix(".pub").read_text()
    (sshd.root / "real").write_text("# mine\n")
    (sshd.root / "authorized_keys").symlink_to("real")
    path = str(sshd.root / "authorized_keys")
    assert run_module("sftp_authorized_key", {**account(sshd), "path": path, "key": own}).result["changed"]
    assert (sshd.root / "authorized_keys").is_symlink()
    assert (sshd.root / "real").read_text() == f"# mine\n{own}"


@pytest.mark.parametrize("denied", ["posix-rename", "posix-rename,setstat,fsetstat"])
def test_server_with_less(tmp_path: Path, denied: str) -> None:
    config = f"ForceCommand /usr/lib/openssh/sftp-server -P {denied}"
    with SshServer(tmp_path / "server", config=config) as server:
        file = server.root / "authorized_keys"
        file.write_text("# old\n")
        own = server.client_key.with_suffix(".pub").read_text()
        options = {**account(server), "path": str(file), "key": own}
        assert twice_checked("sftp_authorized_key", options).result["changed"]
        assert file.read_text() == f"# old\n{own}"
        assert os.listdir(server.root) == ["authorized_keys"]


def test_killed_at_any_step_the_file_is_old_or_new(sshd: SshServer, tmp_path: Path) -> None:
    file = sshd.root / "authorized_keys"
    old = "# line\n" * 20_000
    file.write_text(old)
    key = keygen(tmp_path / "new", "ed25519").with_suffix(".pub").read_text()
    program = "ansible_collections.freegee.mlflow_sftp.plugins.modules.sftp_authorized_key"
    seen = set()
    with Link(sshd.port, bandwidth=400_000) as link:
        sshd.known_hosts.write_text(sshd.known_hosts.read_text().replace(str(sshd.port), str(link.port)))
        options = {**account(sshd), "port": link.port, "path": str(file), "key": key}
        arguments = tmp_path / "arguments.json"
        arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
        for step in range(6):
            file.write_text(old)
            command = [sys.executable, "-m", program, str(arguments)]
            environment = {**os.environ, "PYTHONPATH": ".ansible/collections"}
            child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            time.sleep(0.6 + step * 0.25)
            link.cut()
            child.wait(30)
            assert file.read_text() in (old, old + key)
            seen.add(child.returncode)
    assert 1 in seen


def test_as_tasks_with_password_nothing_secret_is_shown(sshd: SshServer) -> None:
    secrets = {"password": "hunter2", "private_key_passphrase": "correct horse"}
    directory = run_task("sftp_directory", {**account(sshd), **secrets, "path": str(sshd.root / "a")})
    key = run_task(
        "sftp_authorized_key",
        {**account(sshd), **secrets, "path": str(sshd.root / "k"), "key": "ssh-ed25519 AAAAC3Nz x"},
    )
    for outcome in (directory, key):
        assert outcome.result["changed"], outcome.output
        assert "+++ after" in outcome.output
        for secret in (*secrets.values(), "PRIVATE KEY"):
            assert secret not in outcome.output
