"""The mlflow-sftp program: what it prints, what it does, how it exits."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from mlflow_sftp.cli.main import COMMANDS, main
from tests.integration.mlflow_sftp.conftest import host_and_proftpd
from tests.support.server import SftpServer
from tests.support.sshd import SshServer
from tests.support.storing import files_below, pattern

_PROGRAM = (sys.executable, "-c", "from mlflow_sftp.cli.main import main; main(prog_name='mlflow-sftp')")


class _Program:
    def __init__(self, server: SftpServer) -> None:
        self.environment = os.environ | {
            "MLFLOW_SFTP_SSH_CONFIG": str(server.ssh_config),
            "MLFLOW_SFTP_RETRY_TIMEOUT": "0.5",
        }

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run([*_PROGRAM, *arguments], env=self.environment, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    def json(self, *arguments: str) -> Any:
        report = json.loads(self(*arguments, "--json"))
        assert report["contract"] == 1
        return report

    def error(self, *arguments: str) -> dict[str, str]:
        """What --json tells of a failure."""
        done = subprocess.run(
            [*_PROGRAM, *arguments, "--json"], env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 1, done.stdout + done.stderr
        report = json.loads(done.stdout)
        assert report["contract"] == 1
        assert report["error"]["message"] in done.stderr
        error: dict[str, str] = report["error"]
        return error


@pytest.fixture
def program(sshd: SshServer) -> _Program:
    return _Program(sshd)


def test_check_leaves_nothing_behind(mortal: SftpServer) -> None:
    program = _Program(mortal)
    report = program.json("check", mortal.uri())
    assert report["atomic_replace"] is True
    assert set(report) >= {"connect, s", "write, s", "read, s", "list, s", "delete, s", "round_trip_seconds"}
    assert files_below(mortal.root) == {}


def test_check_names_the_cause(program: _Program, sshd: SshServer) -> None:
    sshd.stop()
    said = program("check", sshd.uri().replace("@", ":pa55@"), code=1)
    assert "refused" in said
    assert "pa55" not in said


@host_and_proftpd
def test_copy_both_ways_and_list(mortal: SftpServer, tmp_path: Path) -> None:
    program = _Program(mortal)
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "d" / "f").write_bytes(pattern(100_000))
    (source / "g h").write_bytes(b"12345")
    assert program.json("copy", str(source), mortal.uri("t"))["copied"] == {"files": 2, "bytes": 100_005}
    assert files_below(mortal.root / "t") == files_below(source)
    shown = program.json("ls", "-r", mortal.uri("t"))["entries"]
    assert [(each["path"], each["size"]) for each in shown if not each["is_directory"]] == [
        ("d/f", 100_000),
        ("g h", 5),
    ]
    assert "d/" in program("ls", mortal.uri("t"))
    program("copy", mortal.uri("t"), str(tmp_path / "back"))
    assert files_below(tmp_path / "back") == files_below(source)
    program("copy", mortal.uri("t/d/f"), str(tmp_path / "one"))
    program("copy", str(tmp_path / "one"), mortal.uri("new/place/f"))
    assert (mortal.root / "new/place/f").read_bytes() == pattern(100_000)


def test_copy_does_the_rest(program: _Program, sshd: SshServer, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a", "b"):
        (source / name).write_text(name * 10)
    program("copy", str(source), sshd.uri("t"))
    (sshd.root / "t" / "b").unlink()
    assert program.json("copy", str(source), sshd.uri("t"))["copied"] == {"files": 1, "bytes": 10}
    program("copy", sshd.uri("t"), str(tmp_path / "back"))
    (tmp_path / "back" / "a").unlink()
    assert program.json("copy", sshd.uri("t"), str(tmp_path / "back"))["copied"]["files"] == 1
    assert files_below(tmp_path / "back") == files_below(source)


def test_rm(program: _Program, sshd: SshServer) -> None:
    (sshd.root / "d").mkdir()
    (sshd.root / "d" / "f").touch()
    assert "--recursive" in program("rm", sshd.uri("d"), code=2)
    program("rm", "-r", sshd.uri("d"))
    assert "there is nothing there" in program("rm", sshd.uri("d"), code=1)
    assert "refusing" in program("rm", "-r", f"sftp://127.0.0.1:{sshd.port}/", code=2)


def test_bench_cleans_up(program: _Program, sshd: SshServer) -> None:
    report = program.json("bench", "--files", "20", "--mebibytes", "2", sshd.uri("x"))
    assert report["20 files up, s"] > 0
    assert files_below(sshd.root) == {"x": None}


def test_strange_names_do_not_break_the_output(program: _Program, sshd: SshServer) -> None:
    for name in (b"latin-\xe9", b"new\nline", b"esc\x1b[31m"):
        Path(os.fsdecode(os.path.join(os.fsencode(sshd.root), name))).touch()
    lines = program("ls", sshd.uri()).splitlines()
    assert len(lines) == 3
    assert "\x1b" not in "".join(lines)


def test_wrong_use(program: _Program, sshd: SshServer, tmp_path: Path) -> None:
    assert "does not start with sftp://" in program("ls", "http://h/a", code=1)
    assert "no such file or directory" in program("copy", str(tmp_path / "nowhere"), sshd.uri("x"), code=1)
    assert "no such file or directory" in program("copy", sshd.uri("nowhere"), str(tmp_path / "x"), code=1)
    assert "there is no such directory" in program("ls", sshd.uri("nowhere"), code=1)


def test_a_failure_is_an_object_with_cause_and_remedy(program: _Program, sshd: SshServer) -> None:
    assert program.error("ls", sshd.uri("nowhere"))["cause"] == "not_found"
    assert program.error("ls", "http://h/a")["cause"] == "invalid_uri"
    assert program.error("prune", "/a", "/b", "--manifest", "/m", "--database", "x:")["cause"] == "database"
    sshd.stop()
    refused = program.error("check", sshd.uri().replace("@", ":pa55@"))
    assert refused["cause"] == "unreachable"
    assert "host and port" in refused["remedy"]
    assert "refused" in refused["seen"]
    assert "pa55" not in str(refused)


def test_copy_tells_another_program_how_far_it_is(program: _Program, sshd: SshServer, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(pattern(1000))
    progress = tmp_path / "progress.json"
    program("copy", str(tmp_path / "f"), sshd.uri("t"), "--progress-file", str(progress), "--check")
    assert not progress.exists()
    program("copy", str(tmp_path / "f"), sshd.uri("t"), "--progress-file", str(progress))
    assert json.loads(progress.read_text())["bytes"] == 1000


def test_the_list_of_commands_is_what_they_say_of_themselves() -> None:
    for name, (_, line) in COMMANDS.items():
        command = main.resolve_command(click.Context(main), [name])[1]
        assert command is not None
        assert command.name == name
        sentence = re.match(r"(.*?\.)(\s|$)", command.help or "", re.DOTALL)
        assert sentence is not None
        assert sentence[1] == line


def test_completion_knows_commands_and_options(program: _Program) -> None:
    assert _completed("mlflow-sftp re") == {"read-back", "relocate", "restore"}
    assert _completed("mlflow-sftp relocate re") == {"redo"}
    assert "--recursive" in _completed("mlflow-sftp ls --re")


def _completed(line: str) -> set[str]:
    words = line.split(" ")
    environment = os.environ | {
        "_MLFLOW_SFTP_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(_PROGRAM, env=environment, capture_output=True, text=True, check=True)
    return {each.partition(",")[2] for each in done.stdout.splitlines()}


def test_a_server_that_does_not_answer_is_named_while_it_is_waited_for(program: _Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"sftp://u:pa55@127.0.0.1:{silent.getsockname()[1]}/x"
        command = [*_PROGRAM, "ls", uri]
        waiting = subprocess.Popen(command, env=program.environment, stderr=subprocess.PIPE, text=True)
        assert waiting.stderr is not None
        try:
            line = waiting.stderr.readline()
        finally:
            waiting.kill()
            waiting.wait()
    assert re.match(r"u@127\.0\.0\.1:\d+ has not answered for \d+ s; still waiting", line), line


def test_a_database_that_does_not_answer_is_named_while_it_is_waited_for(program: _Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"postgresql+psycopg://u:pa55@127.0.0.1:{silent.getsockname()[1]}/d"
        command = [*_PROGRAM, "info", "--database", uri]
        waiting = subprocess.Popen(command, env=program.environment, stderr=subprocess.PIPE, text=True)
        assert waiting.stderr is not None
        try:
            line = waiting.stderr.readline()
        finally:
            waiting.kill()
            waiting.wait()
    assert re.match(r"still reading postgresql\+psycopg://u:\*\*\*@127\.0\.0\.1:\d+/d, for 5 s now", line), (
        line
    )


@pytest.mark.parametrize("uri", ["nonsense", "sftp://x/y"])
def test_a_tracking_server_that_is_none_is_named(program: _Program, uri: str) -> None:
    error = program.error("roundtrip", "--tracking-uri", uri)
    assert error["cause"] == "mlflow_unreachable"
    assert error["remedy"]
