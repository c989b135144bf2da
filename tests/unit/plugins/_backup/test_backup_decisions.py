"""What is kept, what fits, and which snapshot is meant."""

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.answers import Snapshot
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.decisions import (
    Facts,
    Owner,
    choose,
    expected_bytes,
    require_known,
    require_room,
    retention,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.module import options_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.status import (
    age_of_last_good,
    note_failure,
    note_good,
    read_status,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError

MIB = 1 << 20
OWNER = Owner("docker-host", "mlflow")
FACTS = Facts(
    project="mlflow",
    collection="0.1.0",
    mlflow="3.17.2",
    schema=("dc11669786a5",),
    runs=(20, 22),
    database="sqlite",
    storage="local",
    access="direct",
    uri="/mlruns",
    root="/mlruns",
    account=False,
    images=("server:1",),
    known={"runs": 20},
)


def snapshot(name: str, time: float, host: str = "docker-host", project: str = "mlflow") -> Snapshot:
    tags = ("freegee.mlflow_sftp", f"project={project}") if project else ()
    return Snapshot(name, time, host, tags)


SNAPSHOTS = [
    snapshot("aa2", 2),
    snapshot("ab1", 1),
    snapshot("b", 3, project="other"),
    snapshot("c", 4, host="second"),
    snapshot("d", 5, project=""),
]


@pytest.mark.parametrize(
    ("keep", "options"),
    [
        ({}, []),
        ({"daily": 7, "last": "3"}, ["--keep-last=3", "--keep-daily=7"]),
        ({"weekly": 0}, []),
    ],
)
def test_retention(keep: dict[str, object], options: list[str]) -> None:
    assert retention(keep) == options


@pytest.mark.parametrize(
    ("keep", "words"),
    [({"fortnightly": 1}, "has fortnightly"), ({"daily": -1}, "daily is -1"), ({"daily": "x"}, "is 'x'")],
)
def test_retention_that_means_nothing_is_refused(keep: dict[str, object], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        retention(keep)


@pytest.mark.parametrize(("wanted", "found"), [("", "aa2"), ("ab", "ab1"), ("aa2", "aa2")])
def test_the_snapshot_that_is_meant(wanted: str, found: str) -> None:
    assert choose(SNAPSHOTS, OWNER, wanted).id == found


@pytest.mark.parametrize(
    ("snapshots", "wanted", "words"),
    [
        ([], "", "no snapshot of project mlflow on docker-host"),
        (SNAPSHOTS[2:], "", "has those of project mlflow on second, project other on docker-host"),
        (SNAPSHOTS, "a", "2 snapshots whose id begins with a"),
        (SNAPSHOTS, "x", "0 snapshots"),
        (SNAPSHOTS, "b", "is of project other on docker-host, and this is project mlflow on docker-host"),
        (SNAPSHOTS, "c", "is of project mlflow on second"),
        (SNAPSHOTS, "d", "not of this collection's making"),
    ],
)
def test_no_snapshot_or_another_project_s_is_refused(
    snapshots: list[Snapshot], wanted: str, words: str
) -> None:
    with pytest.raises(RefusedError, match=words):
        choose(snapshots, OWNER, wanted)


@pytest.mark.parametrize(
    ("total", "last", "expected"),
    [
        (1000 * MIB, 0, 1064 * MIB),
        (1000 * MIB, 900 * MIB, 174 * MIB),
        (1000 * MIB, 2000 * MIB, 74 * MIB),
    ],
)
def test_what_a_backup_may_need(total: int, last: int, expected: int) -> None:
    assert expected_bytes(total, 10 * MIB, last) == expected


def test_too_little_room_is_refused() -> None:
    require_room("/srv", MIB, MIB)
    with pytest.raises(RefusedError, match=r"/srv has 1\.0 MiB free, and the backup may need 2\.0 MiB"):
        require_room("/srv", MIB, 2 * MIB)


GOOD = {"repository": "/srv/backup", "repository_id": "abcdef0123", "finished": "2026-01-02T03:04:05Z"}
# Of an earlier version of the collection.
WITHOUT_ID = {name: value for name, value in GOOD.items() if name != "repository_id"}


@pytest.mark.parametrize(
    ("location", "found", "last_good", "new"),
    [
        # The first backup of a stack, and the first one at another place.
        ("/srv/backup", "", {}, False),
        ("/srv/other", "", GOOD, False),
        ("/srv/other", "123456", GOOD, False),
        ("/srv/backup", "abcdef0123", GOOD, False),
        ("/srv/backup", "123456", WITHOUT_ID, False),
        ("/srv/backup", "", GOOD, True),
        ("/srv/backup", "123456", GOOD, True),
    ],
)
def test_a_repository_that_may_be_used(
    location: str, found: str, last_good: dict[str, str], new: bool
) -> None:
    require_known(location, found, last_good, new=new)


@pytest.mark.parametrize(
    ("found", "last_good", "words"),
    [
        ("", GOOD, "no repository at /srv/backup, .* brought to .2026-01-02T03:04:05Z.*new_repository=true"),
        ("", WITHOUT_ID, "no repository at /srv/backup"),
        ("1234567890", GOOD, "another repository .12345678 instead of abcdef01. at /srv/backup"),
    ],
)
def test_a_repository_that_has_vanished_is_not_made_anew(
    found: str, last_good: dict[str, str], words: str
) -> None:
    with pytest.raises(RefusedError, match=words):
        require_known("/srv/backup", found, last_good, new=False)


def test_a_timer_does_not_consent_to_another_repository() -> None:
    given = {"repository": "/srv/backup", "password": "x", "image": "restic", "host": "h", "keep": {}}
    given |= {"environment": {}, "private_key": "", "known_hosts": "", "include_account": False}
    given |= {"check_repository": True, "check_data": ""}
    assert options_of(given).new_repository is False
    assert options_of({**given, "new_repository": True}).new_repository is True


def test_facts_survive_their_file() -> None:
    assert Facts.from_dict(FACTS.as_dict()) == FACTS
    # Those of an earlier version of the collection.
    without = {name: value for name, value in FACTS.as_dict().items() if name != "known"}
    assert Facts.from_dict(without).known == {}
    with pytest.raises(RefusedError, match="has no 'project'"):
        Facts.from_dict({})


def test_tags_hold_no_comma() -> None:
    assert not any("," in tag for tag in FACTS.tags)
    assert set(FACTS.tags) >= {"project=mlflow", "collection=0.1.0", "mlflow=3.17.2", "schema=dc11669786a5"}


def test_a_monitor_is_told_of_backups_where_there_is_one(tmp_path) -> None:
    note_good(tmp_path, {"snapshot": "a"})
    assert [path.name for path in tmp_path.iterdir()] == ["backup.json"]
    (tmp_path / "status").mkdir()
    note_failure(tmp_path, "no space")
    told = tmp_path / "status/backup.json"
    assert told.read_text() == (tmp_path / "backup.json").read_text()
    assert told.stat().st_mode & 0o777 == 0o644


def test_a_failure_leaves_the_last_good_backup_known(tmp_path) -> None:
    assert age_of_last_good(read_status(tmp_path), 0) is None
    note_good(tmp_path, {"snapshot": "a"})
    note_failure(tmp_path, "no space")
    status = read_status(tmp_path)
    assert status["last_good"]["snapshot"] == "a"
    assert status["failed"]["error"] == "no space"
    assert age_of_last_good(status, status["last_good"]["finished_seconds"] + 60) == 60
    (tmp_path / "backup.json").write_text("{")
    assert read_status(tmp_path) == {}
