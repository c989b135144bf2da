"""A command ends with whoever asked for it."""

import subprocess
import sys

import pytest

PROGRAM = "import time; from mlflow_sftp.cli.gc import end_with_input; end_with_input(); time.sleep(60)"


def test_it_ends_when_its_input_does() -> None:
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE)
    assert program.stdin is not None
    try:
        # What comes after the command is no end.
        program.stdin.write(b"[]\n")
        program.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            program.wait(3)
        program.stdin.close()
        assert program.wait(20) == 1
    finally:
        program.kill()
        program.wait()
