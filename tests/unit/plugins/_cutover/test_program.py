"""What the cutover makes of the answers of the package's program."""

import subprocess
import sys
import time
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    LateError,
    UnchangedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import Program


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({}, CutoverError),
        ({"unchanged": False}, CutoverError),
        ({"unchanged": True}, UnchangedError),
    ],
)
def test_only_what_says_so_has_changed_nothing(
    told: dict[str, Any], kind: type[CutoverError], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program.__new__(Program)
    error = {"cause": "database", "message": "m", "seen": "the disk is full", "remedy": "Make room", **told}
    answer = {"exit": 1, "result": {"contract": 1, "error": error}, "errors": ""}
    monkeypatch.setattr(program, "wait", lambda: None)
    monkeypatch.setattr(program, "_exchange", lambda arguments: answer)
    with pytest.raises(CutoverError, match=r"the disk is full\. Make room") as failed:
        program.call("restore", "file")
    assert type(failed.value) is kind


# Is ready, and answers each question after so many seconds; ends instead of waiting for less than none.
_ANSWERS_AFTER = """
import json, sys, time
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    seconds = float(sys.argv[1])
    time.sleep(seconds) if seconds >= 0 else sys.exit("it is broken")
    print(json.dumps({"exit": 0, "result": {"it": "worked"}, "errors": ""}), flush=True)
"""


def program_that_answers_after(seconds: float, monkeypatch: pytest.MonkeyPatch) -> Program:
    start = subprocess.Popen
    command = [sys.executable, "-c", _ANSWERS_AFTER, str(seconds)]
    monkeypatch.setattr(subprocess, "Popen", lambda _, **options: start(command, **options))
    return Program("container", [])


def test_what_does_not_answer_in_time_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    program = program_that_answers_after(60, monkeypatch)
    began = time.monotonic()
    with pytest.raises(LateError, match=r"did not answer within 0\.2 s, and was stopped"):
        program.call("gc", seconds=0.2)
    assert time.monotonic() - began < 30
    program.end()


def test_what_answers_in_time_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    program = program_that_answers_after(0, monkeypatch)
    assert [program.call("gc", seconds=30) for _ in range(2)] == [{"it": "worked"}] * 2
    program.end()


def test_what_ends_by_itself_is_not_called_late(monkeypatch: pytest.MonkeyPatch) -> None:
    program = program_that_answers_after(-1, monkeypatch)
    with pytest.raises(CutoverError, match="the container container ended: it is broken") as failed:
        program.call("gc", seconds=30)
    assert not isinstance(failed.value, LateError)
    program.end()
