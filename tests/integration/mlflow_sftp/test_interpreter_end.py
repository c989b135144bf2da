"""Artifacts that are logged while the interpreter ends, and programs that are interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.sshd import SshServer
from tests.support.storing import files_below, pattern, wait_until

_START = """
import atexit, multiprocessing, os, sys, threading, time
EARLY = []
atexit.register(lambda: [each() for each in EARLY])
from concurrent.futures import ThreadPoolExecutor
from mlflow_sftp.storage import SftpStorage

URI, SOURCE = sys.argv[1:]

def log(name="late", pause=0.0):
    time.sleep(pause)
    SftpStorage(URI).upload(SOURCE, name)
"""
# What logs "late" when the main thread has ended, or is about to.
_LATE = {
    "an exit handler": "atexit.register(log)",
    "an exit handler of before the import": "log('before'); EARLY.append(log)",
    "an exit handler, not as the first": "log('before'); atexit.register(log)",
    "a thread that outlives the main one": "threading.Thread(target=log, kwargs={'pause': 0.3}).start()",
    "a pool that nobody shuts down": "ThreadPoolExecutor(2).submit(log, pause=0.3)",
    "a forked child": "log('before'); pid = os.fork(); log('late' if not pid else 'parent'); pid and os.wait()",
    "an exit handler of a forked child": (
        "log('before'); pid = os.fork(); atexit.register(log) if not pid else os.wait()"
    ),
    "a process of multiprocessing, forked": (
        "log('before'); p = multiprocessing.get_context('fork').Process(target=log); p.start()"
    ),
    "a thread that ends by sys.exit": "threading.Thread(target=lambda: (log(), sys.exit())).start()",
}


@pytest.mark.parametrize("late", _LATE)
def test_what_is_logged_while_the_interpreter_ends_arrives(
    late: str, sshd: SshServer, tmp_path: Path
) -> None:
    source, program = tmp_path / "source", tmp_path / "program.py"
    source.write_bytes(pattern(2_000_000))
    program.write_text(_START + _LATE[late])
    environment = os.environ | {"MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config)}
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", str(program), sshd.uri("out"), str(source)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert files_below(sshd.root / "out")["late"] == source.read_bytes()
    assert not [name for name in files_below(sshd.root / "out") if name.endswith(".part")]


def test_mlflows_asynchronous_logging_is_flushed_at_the_end(sshd: SshServer, tmp_path: Path) -> None:
    """Its threads work on while the interpreter ends; what they have not begun by then would hang on any store."""
    program = """
import sys, time
from mlflow.utils.async_logging.async_artifacts_logging_queue import AsyncArtifactsLoggingQueue
from mlflow.tracking.artifact_utils import get_artifact_repository

def log(filename, artifact_path, artifact):
    get_artifact_repository(sys.argv[1]).log_artifact(sys.argv[2], artifact_path)

queue = AsyncArtifactsLoggingQueue(log)
queue.activate()
for number in range(5):
    queue.log_artifacts_async("f", str(number), None)
while not queue._queue.empty():
    time.sleep(0.01)
time.sleep(0.1)
"""
    source = tmp_path / "source"
    source.write_bytes(pattern(2_000_000))
    ended = subprocess.run(
        [sys.executable, "-c", program, sshd.uri("out"), str(source)],
        env=os.environ | {"MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    found = {path: content for path, content in files_below(sshd.root / "out").items() if content is not None}
    assert found == {f"{number}/source": source.read_bytes() for number in range(5)}


@pytest.mark.parametrize("way", ["up", "down", "local"])
def test_an_interrupted_copy_says_so_in_one_line(way: str, sshd: SshServer, tmp_path: Path) -> None:
    source, target = sshd.root / "source", sshd.root / "target"
    source.mkdir()
    for number in range(3):
        (source / str(number)).write_bytes(pattern(8 << 20, number))
    from_ = sshd.uri("source") if way == "down" else str(source)
    to = sshd.uri("target") if way == "up" else str(target)
    copying = subprocess.Popen(
        [sys.executable, "-m", "mlflow_sftp", "copy", "--bwlimit", "3M", from_, to],
        env=os.environ | {"MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: target.is_dir() and any(target.iterdir()))
    copying.send_signal(signal.SIGINT)
    started = time.monotonic()
    out, said = copying.communicate(timeout=30)
    assert time.monotonic() - started < 10
    assert (copying.returncode, out, len(said.splitlines())) == (130, "", 1), said
    assert "interrupted" in said
    for path, content in files_below(target).items():
        assert path.startswith(".") or content == (source / path).read_bytes()
