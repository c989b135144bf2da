"""What a restore counts, so that its undo gives nothing up that came in, users aside; when it begins on a swarm."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.operations import Restore
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import (
    RestoreRecord,
    Snapshot,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

from mlflow_sftp.operations import login_schema

STORE = Store.at("sftp", "proxied", "sftp://me@host:22/a")
SNAPSHOT = Snapshot(
    id="6de574a0" * 8,
    time=1_795_809_549.9,
    mlflow="3.17.2",
    schema=("aaa",),
    runs=(20, 21),
    database="postgresql",
    store=STORE,
    has_artifacts=False,
)


def tables_of_a_login() -> set[str]:
    """Those that the installed MLflow makes, but for what they were migrated to."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        login_schema.make(connection)
        return set(sa.inspect(connection).get_table_names()) - {login_schema.REVISION_TABLE}


def counted(rows: dict[str, int]) -> dict[str, int]:
    """What a restore counts in a database of so many rows by table."""
    tool: Any = SimpleNamespace(call=lambda *arguments: {"database": {"rows": rows}})
    restore = Restore.__new__(Restore)
    restore._require_tool = lambda: tool  # type: ignore[method-assign]
    record: Any = None
    return dict(restore.count(record))


def test_users_who_become_the_inventory_s_again_are_nothing_that_came_in() -> None:
    content = {"experiments": 1, "runs": 7, "tags": 9}
    login = dict.fromkeys(tables_of_a_login(), 3)
    assert len(login) >= 4
    assert counted(content | login) == content


def test_a_run_that_came_in_counts() -> None:
    assert counted({"runs": 7, "users": 1}) != counted({"runs": 8, "users": 1})


class Driver:
    """A swarm's, whose servers may be on the move."""

    def __init__(self) -> None:
        self.moves = False
        self.done: list[str] = []

    def require_steady(self, replicas: int, *, closes: bool) -> None:
        assert closes
        self.done.append(f"steady with {replicas}")
        if self.moves:
            raise RefusedError("The service is being updated. Nothing was changed")

    def digest(self) -> str:
        return "abc"

    def images(self, archive: Path) -> list[str]:
        return []

    def keep(self, directory: Path) -> None:
        self.done.append("kept")

    def describe(self, following: Path, image: str) -> None:
        self.done.append(f"{following.name} described with {image}")


def on_swarm(directory: Path, state: str = "planned") -> tuple[Restore, Driver, RestoreRecord]:
    """A restore into a swarm's stack, whose directory has no compose.yml."""
    (directory / ".env").write_text("MLFLOW_STACK_ENGINE='swarm'\n")
    settings = SimpleNamespace(
        directory=directory, switches=directory / "switches", uid=os.getuid(), gid=os.getgid()
    )
    record = RestoreRecord(
        id="20260101T000000Z", store=STORE, snapshot=SNAPSHOT, planned_on="abc", state=state
    )
    restore = Restore.__new__(Restore)
    restore._driver = driver = Driver()  # type: ignore[assignment]
    restore._settings = settings  # type: ignore[assignment]
    restore._stack = SimpleNamespace(project=SimpleNamespace(image="sha256:deployed"))  # type: ignore[assignment]
    restore._directory = settings.switches / record.id
    return restore, driver, record


def test_a_swarm_s_servers_stay_as_they_are_described(tmp_path: Path) -> None:
    restore, driver, record = on_swarm(tmp_path)
    restore.keep_plan(record)
    assert [path.name for path in (restore._directory / "next").iterdir() if path.name == "compose.yml"] == []
    restore.save_files(record)
    assert driver.done == ["kept", "next described with sha256:deployed"]


@pytest.mark.parametrize(
    ("state", "asked"), [("planned", ["steady with 0"]), ("cutting", []), ("opening", [])]
)
def test_servers_that_move_stop_a_restore_before_it_closes_them(
    state: str, asked: list[str], tmp_path: Path
) -> None:
    restore, driver, record = on_swarm(tmp_path, state)
    restore.require_as_planned(record)
    assert driver.done == asked
    driver.moves = True
    if asked:
        with pytest.raises(RefusedError, match="is being updated"):
            restore.require_as_planned(record)


def test_servers_that_move_stop_an_undo_before_it_closes_them(tmp_path: Path) -> None:
    restore, driver, record = on_swarm(tmp_path, "done")
    driver.moves = True
    with pytest.raises(RefusedError, match="is being updated"):
        restore.require_way_back(record)
    driver.moves = False
    with pytest.raises(RefusedError, match=r"database\.backup is gone"):
        restore.require_way_back(record)
