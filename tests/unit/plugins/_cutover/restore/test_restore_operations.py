"""What a restore counts, so that its undo gives nothing up that came in: users are nothing of that."""

from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.operations import Restore

from mlflow_sftp.operations import login_schema


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
