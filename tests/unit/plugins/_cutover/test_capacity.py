"""Whether there is room to go on; what nobody knows is never nothing."""

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.capacity import (
    Amount,
    Limits,
    Place,
    findings,
    fits,
    reserve,
    with_quota,
    worst,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError

LIMITS = Limits.parse("10%", "5%")


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("10%", Amount(fraction=0.1)),
        ("0.5 %", Amount(fraction=0.005)),
        ("0", Amount()),
        ("0.0", Amount()),
        ("1024B", Amount(1024)),
        ("5G", Amount(5 << 30)),
        ("5 GiB", Amount(5 << 30)),
        ("1.5m", Amount(3 << 19)),
    ],
)
def test_amounts(text: str, amount: Amount) -> None:
    assert Amount.parse(text, "name") == amount


@pytest.mark.parametrize("text", ["", "-1", "ten", "101%", "5X", "5%G", "10", "0.05", "1024"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(RefusedError, match=f"mlflow_stack_capacity_warn is '{text}'; expected"):
        Limits.parse(text, "0")


@pytest.mark.parametrize(
    ("place", "level"),
    [
        (Place("a", 100, 1000), "ok"),
        (Place("a", 99, 1000), "low"),
        (Place("a", 50, 1000), "low"),
        (Place("a", 49, 1000), "full"),
        (Place("a", 0, 1000), "full"),
        (Place("a", None, None), "unknown"),
        # What cannot be.
        (Place("a", 1001, 1000), "unknown"),
        (Place("a", -1, 1000), "unknown"),
        # A fraction of what nobody knows.
        (Place("a", 0, None), "ok"),
    ],
)
def test_levels(place: Place, level: str) -> None:
    assert place.level(LIMITS) == level


def test_bytes_count_where_the_whole_is_not_known() -> None:
    limits = Limits.parse("200B", "100B")
    levels = [Place("a", free).level(limits) for free in (200, 199, 99)]
    assert levels == ["ok", "low", "full"]


@pytest.mark.parametrize(
    ("place", "quota", "expected"),
    [
        (Place("a", None, None, used=60), 100, Place("a", 40, 100, 60, quota=True)),
        (Place("a", None, None, used=120), 100, Place("a", 0, 100, 120, quota=True)),
        # What the server tells counts where it is less.
        (Place("a", 10, 1000, used=60), 100, Place("a", 10, 1000, used=60)),
        (Place("a", 900, 1000, used=60), 100, Place("a", 40, 100, 60, quota=True)),
        (Place("a", 900, 1000, used=60), 0, Place("a", 900, 1000, used=60)),
        (Place("a"), 100, Place("a")),
        # As servers tell that do not know.
        (Place("a", 0, 0, used=60), 100, Place("a", 40, 100, 60, quota=True)),
        (Place("a", 0, 1000, used=60), 100, Place("a", 40, 100, 60, quota=True)),
        (Place("a", 0, 1000), 100, Place("a", 0, 1000)),
    ],
)
def test_quota(place: Place, quota: int, expected: Place) -> None:
    assert with_quota(place, quota) == expected


def test_what_is_needed_beside_what_has_to_stay_free() -> None:
    place, five = Place("the account", 100 << 20, 1000 << 20), LIMITS.refuse
    assert fits(place, 50 << 20, five)
    assert not fits(place, (50 << 20) + 1, five)
    assert fits(place, 100 << 20, Amount())
    assert not fits(place, (100 << 20) + 1, Amount())
    # Nobody knows, so nobody refuses.
    assert fits(Place("the account"), 1 << 60, five)
    assert reserve(place, five) == ", of which 50.0 MiB have to stay free (mlflow_stack_capacity_refuse)"
    assert reserve(place, Amount()) == ""


def test_findings_are_for_people() -> None:
    places = [Place("a", 49, 1000), Place("b"), Place("c", 500, 1000, 200), Place("d", 60, 1000, 940, True)]
    assert list(findings(places, LIMITS, "full", "low")) == [
        "a: 49 B of 1000 B free",
        "d: 60 B of 1000 B free by its quota, 940 B in use",
    ]
    assert list(findings(places, LIMITS, "unknown")) == ["b: how much is free is not known"]


def test_the_worst() -> None:
    unknown, ok, low, full = Place("a"), Place("b", 500, 1000), Place("c", 60, 1000), Place("d", 1, 1000)
    assert worst([unknown, ok, low, full], LIMITS) == "full"
    assert worst([low, unknown], LIMITS) == "low"
    assert worst([unknown], LIMITS) == "ok"
    assert worst([], LIMITS) == "ok"
