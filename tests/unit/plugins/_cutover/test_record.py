"""The record of a cutover on disk."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import write
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import (
    load,
    load_all,
    require_none_planned,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import (
    SwitchRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

FILE = "switch.json"
LOCAL = Store.at("local", "direct", "/mlruns")
SFTP = Store.at("sftp", "proxied", "sftp://me@host:22/a")
RECORD = SwitchRecord(
    id="20260101T000000Z",
    source=LOCAL,
    target=SFTP,
    experiments=(1, 2),
    state="opening",
    already_moved=("1/a",),
    accounts=("sftp://other@host:22",),
    steps=({"name": "Close MLflow", "status": "ok", "seconds": 1.5},),
)
# As the release before this engine wrote them.
EARLIER = {
    "id": "20250101T000000Z",
    "state": "done",
    "from": LOCAL.as_dict(),
    "to": SFTP.as_dict(),
    "migrate": "all",
    "experiments": [],
    "undoes": "",
    "rest": False,
    "settled": ["1/a"],
    "closed_seconds": 20.5,
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(RECORD, tmp_path)
    assert load(tmp_path / FILE, SwitchRecord) == RECORD
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    write(replace(RECORD, state="done"), tmp_path)
    assert load(tmp_path / FILE, SwitchRecord).state == "done"
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_write_that_fails_leaves_the_record_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(RECORD, tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(replace(RECORD, state="done"), tmp_path)
    assert load(tmp_path / FILE, SwitchRecord) == RECORD


def test_all_records_the_earliest_first(tmp_path: Path) -> None:
    for name in ("20260102T000000Z", "20260101T000000Z"):
        (tmp_path / name).mkdir()
        write(replace(RECORD, id=name), tmp_path / name)
    (tmp_path / "20260103T000000Z" / "work").mkdir(parents=True)
    assert [record.id for record in load_all(tmp_path)] == ["20260101T000000Z", "20260102T000000Z"]
    assert load_all(tmp_path / "nowhere") == []


def test_a_record_of_the_release_before() -> None:
    record = SwitchRecord.from_dict(EARLIER)
    assert (record.version, record.already_moved, record.closed_seconds) == (1, ("1/a",), 20.5)
    assert record.target == SFTP


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            json.dumps({**EARLIER, "version": 3}),
            ["of version 3", "knows 2 at most", "Run the playbook with the version"],
        ),
        (json.dumps({**EARLIER, "version": "new"}), ["of version new"]),
        (json.dumps({**EARLIER, "state": "melting"}), ["unknown state 'melting'"]),
        (json.dumps({**EARLIER, "from": {"uri": "/"}}), ["cannot be understood"]),
        (
            json.dumps({name: value for name, value in EARLIER.items() if name != "to"}),
            ["cannot be understood: 'to'"],
        ),
        ("{", ["cannot be read", "Restore the file from a backup"]),
        ("[]", ["no JSON object"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_records_that_mean_nothing(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / FILE
    path.write_text(text)
    with pytest.raises(RefusedError) as refused:
        load(path, SwitchRecord)
    assert [word for word in words if word not in str(refused.value)] == []
    with pytest.raises(RefusedError, match=path.name):
        load(tmp_path / "nowhere" / FILE, SwitchRecord)


def planned(identifier: str, state: str) -> SwitchRecord:
    return replace(RECORD, id=identifier, state=state)


@pytest.mark.parametrize("state", ["planned", "copying"])
def test_what_is_replaced_is_not_brought_back_by_a_planned_cutover(state: str) -> None:
    with pytest.raises(RefusedError, match=rf"is {state}.*storage_switch\.yml; or remove /switches/2 if"):
        require_none_planned([planned("1", "done"), planned("2", state)], Path("/switches"))


@pytest.mark.parametrize("states", [(), ("done",), ("undone",), ("copying", "done")])
def test_nothing_planned(states: tuple[str, ...]) -> None:
    """What was planned before another cutover was carried out is forgotten."""
    records = [planned(str(number), state) for number, state in enumerate(states)]
    require_none_planned(records, Path("/switches"))


def test_a_monitor_is_told_where_there_is_one_and_its_disk_keeps_nothing_from_going_on(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "switches" / RECORD.id
    directory.mkdir(parents=True)
    write(RECORD, directory)
    assert [path.name for path in tmp_path.iterdir()] == ["switches"]
    (tmp_path / "status").mkdir()
    write(RECORD, directory)
    told = json.loads((tmp_path / "status/cutover.json").read_text())
    assert (told["kind"], told["state"], told["id"]) == ("switch", "opening", RECORD.id)
    assert stat.S_IMODE((tmp_path / "status/cutover.json").stat().st_mode) == 0o644
    (tmp_path / "status/cutover.json").unlink()
    (tmp_path / "status/cutover.json").mkdir()
    write(replace(RECORD, state="done"), directory)
    assert load(directory / FILE, SwitchRecord).state == "done"
