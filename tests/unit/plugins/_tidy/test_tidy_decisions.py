"""What may go, and what stays whatever its age."""

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import (
    Database,
    MoveRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import (
    RestoreRecord,
    Snapshot,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import SwitchRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import (
    UpgradeRecord,
    Version,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.decisions import (
    Choice,
    Days,
    Image,
    Item,
    age_at,
    age_of,
    begun_at,
    choose,
    cluster_id,
    cluster_items,
    image_items,
    is_id,
    needed_cutovers,
    planned_images,
    require_no_leap,
    restorable,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.module import (
    TIDY_OPTIONS,
    days_of,
    limit_of,
)

GIVEN = dict.fromkeys(TIDY_OPTIONS, 0)
LOCAL = Store.at("local", "direct", "/mlruns")
SFTP = Store.at("sftp", "direct", "sftp://me@host:22/a")
PROXIED = Store.at("sftp", "proxied", "sftp://me@host:22/a")


def day(number: int) -> str:
    return f"202601{number:02}T000000Z"


def switch(number: int, source: Store, target: Store, state: str = "done", **more: object) -> SwitchRecord:
    return SwitchRecord(id=day(number), source=source, target=target, state=state, **more)


def upgrade(number: int, state: str = "done") -> UpgradeRecord:
    versions = {"source": Version(image="old"), "target": Version(image="new")}
    return UpgradeRecord(id=day(number), store=SFTP, state=state, **versions)


def move(number: int, state: str = "done", **more: object) -> MoveRecord:
    places = {
        "source": Database("sqlite:////var/lib/mlflow/mlflow.db"),
        "target": Database("postgresql://db/mlflow"),
    }
    return MoveRecord(id=day(number), store=SFTP, state=state, **places, **more)


def restore(number: int, state: str = "done", **more: object) -> RestoreRecord:
    snapshot = Snapshot(
        id="6de574a0",
        time=0.0,
        mlflow="3.17.2",
        schema=("head",),
        runs=(1, 1),
        database="sqlite",
        store=LOCAL,
        has_artifacts=False,
    )
    return RestoreRecord(id=day(number), store=LOCAL, snapshot=snapshot, state=state, **more)


@pytest.mark.parametrize(
    ("records", "deployed", "needed"),
    [
        ([], SFTP, []),
        ([upgrade(1), upgrade(2), upgrade(3)], SFTP, [3]),
        # What was undone leaves the one before as the last that can be.
        ([upgrade(1), upgrade(2), upgrade(3, "undone")], SFTP, [2, 3]),
        ([upgrade(1), upgrade(2, "planned"), upgrade(3)], SFTP, [3]),
        ([switch(1, LOCAL, SFTP, "copying"), upgrade(2), upgrade(3)], SFTP, [1, 3]),
        # The last of each kind.
        ([upgrade(1), switch(2, SFTP, PROXIED), switch(3, PROXIED, SFTP)], SFTP, [1, 3]),
        # The one that undoes another goes back with the other's journal.
        (
            [switch(1, SFTP, PROXIED), switch(2, PROXIED, SFTP, undoes=day(1)), upgrade(3)],
            SFTP,
            [1, 2, 3],
        ),
        # The old copy is there still; both ways led to the deployed store.
        ([switch(1, LOCAL, SFTP), switch(2, SFTP, PROXIED), upgrade(3)], PROXIED, [1, 2, 3]),
        # A later switch elsewhere was undone by a deployment of one's own.
        ([switch(1, SFTP, PROXIED), switch(2, PROXIED, LOCAL), upgrade(3)], PROXIED, [1, 2, 3]),
    ],
)
def test_cutovers_that_something_needs(records: list[Record], deployed: Store, needed: list[int]) -> None:
    assert sorted(needed_cutovers(records, deployed)) == [day(number) for number in needed]


def test_a_pruned_copy_needs_its_record_no_more() -> None:
    records = [switch(1, LOCAL, SFTP), switch(2, SFTP, PROXIED), upgrade(3)]
    assert "storage_prune.yml" in needed_cutovers(records, PROXIED)[day(1)]
    assert day(1) not in needed_cutovers(records, PROXIED, [day(1)])


def test_what_an_undo_left_is_the_only_copy() -> None:
    lost = switch(1, LOCAL, SFTP, "undone", left_behind="a.txt could not be fetched from there")
    kept = upgrade(2, "undone").updated(kept=True, left_behind="2 runs came in since the upgrade")
    uncounted = upgrade(3, "undone").updated(kept=True)
    needed = needed_cutovers([lost, kept, uncounted, upgrade(4, "undone"), upgrade(5)], LOCAL)
    assert needed.pop(day(5))
    assert needed == {
        day(1): "a.txt could not be fetched from there",
        day(2): "2 runs came in since the upgrade",
        day(3): "the database that was given up was kept beside the record",
    }


def test_a_database_that_a_move_left_needs_the_record_until_it_is_pruned() -> None:
    given_up = move(1, "undone", opened=True)
    needed = needed_cutovers([given_up, move(2), move(3, pruned=True), move(4, "undone"), upgrade(5)], SFTP)
    assert needed.pop(day(5))
    assert needed == {
        day(1): "database_prune.yml needs it to delete PostgreSQL (postgresql://db/mlflow)",
        day(2): "database_prune.yml needs it to delete SQLite (sqlite:////var/lib/mlflow/mlflow.db)",
        day(3): "it is the last move, which can be undone",
    }


def test_what_a_restore_gave_up_is_the_only_copy() -> None:
    given_up = restore(1, consent=True)
    needed = needed_cutovers([given_up, restore(2), restore(3, "undone"), restore(4)], LOCAL)
    assert needed.pop(day(4))
    assert needed == {day(1): f"the database that the {given_up.title} gave up is beside the record"}


@pytest.mark.parametrize("state", ["copying", "cutting", "opening", "undoing"])
def test_what_is_not_settled_says_so(state: str) -> None:
    records = [switch(1, LOCAL, SFTP, state), upgrade(2)]
    assert needed_cutovers(records, SFTP)[day(1)] == f"the switch is not settled: it is {state}"


@pytest.mark.parametrize(
    ("records", "days", "found"),
    [
        ([], 90, None),
        ([upgrade(1), upgrade(2), switch(3, LOCAL, SFTP)], 90, 2),
        ([upgrade(1), upgrade(2, "undone")], 90, 1),
        ([switch(1, LOCAL, SFTP)], 90, None),
        ([upgrade(1)], 20, None),
        ([upgrade(1)], 0, 1),
        ([upgrade(1), move(2)], 90, 1),
        ([upgrade(1), move(20)], 20, 20),
        ([restore(2), restore(3)], 90, 2),
    ],
)
def test_the_cutover_whose_undo_restores_a_database(
    records: list[Record], days: int, found: int | None
) -> None:
    now = begun_at(day(31))
    undone = restorable(records, days, now)
    assert (undone.id if undone else None) == (day(found) if found else None)


def test_choose() -> None:
    items = [Item("young", 90.0), Item("old", 90.1, 7), Item("needed", 1000.0, 8, "an undo needs it")]
    assert choose(items, 90) == Choice((items[1],), {"needed": "an undo needs it"})
    assert choose(items, 0) == Choice((), {})
    # A clock that was set back makes nothing old.
    assert choose([Item("of tomorrow", -1.0)], 90) == Choice((), {})


def test_days() -> None:
    assert Days().uploads == 0
    with pytest.raises(RefusedError, match="cutovers_days is -1, uploads_days is -7"):
        Days(cutovers=-1, uploads=-7)


@pytest.mark.parametrize("value", [True, False, -1, 36501, 1.5, "yes", None])
def test_what_is_no_number_of_days_is_refused(value: object) -> None:
    with pytest.raises(RefusedError, match=f"deleted_days is {value}, cutovers_days is {value}"):
        days_of({**GIVEN, "deleted_days": value, "cutover_days": value})


@pytest.mark.parametrize("value", [True, 0, -1, 169, 1.5, "soon", None])
def test_what_is_no_number_of_hours_is_refused(value: object) -> None:
    with pytest.raises(RefusedError, match=f"limit_hours is {value}. Nothing was changed"):
        limit_of({"limit_hours": value})


def test_the_limit_of_a_kind() -> None:
    assert [limit_of({"limit_hours": value}) for value in (1, "168")] == [3600.0, 604800.0]


def test_days_of_the_command_line_and_of_the_timer() -> None:
    assert days_of({**GIVEN, "upload_days": "7", "deleted_days": 36500}) == Days(uploads=7, deleted=36500)


@pytest.mark.parametrize(("last", "days_later"), [(None, 3650), (0.0, 7), (0.0, 399), (0.0, -3650)])
def test_a_clock_that_goes_on_is_believed(last: float | None, days_later: int) -> None:
    require_no_leap(last, days_later * 86400.0)


def test_a_clock_that_leaps_is_not_believed() -> None:
    with pytest.raises(
        RefusedError, match=r"says 1980-01-01 .* UTC, 3652 days after .*Nothing was changed.*clock_is_right"
    ):
        require_no_leap(0.0, 3652 * 86400.0)


def test_ages() -> None:
    assert age_of("19700102T120000Z", 2.5 * 86400) == 1.0
    assert age_at("1970-01-02T12:00:00.123456789Z", 2.5 * 86400) == 1.0
    assert age_at("1970-01-02T13:00:00+01:00", 2.5 * 86400) == 1.0
    # As images without a time of their own have it, and what is no time.
    assert age_at("0001-01-01T00:00:00Z", 0) is not None
    assert age_at("", 0) is None
    assert is_id("19700102T120000Z")
    assert not is_id(".19700102T120000Z.removed")


def test_images() -> None:
    images = [
        Image("sha256:1", ("freegee/server:a",), 100.0, 5, used=False),
        Image("sha256:2", ("freegee/server:b",), 100.0, 5, used=True),
        Image("sha256:3", ("freegee/server:c", "mine:1"), 100.0, 5, used=False),
        Image("sha256:4", (), 100.0, 5, used=False),
        Image("sha256:6", ("freegee/server:f", "mine:2"), 100.0, 5, used=False),
        Image("sha256:5", ("freegee/server:e",), None, 5, used=False),
    ]
    choice = choose(image_items(images, {"freegee/server:c": "it is deployed"}), 90)
    assert [item.name for item in choice.going] == ["freegee/server:a", "sha256:4"]
    assert choice.kept == {
        "freegee/server:b": "a container is made of it",
        "freegee/server:c": "it is deployed",
        "freegee/server:f": "somebody has named it mine:2",
    }


def test_the_next_image_of_a_planned_upgrade_is_needed() -> None:
    assert planned_images([upgrade(1), upgrade(2, "undone"), switch(3, LOCAL, SFTP, "planned")]) == {}
    assert planned_images([upgrade(4, "planned")]) == {
        "new": f"the upgrade {day(4)} is planned, and leads to it"
    }


def test_clusters() -> None:
    now = 31 * 86400 + 1767225600.0
    sizes = {f"cluster-15-{day(1)}": 10, f"cluster-15-{day(2)}": 20, "cluster": 30, "cluster-15-mine": 40}
    choice = choose(cluster_items(sizes, {day(2): "an undo needs it"}, now), 20)
    assert [(item.name, item.bytes) for item in choice.going] == [(f"cluster-15-{day(1)}", 10)]
    assert choice.kept == {f"cluster-15-{day(2)}": "an undo needs it"}
    assert cluster_id("cluster") == ""
