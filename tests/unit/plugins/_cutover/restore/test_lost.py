"""Runs and models whose files no restore brings back."""

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.lost import Lost, audited
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.operations import Restore
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

STORE = Store.at("local", "direct", "/mlruns")
RUN, MODEL, SHORT = "1/run/artifacts", "1/models/m-1/artifacts/MLmodel", "1/models/m-2/artifacts"


def problem(kind: str, path: str, detail: str = "why") -> dict[str, str]:
    return {"kind": kind, "path": path, "detail": detail}


FOUND = [
    problem("missing", RUN),
    problem("missing", MODEL),
    problem("truncated", SHORT),
    problem("orphaned", "9/x"),
    problem("unknown_location", "sftp://elsewhere/x"),
]


@pytest.mark.parametrize(
    ("coming", "lost"),
    [
        ([], [RUN, MODEL, SHORT]),
        ([f"{RUN}/a/b.txt"], [MODEL, SHORT]),
        # Its neighbour comes back, and it does not.
        ([f"{RUN}s/a.txt", "1/run/a.txt"], [RUN, MODEL, SHORT]),
        ([MODEL, f"{SHORT}/weights.bin"], [RUN]),
    ],
)
def test_what_comes_back_is_not_lost(coming: list[str], lost: list[str]) -> None:
    assert list(Lost.of_audit({"problems": FOUND}, coming).places) == lost


@pytest.mark.parametrize(
    ("lost", "has_artifacts", "words"),
    [
        (
            Lost(),
            True,
            "Every model and table of the snapshot has its files in the store or in the snapshot;",
        ),
        (Lost(), False, "has its files in the store;"),
        (
            Lost({"b": "2", "a": "1"}),
            True,
            "that neither the store nor the snapshot has: 2, such as a (1); b (2).",
        ),
        (
            Lost({"a": "1"}),
            False,
            "that the store does not have, and the snapshot holds no artifacts: 1, such",
        ),
        (
            Lost(unknown="1/x: denied"),
            True,
            "Nobody can tell whether models and tables of the snapshot lack files: 1/x",
        ),
    ],
)
def test_what_is_told(lost: Lost, has_artifacts: bool, words: str) -> None:
    assert words in lost.told("of the snapshot", has_artifacts=has_artifacts)


def test_what_cannot_be_listed_is_not_called_lost() -> None:
    found = {"problems": [*FOUND, problem("unreadable", "1", "permission denied")]}
    assert Lost.of_audit(found) == Lost(unknown="1: permission denied")


class Program:
    """The package's program."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def started(self) -> "Program":
        if isinstance(self.answer, OSError):
            raise CutoverError("docker run ended with exit code 125")
        return self

    def call(self, *arguments: str, **_: object) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        assert arguments[:4] == ("audit", "/mlruns", "--store", "/mlruns")
        return self.answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"problems": FOUND}, "of the snapshot with files that neither"),
        ({"problems": []}, "Every model and table of the snapshot"),
        (OSError(), "lack files: docker run ended with exit code 125"),
        (
            CutoverError("there is no such directory to audit", "check"),
            "of the snapshot lack files: there is no such",
        ),
    ],
)
def test_a_restore_tells_at_its_end_what_is_lost(
    answer: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Restore, "__init__", lambda self: None)
    monkeypatch.setattr(Restore, "_require_tool", lambda self: Program(answer).started())
    monkeypatch.setattr(Restore, "_purge_round_trips", lambda self, record: ["first"])
    monkeypatch.setattr(Restore, "tidy", lambda self, record: None)
    record: Any = SimpleNamespace(store=STORE, snapshot=SimpleNamespace(has_artifacts=True))
    first, told = Restore().purge(record)  # type: ignore[call-arg]
    assert first == "first"
    assert words in told


def test_the_plan_asks_what_a_restore_brings_back() -> None:
    program: Any = Program({"problems": FOUND})
    assert list(audited(lambda: program, STORE, [f"{RUN}/a.txt"]).places) == [MODEL, SHORT]
