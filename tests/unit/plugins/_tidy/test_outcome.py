"""What was tidied, for programs and for people."""

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.decisions import Choice, Item
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.outcome import (
    Outcome,
    as_result,
    attempt,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.tidy import require_all

CHOICE = Choice((Item("a", 100, 1024), Item("b", 100, 2048)), {"c": "an undo needs it"})


def test_what_failed_did_not_go() -> None:
    outcome = Outcome.of_choice("cutovers", CHOICE, {"b": "no"})
    assert (outcome.count, outcome.bytes, outcome.names) == (1, 1024, ("a",))
    assert outcome.lines(check=False) == [
        "1 records and backups of cutovers removed, 1.0 KiB (a).",
        "  stays: c: an undo needs it",
        "  stays: b: no",
    ]


def test_a_size_that_nobody_knows_makes_the_sum_unknown() -> None:
    outcome = Outcome.of_choice("images", Choice((Item("a", 100, 1), Item("b", 100, None)), {}))
    assert outcome.bytes is None
    assert outcome.lines(check=True) == ["2 images would be removed, of unknown size (a, b)."]


def test_many_that_stay_are_counted() -> None:
    lines = Outcome("uploads", kept={str(number): "why" for number in range(7)}).lines(check=False)
    assert len(lines) == 7
    assert lines[-1] == "  and 2 more stay"


def test_the_result_of_all_kinds() -> None:
    result = as_result([Outcome.of_choice("cutovers", CHOICE), Outcome("images")], check=True)
    assert result["changed"]
    assert result["diff"]["before"].splitlines() == [
        "records and backups of cutovers: a",
        "records and backups of cutovers: b",
    ]
    assert result["tidied"]["images"]["count"] == 0
    assert not as_result([Outcome("images")], check=False)["changed"]
    # What was stopped may have removed something.
    stopped = Outcome("deleted", error="it was stopped")
    assert [as_result([stopped], check=check)["changed"] for check in (False, True)] == [True, False]


def test_one_that_fails_is_told_with_the_rest() -> None:
    def fail() -> Outcome:
        raise CutoverError("the server does not answer", "Start it")

    def full() -> Outcome:
        raise OSError(28, "No space left on device", "/stack")

    outcomes = [
        attempt("uploads", fail),
        attempt("cutovers", full),
        attempt("images", lambda: Outcome("images", 1)),
    ]
    assert outcomes[2].count == 1
    with pytest.raises(CutoverError) as told:
        require_all(outcomes)
    assert "temporary files of dead uploads: the server does not answer. Start it" in str(told.value)
    assert "/stack: No space left on device" in str(told.value)
    require_all(outcomes[2:])
