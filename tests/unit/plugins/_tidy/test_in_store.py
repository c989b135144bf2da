"""What in the store is left alone."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import record as records
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import LateError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import (
    RestoreRecord,
    Snapshot,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy import in_store
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.decisions import Days

STORE = Store.at("local", "direct", "/mlruns")
SNAPSHOT = Snapshot(
    id="6de574a0" * 8,
    time=1_795_809_549.9,
    mlflow="3.13.0",
    schema=("aaa",),
    runs=(20, 21),
    database="sqlite",
    store=STORE,
    has_artifacts=True,
)
FOUND: dict[str, Any] = {
    **dict.fromkeys(("runs", "models", "experiments", "resumed"), 0),
    **{"failed": {}, "kept": {}, "artifacts": None, "removed": {"files": 0, "bytes": 0}},
}


@pytest.mark.parametrize(
    ("state", "days_ago", "called"),
    [
        ("done", 1, ["clean"]),
        ("done", 100, ["gc", "empty-quarantine", "clean"]),
        ("undone", 1, ["gc", "empty-quarantine", "clean"]),
    ],
)
def test_what_the_undo_of_a_restore_needs_stays(
    state: str, days_ago: int, called: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = time.strftime(records.ID_FORMAT, time.gmtime(time.time() - days_ago * 86400))
    (tmp_path / begun).mkdir()
    record = RestoreRecord(id=begun, store=STORE, snapshot=SNAPSHOT, state=state)
    records.write(record, tmp_path / begun)
    calls: list[str] = []

    def call(command: str, *arguments: str, **options: object) -> dict[str, Any]:
        calls.append(command)
        return FOUND

    @contextlib.contextmanager
    def tool(self: object) -> Iterator[Any]:
        yield SimpleNamespace(call=call)

    monkeypatch.setattr(in_store.InStore, "_tool", tool)
    stack: Any = SimpleNamespace(settings=SimpleNamespace(switches=tmp_path), store=STORE)
    days = Days(deleted=30, cutovers=90, quarantine=30, uploads=7)
    outcomes = list(in_store.InStore(stack, days, 7200.0, check=False).tidy())
    assert calls == called
    assert {each.kind: each.error for each in outcomes} == dict.fromkeys(
        ["deleted", "quarantine", "uploads"], ""
    )
    spared = [each.kind for each in outcomes if "the restore of snapshot 6de574a0" in str(each.kept)]
    assert spared == ([] if "gc" in called else ["deleted", "quarantine"])


def test_what_takes_too_long_is_stopped_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools: list[list[str]] = []

    def call(command: str, *arguments: str, seconds: float, **options: object) -> dict[str, Any]:
        tools[-1].append(command)
        assert seconds == 7200.0
        if command == "gc":
            raise LateError("it did not answer")
        return FOUND

    @contextlib.contextmanager
    def tool(self: object) -> Iterator[Any]:
        tools.append([])
        yield SimpleNamespace(call=call)

    monkeypatch.setattr(in_store.InStore, "_tool", tool)
    stack: Any = SimpleNamespace(settings=SimpleNamespace(switches=tmp_path), store=STORE)
    days = Days(deleted=30, quarantine=30, uploads=7)
    deleted, *others = in_store.InStore(stack, days, 7200.0, check=False).tidy()
    assert deleted.error.startswith("it was stopped after 2 h")
    assert "mlflow_tidy_limit_hours" in deleted.error
    assert [each.error for each in others] == ["", ""]
    # What was stopped has taken its program along.
    assert tools == [["gc"], ["empty-quarantine"], ["clean"]]
