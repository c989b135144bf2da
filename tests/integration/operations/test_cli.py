"""The `copy` command, as an operator calls it."""

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mlflow_sftp.cli.copy import copy_command
from tests.support.sshd import SshServer


def call(sshd: SshServer, *arguments: object) -> Result:
    environment = {"MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config), "MLFLOW_SFTP_RETRY_TIMEOUT": "1"}
    return CliRunner().invoke(copy_command, [str(argument) for argument in arguments], env=environment)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source" / "a").mkdir(parents=True)
    (tmp_path / "source" / "a" / "1").write_bytes(bytes(3000))
    (tmp_path / "source" / "2").write_bytes(bytes(48))
    return tmp_path / "source"


def test_copy_tells_what_it_did(sshd: SshServer, source: Path, tmp_path: Path) -> None:
    places = (source, sshd.uri("target"), "--manifest", tmp_path / "manifest")
    foreseen = call(sshd, *places, "--check")
    assert "2 files (3.0 KiB) would be copied" in foreseen.stdout
    assert call(sshd, *places).stdout.startswith("2 files (3.0 KiB) copied, 0 compared, 2 in all (3.0 KiB)")
    again = json.loads(call(sshd, *places, "--json").stdout)
    assert (again["changed"], again["total"]) == (False, {"files": 2, "bytes": 3048})
    assert (sshd.root / "target" / "a" / "1").read_bytes() == bytes(3000)


def test_what_is_trusted_needs_a_manifest(sshd: SshServer, source: Path, tmp_path: Path) -> None:
    places = (source, sshd.uri("target"), "--trust-target")
    wrong = call(sshd, *places)
    assert (wrong.exit_code, "--trust-target needs --manifest" in wrong.stderr) == (2, True)
    for copied in (2, 0):
        told = json.loads(call(sshd, *places, "--manifest", tmp_path / "manifest", "--json").stdout)
        assert told["copied"]["files"] == copied


def test_directories_may_come_from_a_file(sshd: SshServer, source: Path, tmp_path: Path) -> None:
    (tmp_path / "some.json").write_text('["a"]')
    copied = call(sshd, source, sshd.uri("some"), "--include-from", tmp_path / "some.json", "--json")
    assert json.loads(copied.stdout)["copied"] == {"files": 1, "bytes": 3000}
    copied = call(sshd, source, sshd.uri("others"), "--exclude-from", tmp_path / "some.json", "--json")
    assert json.loads(copied.stdout)["copied"] == {"files": 1, "bytes": 48}
    for wrong in ("{", "[1]", '{"a": 1}'):
        (tmp_path / "some.json").write_text(wrong)
        assert call(sshd, source, sshd.uri("none"), "--include-from", tmp_path / "some.json").exit_code == 2


def test_commands_that_come_one_after_the_other(sshd: SshServer, source: Path) -> None:
    (source / "gone").symlink_to("nowhere")
    program = [sys.executable, "-m", "mlflow_sftp", "serve", "--preload", "copy"]
    environment = os.environ | {"MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config)}
    commands = [
        ["copy", str(source), sshd.uri("served"), "--json"],
        ["copy", str(source / "nowhere"), sshd.uri("served"), "--json"],
        ["info", sshd.uri("served"), "--json"],
        ["info", "--unknown"],
    ]
    text = "".join(json.dumps(command) + "\n" for command in commands)
    done = subprocess.run(program, input=text, env=environment, capture_output=True, text=True, check=True)
    ready, copied, missing, found, wrong = map(json.loads, done.stdout.splitlines())
    assert ready == {"ready": True}
    assert (copied["exit"], copied["result"]["copied"]["files"]) == (3, 2)
    assert "not copied: gone" in copied["errors"]
    assert (missing["exit"], missing["result"]["error"]["cause"]) == (1, "missing_store")
    assert (found["exit"], found["result"]["store"]["files"]) == (0, 2)
    assert (wrong["exit"], wrong["result"]) == (2, None)
    assert "--unknown" in wrong["errors"]


def test_files_left_behind_have_their_own_exit_code(sshd: SshServer, source: Path) -> None:
    (source / "gone").symlink_to("nowhere")
    result = call(sshd, source, sshd.uri("target"), "--bwlimit", "10M")
    assert result.exit_code == 3
    assert "not copied: gone: leads nowhere" in result.stderr


def test_a_terminal_shows_a_bar_with_rate_and_time_left(sshd: SshServer, source: Path) -> None:
    (source / "large").write_bytes(bytes(3 << 20))
    terminal, child_side = pty.openpty()
    program = [sys.executable, "-c", "from mlflow_sftp.cli.main import main; main()"]
    environment = os.environ | {"MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config), "TERM": "xterm"}
    command = [*program, "copy", "--bwlimit", "2M", str(source), sshd.uri("target")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=child_side) as child:
        os.close(child_side)
        shown = b""
        with suppress(OSError):  # the end of a terminal
            while part := os.read(terminal, 65536):
                shown += part
        os.close(terminal)
    assert child.returncode == 0
    assert re.search(rb"[23]/3 files, \d\.\d MiB/3\.0 MiB, \d.* [KM]iB/s, \d+ s left", shown)
    assert "━".encode() in shown


def test_errors_are_one_line(sshd: SshServer, source: Path) -> None:
    sshd.stop()
    result = call(sshd, source, sshd.uri("target"))
    assert result.exit_code == 1
    assert f"127.0.0.1:{sshd.port}" in result.stderr
    assert "Traceback" not in result.output
    assert call(sshd, source, "/t", "--bwlimit", "fast").exit_code == 2
