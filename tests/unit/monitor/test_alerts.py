"""Decisions of the monitor: what is wrong, what of that is told, when it is looked at again."""

import math
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.filter.space_amount import space_amount
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import capacity

from mlflow_sftp.monitor.alerts import Finding, Limits, Told, after_telling, changes, findings, subjects
from mlflow_sftp.monitor.checks import Check, pause
from mlflow_sftp.monitor.course import Course
from mlflow_sftp.monitor.outcome import Outcome, Stage, read_outcome
from mlflow_sftp.monitor.space import Amount, Space
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
        (Status(expiries={"c": math.inf}), {"certificate c": ""}),
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


GIB = 1 << 30
ROOM = Limits(60, space_warn=Amount(fraction=0.1), space_refuse=Amount(5 * GIB))


@pytest.mark.parametrize(
    ("place", "free", "total", "expected"),
    [
        ("artifacts", 10 * GIB, 100 * GIB, ""),
        ("artifacts", 10 * GIB - 1, 100 * GIB, "space_low"),
        ("artifacts", 5 * GIB, 100 * GIB, "space_low"),
        ("artifacts", 5 * GIB - 1, 100 * GIB, "space_reserved"),
        ("artifacts", 0, 100 * GIB, "space_reserved"),
        # A fraction of what nobody knows.
        ("artifacts", 6 * GIB, None, ""),
        ("artifacts", 4 * GIB, None, "space_reserved"),
        # What nobody tells, and what cannot be.
        ("artifacts", None, None, None),
        ("artifacts", None, 100 * GIB, None),
        ("artifacts", 0, 0, None),
        ("artifacts", 101 * GIB, 100 * GIB, None),
        ("artifacts", -1, 100 * GIB, None),
        # Servers tell of no free byte where they do not know.
        ("account", 0, 100 * GIB, None),
        ("account", 1, 100 * GIB, "space_reserved"),
    ],
)
def test_free_space_is_judged_as_a_verification_judges_it(
    place: str, free: int | None, total: int | None, expected: str | None
) -> None:
    facts = {"store": {"free_bytes": free, "total_bytes": total}}
    found = replace(outcome(check=f"space_{place}"), facts=facts)
    told = {each.subject: each for each in findings({found.check: found}, {}, Status(), ROOM, NOW)}
    assert told.pop(found.check).cause == ""
    assert {subject: each.cause for subject, each in told.items()} == (
        {} if expected is None else {f"free space of {place}": expected}
    )
    assert all(bool(each.remedy) == bool(each.cause) and each.at == NOW for each in told.values())


@pytest.mark.parametrize("free", [None, 0, 1, 5 * GIB - 1, 5 * GIB, 10 * GIB - 1, 10 * GIB, 101 * GIB])
@pytest.mark.parametrize("total", [None, 100 * GIB])
def test_monitor_and_verification_agree(free: int | None, total: int | None) -> None:
    by_verification = capacity.Place("artifacts", free, total).level(capacity.Limits.parse("10%", "5G"))
    facts = {"store": {"free_bytes": free, "total_bytes": total}}
    found = replace(outcome(check="space_artifacts"), facts=facts)
    room = Limits(60, space_warn=amount("10%"), space_refuse=amount("5G"))
    levels = {"": "ok", "space_low": "low", "space_reserved": "full"}
    by_monitor = [
        levels[each.cause]
        for each in findings({found.check: found}, {}, Status(), room, NOW)
        if each.subject == "free space of artifacts"
    ]
    assert (by_monitor or ["unknown"]) == [by_verification]


QUOTA = 20 * GIB


@pytest.mark.parametrize("free", [None, -1, 0, 1, 5 * GIB, 100 * GIB, 101 * GIB])
@pytest.mark.parametrize("total", [None, 0, 100 * GIB])
@pytest.mark.parametrize("used", [0, 16 * GIB, 18 * GIB, 19 * GIB, 20 * GIB, 21 * GIB])
def test_monitor_and_verification_agree_on_a_quota(free: int | None, total: int | None, used: int) -> None:
    limits = capacity.Limits.parse("10%", "5%")
    place = capacity.with_quota(capacity.Place("account", free, total, used), QUOTA)
    facts = {"store": {"free_bytes": free, "total_bytes": total, "bytes": used, "unreadable": {}}}
    space = Space.told(facts, QUOTA)
    assert (space.free, space.total, space.by_quota) == (place.free, place.total, place.quota)
    levels = {"": "ok", "space_low": "low", "space_reserved": "full"}
    assert levels[told_of_account(facts).cause] == place.level(limits)


def told_of_account(facts: dict[str, Any]) -> Finding:
    found = replace(outcome(check="space_account"), facts=facts)
    room = Limits(60, space_warn=amount("10%"), space_refuse=amount("5%"), account_quota=QUOTA)
    told = {each.subject: each for each in findings({found.check: found}, {}, Status(), room, NOW)}
    return told.get("free space of account", Finding("", "unknown"))


def test_a_full_quota_is_told_by_its_name() -> None:
    full = told_of_account(
        {"store": {"free_bytes": 0, "total_bytes": 0, "bytes": 21 * GIB, "unreadable": {}}}
    )
    assert full.seen == "0.00 of 20.00 GiB are free by the quota"


@pytest.mark.parametrize(
    "store",
    [
        # What could not be listed may be anything.
        {"free_bytes": 90 * GIB, "total_bytes": 100 * GIB, "bytes": 0, "unreadable": {"secret": "no"}},
        {"free_bytes": 90 * GIB, "total_bytes": 100 * GIB},
    ],
)
def test_a_quota_says_nothing_of_what_nobody_has_counted(store: dict[str, Any]) -> None:
    assert Space.told({"store": store}, QUOTA) == Space(90 * GIB, 100 * GIB)


@pytest.mark.parametrize(("check", "quota"), [("space_account", 7), ("space_artifacts", 0), ("account", 0)])
def test_a_quota_is_the_account_s(check: str, quota: int) -> None:
    assert Limits(account_quota=7).quota_of(check) == quota


def amount(text: str) -> Amount:
    """As the Compose file gives it to the monitor."""
    return Amount.parse(space_amount(text))


@pytest.mark.parametrize("text", ["", "ten", "-1", "101%", "-1%", "1.5", "nan", "inf", "nan%", "5G"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match=r"convert|^(inf|nan|-?[0-9.]+)?%?$"):
        Amount.parse(text)


# What one subject is found to be by the clock, and what is told of it: moment, cause, and what is told then.
STORIES: dict[str, list[tuple[float, str, list[tuple[str, str, str]]]]] = {
    "well": [(0, "", []), (300, "", [])],
    "failed and recovered": [
        (0, "x", [("failed", "x", "")]),
        (300, "x", []),
        (600, "", []),
        (630, "", []),
        (660, "", [("recovered", "", "x")]),
        (900, "", []),
    ],
    "well for a moment now and then": [
        (0, "x", [("failed", "x", "")]),
        (30, "", []),
        (60, "x", []),
        (90, "", []),
        (120, "", []),
        (149, "x", []),
        (180, "", []),
        (240, "", [("recovered", "", "x")]),
    ],
    "another cause": [
        (0, "x", [("failed", "x", "")]),
        (30, "y", []),
        (60, "y", []),
        (90, "y", [("failed", "y", "x")]),
        (300, "y", []),
        (600, "x", []),
        (660, "x", [("failed", "x", "y")]),
    ],
    "causes that alternate": [
        (0, "x", [("failed", "x", "")]),
        *((300.0 * number, ("x", "y", "z")[number % 3], []) for number in range(1, 12)),
    ],
    "another cause, and then well": [
        (0, "x", [("failed", "x", "")]),
        (50, "y", []),
        (100, "", []),
        (160, "", [("recovered", "", "x")]),
        (200, "y", [("failed", "y", "")]),
    ],
    # Nothing is known of what is not looked at again.
    "one look is none that lasts": [
        (0, "x", [("failed", "x", "")]),
        (600, "", []),
        (600, "", []),
    ],
}


@pytest.mark.parametrize("story", STORIES)
def test_what_is_told_of_a_subject_as_time_goes_by(story: str) -> None:
    told: dict[str, Told] = {}
    for at, cause, expected in STORIES[story]:
        news, known = changes([Finding("account", cause, "seen", "do", at)], told, NOW, 60)
        assert [(each.status, each.cause, each.before) for each in news] == expected, at
        told = after_telling(known, news)


def test_what_was_told_of_others_stays_until_they_are_well() -> None:
    told = {"server": Told("x")}
    news, known = changes([Finding("account", "y")], told, NOW, 0)
    assert after_telling(known, news) == {"server": Told("x"), "account": Told("y")}
    news, known = changes([Finding("server")], told, NOW, 0)
    assert after_telling(known, news) == {}


def test_a_change_that_could_not_be_told_is_told_the_next_time() -> None:
    told = {"server": Told("x")}
    for at, number in ((0, 0), (60, 1), (61, 1)):
        # Nobody was told: what is known goes on.
        news, told = changes([Finding("server", at=at)], told, NOW, 60)
        assert len(news) == number
    assert news[0].since == 0


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # Moment and what is found; since when the check fails, and for how long it has found the same.
        ([(0, "")], (None, None)),
        ([(0, "x")], (0, 0)),
        ([(0, "x"), (30, "x"), (70, "x")], (0, 70)),
        ([(0, "x"), (30, "y"), (70, "y")], (0, 40)),
        # Well again, but not for long: the failure goes on.
        ([(0, "x"), (30, "")], (0, 0)),
        ([(0, "x"), (30, ""), (60, "")], (0, 30)),
        ([(0, "x"), (30, ""), (60, "x")], (0, 0)),
        ([(0, "x"), (30, ""), (60, "x"), (90, ""), (120, "x")], (0, 0)),
        ([(0, "x"), (30, ""), (90, "")], (None, None)),
        ([(0, "x"), (30, ""), (90, ""), (120, "x")], (120, 0)),
    ],
)
def test_the_course_of_a_check(
    found: list[tuple[float, str]], expected: tuple[float | None, float | None]
) -> None:
    course = Course()
    for moment, cause in found:
        course = course.after(cause, moment, 60)
    assert (course.failing_since, course.settled_for(found[-1][0])) == expected


def test_what_is_watched() -> None:
    assert subjects(["server", "space_account"], ["gateway.crt"]) == {
        "server",
        "space_account",
        "free space of account",
        "backup",
        "cutover",
        "certificate gateway.crt",
    }


@pytest.mark.parametrize(
    ("settled_for", "every", "expected"),
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
def test_when_a_check_is_made_again(settled_for: float | None, every: float, expected: float) -> None:
    assert pause(Check("c", ("true",), every, 60), settled_for, 300, 60) == expected


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
