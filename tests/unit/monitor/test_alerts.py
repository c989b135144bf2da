"""Decisions of the monitor: what is wrong, what of that is told, when it is looked at again."""

from dataclasses import replace
from typing import Any

import pytest

from mlflow_sftp.monitor.alerts import Finding, Limits, after_telling, changes, findings
from mlflow_sftp.monitor.checks import Check, pause
from mlflow_sftp.monitor.outcome import Outcome, Stage, read_outcome
from mlflow_sftp.monitor.status import Status

NOW = 1_000_000.0
_HOUR, _DAY = 3600.0, 86400.0
LIMITS = Limits(patience=60, backup_hours=24, expiry_days=14)


def outcome(*causes: str, check: str = "account") -> Outcome:
    stages = tuple(Stage("connect", "failed", 0.1, cause, "seen", "do") for cause in causes)
    return Outcome(check, NOW, 0.1, stages or (Stage("connect", "ok", 0.1),))


def causes(
    outcomes: dict[str, Outcome], since: dict[str, float] | None = None, status: Status | None = None
) -> dict[str, str]:
    found = findings(outcomes, since or {}, status or Status(), LIMITS, NOW)
    return {finding.subject: finding.cause for finding in found}


@pytest.mark.parametrize(
    ("found", "since", "expected"),
    [
        (outcome(), None, {"account": ""}),
        # Not for long enough yet: nothing is known.
        (outcome("auth_refused"), NOW - 59, {}),
        (outcome("auth_refused"), NOW - 60, {"account": "auth_refused"}),
        (outcome("b", "a", "b"), NOW - 61, {"account": "a,b"}),
        # Space that nobody tells is another one's finding.
        (outcome("host_key_rejected", check="space_account"), NOW - 999, {}),
        (outcome("check_timeout", check="space_artifacts"), NOW - 999, {"space_artifacts": "check_timeout"}),
    ],
)
def test_a_check_is_a_finding_once_patience_is_over(
    found: Outcome, since: float | None, expected: dict[str, str]
) -> None:
    assert causes({found.check: found}, {} if since is None else {found.check: since}) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status(), {}),
        (Status(backup_at=NOW - 23 * _HOUR), {"backup": ""}),
        (Status(backup_at=NOW - 25 * _HOUR), {"backup": "backup_old"}),
        (Status(backup_at=NOW - _HOUR, backup_error="no space"), {"backup": "backup_failed"}),
        (Status(backup_error="never worked"), {"backup": "backup_failed"}),
        (Status(cutover="switch", cutover_state="done", cutover_changed=0.0), {"cutover": ""}),
        (Status(cutover="switch", cutover_state="cutting", cutover_changed=NOW - 60), {}),
        (
            Status(cutover="switch", cutover_state="cutting", cutover_changed=NOW - 2 * _HOUR),
            {"cutover": "cutover_unfinished"},
        ),
        (Status(expiries={"c": NOW + 15 * _DAY}), {"certificate c": ""}),
        (Status(expiries={"c": NOW + 13 * _DAY}), {"certificate c": "certificate_expires"}),
        (Status(expiries={"c": NOW - 1}), {"certificate c": "certificate_expired"}),
    ],
)
def test_what_the_host_tells(status: Status, expected: dict[str, str]) -> None:
    assert causes({}, status=status) == expected


@pytest.mark.parametrize(
    ("opened", "finished", "expected"),
    [
        # Of the closed time, and not asked since.
        (NOW - 300, NOW - 301, {"cutover": ""}),
        # Asked since, but patience begins when MLflow is open again.
        (NOW - 59, NOW - 1, {"cutover": ""}),
        (NOW - 60, NOW - 1, {"cutover": "", "server": "mlflow_closed"}),
    ],
)
def test_what_failed_while_mlflow_was_closed(
    opened: float, finished: float, expected: dict[str, str]
) -> None:
    failed = replace(outcome("mlflow_closed", check="server"), finished=finished)
    status = Status(cutover="restore", cutover_state="done", cutover_changed=opened)
    assert causes({"server": failed}, {"server": NOW - 900}, status) == expected


@pytest.mark.parametrize(
    ("watched_for", "limits", "expected"),
    [
        (None, LIMITS, {}),
        (23 * _HOUR, LIMITS, {}),
        (25 * _HOUR, LIMITS, {"backup": "backup_missing"}),
        (25 * _HOUR, Limits(), {}),
    ],
)
def test_a_backup_that_was_never_made(
    watched_for: float | None, limits: Limits, expected: dict[str, str]
) -> None:
    since = None if watched_for is None else NOW - watched_for
    found = findings({}, {}, Status(), limits, NOW, since)
    assert {finding.subject: finding.cause for finding in found} == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        # Closed on purpose.
        (NOW - 60, {}),
        # What is closed for too long is told, and so is what fails.
        (NOW - 2 * _HOUR, {"cutover": "cutover_unfinished", "server": "mlflow_closed"}),
    ],
)
def test_what_fails_during_a_cutover(changed: float, expected: dict[str, str]) -> None:
    closed = outcome("mlflow_closed", check="server")
    status = Status(cutover="upgrade", cutover_state="cutting", cutover_changed=changed)
    assert causes({"server": closed}, {"server": NOW - 999}, status) == expected


@pytest.mark.parametrize(
    ("cause", "told", "expected"),
    [
        ("", {}, []),
        ("x", {}, [("failed", "x", "")]),
        ("x", {"account": "x"}, []),
        ("y", {"account": "x"}, [("failed", "y", "x")]),
        ("", {"account": "x"}, [("recovered", "", "x")]),
        ("", {"other": "x"}, []),
    ],
)
def test_a_change_is_told_once(
    cause: str, told: dict[str, str], expected: list[tuple[str, str, str]]
) -> None:
    finding = Finding("account", cause, "seen", "do")
    news = changes([finding], told, NOW)
    assert [(each.status, each.cause, each.before) for each in news] == expected
    assert changes([finding], after_telling(told, news), NOW) == []


def test_what_was_told_of_others_stays_until_they_are_well() -> None:
    told = {"server": "x"}
    assert after_telling(told, changes([Finding("account", "y")], told, NOW)) == {
        "server": "x",
        "account": "y",
    }
    assert after_telling(told, changes([Finding("server")], told, NOW)) == {}


@pytest.mark.parametrize(
    ("failing_for", "every", "expected"),
    [
        (None, 300, 300),
        (None, 86400, 86400),
        # Until somebody is told, it is looked at again soon; then as often as what is quick.
        (0.0, 300, 30),
        (59.0, 86400, 30),
        (60.0, 86400, 300),
        (60.0, 10, 10),
        (0.0, 10, 10),
    ],
)
def test_when_a_check_is_made_again(failing_for: float | None, every: float, expected: float) -> None:
    assert pause(Check("c", ("true",), every, 60), failing_for, 300, 60) == expected


@pytest.mark.parametrize(
    ("printed", "complaints", "expected"),
    [
        ("", "", ("check_broken", "it said nothing")),
        ("[]", "", ("check_broken", "it said nothing")),
        ("[1]", "", ("check_broken", "it said nothing")),
        ('{"stages": [{"status": "ok"}]}', "KeyError", ("check_broken", "KeyError")),
        ('{"error": "text"}', "what", ("check_broken", "what")),
        ("{", "Traceback\n  here\nKeyError: 'a'\n", ("check_broken", "KeyError: 'a'")),
        (
            '{"contract": 1, "error": {"cause": "not_found", "message": "m", "seen": "s", "remedy": "r"}}',
            "",
            ("not_found", "s"),
        ),
        (
            '{"stages": [{"name": "a", "status": "failed", "seconds": 1, "cause": "c", "detail": "d"}]}',
            "",
            ("c", "d"),
        ),
        (
            '{"stages": [{"name": "a", "status": "failed", "seconds": 1, "cause": null}]}',
            "",
            ("check_broken", ""),
        ),
    ],
)
def test_what_a_program_printed(printed: str, complaints: str, expected: tuple[str, str]) -> None:
    found = read_outcome("c", NOW, 1.0, printed, complaints)
    (stage,) = found.failed
    assert (stage.cause, stage.seen) == expected
    assert found.cause == expected[0]


def test_skipped_stages_are_not_known_and_facts_are_a_success() -> None:
    stages: list[dict[str, Any]] = [
        {"name": "a", "status": "ok", "seconds": 1.0, "cause": None, "detail": ""},
        {"name": "b", "status": "warning", "seconds": 1.0, "cause": "clock_skew", "detail": ""},
        {"name": "c", "status": "skipped", "seconds": 0.0, "cause": None, "detail": ""},
    ]
    found = read_outcome("c", NOW, 1.0, str({"stages": stages}).replace("'", '"').replace("None", "null"), "")
    assert [stage.name for stage in found.stages] == ["a", "b"]
    assert found.cause == ""
    facts = read_outcome("space_account", NOW, 1.0, '{"store": {"free_bytes": 5}}', "")
    assert facts.cause == ""
    assert facts.facts["store"]["free_bytes"] == 5
