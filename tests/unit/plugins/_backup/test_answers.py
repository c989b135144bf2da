"""What restic says, as its versions 0.14 and 0.18 said it, and what is made of it."""

import json

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.answers import (
    Lock,
    Snapshot,
    Sums,
    explain,
    is_absent,
    require_unlocked,
    seconds_of,
    unreadable,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)

LISTED = {
    "time": "2026-11-27T15:07:59.94107279Z",
    "hostname": "docker-host",
    "tags": [
        "freegee.mlflow_sftp",
        "project=mlflow",
        "collection=1.0.0",
        "mlflow=3.17.2",
        "schema=dc11669786a5",
    ],
    "id": "36c3a0994a380d65fdb0f04b8a2a452033599b14fa1a062fbb0eb9713b2b94fe",
}
SUMMARY = {
    "message_type": "summary",
    "snapshot_id": "36c3a099",
    "total_files_processed": 3,
    "total_bytes_processed": 705,
    "data_added": 664,
}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:01.5Z", 1.5),
        ("1970-01-01T02:00:01.94107279+02:00", 1.94107279),
        ("1970-01-01T00:00:01.941072791-00:30", 1801.941072791),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)


def test_no_time_is_no_traceback() -> None:
    with pytest.raises(CutoverError, match="a time that is none"):
        seconds_of("yesterday")


@pytest.mark.parametrize(("more", "size"), [({}, None), ({"summary": {"total_bytes_processed": 3}}, 3)])
def test_snapshot(more: dict[str, object], size: int | None) -> None:
    snapshot = Snapshot.from_answer({**LISTED, **more})
    assert snapshot.of == ("docker-host", "mlflow")
    assert snapshot.bytes == size
    assert str(snapshot) == (
        "36c3a099 of 2026-11-27 15:07:59 UTC: MLflow 3.17.2, schema dc11669786a5, collection 1.0.0"
    )


@pytest.mark.parametrize("tags", [None, [], ["project=mlflow"]])
def test_snapshot_of_somebody_else(tags: list[str] | None) -> None:
    assert Snapshot.from_answer({**LISTED, "tags": tags}).of == ("docker-host", "")


@pytest.mark.parametrize(("more", "added"), [({}, 664), ({"data_added_packed": 100}, 100)])
def test_sums(more: dict[str, object], added: int) -> None:
    lines = ['{"message_type":"status","percent_done":1}', json.dumps({**SUMMARY, **more}), "{broken"]
    assert Sums.from_answer("\n".join(lines)) == Sums("36c3a099", 3, 705, added)


def test_no_sums() -> None:
    with pytest.raises(CutoverError, match="without saying"):
        Sums.from_answer("")


def test_only_what_is_there_and_cannot_be_read_is_missed() -> None:
    def error(message: str) -> str:
        told = {"message_type": "error", "error": {"message": message}, "item": "/backup/artifacts/1/f"}
        return json.dumps(told)

    gone = error("lstat /backup/artifacts/1/f: no such file or directory")
    denied = error("open /backup/artifacts/1/f: permission denied")
    assert unreadable(f"{gone}\n{denied}\n{json.dumps(SUMMARY)}") == [
        "artifacts/1/f: open /backup/artifacts/1/f: permission denied"
    ]


@pytest.mark.parametrize(
    ("said", "exit_code", "absent"),
    [
        ("Fatal: repository does not exist: unable to open config file", 10, True),
        ("Fatal: unable to open config file\nIs there a repository at the following location?\n/r", 1, True),
        ("Fatal: wrong password or no key found", 12, False),
    ],
)
def test_whether_there_is_a_repository(said: str, exit_code: int, absent: bool) -> None:
    assert is_absent(said, exit_code) == absent


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Fatal: wrong password or no key found", "does not open the repository"),
        ("subprocess ssh: Host key verification failed.", "host key is unknown or has changed"),
        ("subprocess ssh: me@host: Permission denied (publickey).", "does not accept the key"),
        ("ssh: Could not resolve hostname nas: Name or service not known", "name is unknown"),
        ("ssh: connect to host nas port 22: Connection refused", "nothing listens there"),
        ("Save(<data/1>) returned error: write: no space left on device", "the repository is full"),
        ("open /repository/keys: permission denied", "access is denied"),
        ("unable to create lock: repository is already locked exclusively by PID 7", "holds a lock"),
        ("Fatal: something new", "with exit code 1: Fatal: something new"),
        ("", "with exit code 1: it said nothing"),
    ],
)
def test_complaints(said: str, words: str) -> None:
    error = explain("backup", "/srv/backup", said, 1)
    assert "restic backup on /srv/backup failed" in str(error)
    assert words in str(error)


def lock(**changes: object) -> Lock:
    told = {"time": "2026-11-27T15:09:17.7Z", "hostname": "nas", "username": "root", "pid": 7}
    return Lock.from_answer({**told, **changes})


def test_a_living_exclusive_lock_is_named() -> None:
    with pytest.raises(RefusedError, match="process 7 of root on nas, since 2026-11-27 15:09:17 UTC"):
        require_unlocked([lock(), lock(exclusive=True)], "/srv/backup")


def test_others_may_back_up_at_the_same_time() -> None:
    require_unlocked([lock(), lock(exclusive=False)], "/srv/backup")
