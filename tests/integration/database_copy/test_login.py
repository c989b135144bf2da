"""The users of MLflow's own login go with its database, and are removed with it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import DatabaseError
from mlflow_sftp.operations import login_schema
from mlflow_sftp.operations.database_copy import copy_database, empty_database
from mlflow_sftp.operations.database_inventory import database_info
from mlflow_sftp.operations.database_schema import login_schema_of, schema
from mlflow_sftp.operations.round_trip_tag import TAG
from tests.integration.database_copy.conftest import Dump

_ROWS = """
INSERT INTO users (id, username, password_hash, is_admin) VALUES (7, 'alice', 'hash', 0);
INSERT INTO roles (id, name, workspace) VALUES (3, '__user_7__', 'default');
INSERT INTO role_permissions (id, role_id, resource_type, resource_pattern, permission)
  VALUES (5, 3, 'experiment', '*', 'READ');
INSERT INTO user_role_assignments (id, user_id, role_id) VALUES (9, 7, 3);
"""

_OF_A_ROUND_TRIP = f"""
INSERT INTO experiments (experiment_id, name, lifecycle_stage, workspace) VALUES (777, 'rt', 'active', 'default');
INSERT INTO experiment_tags (experiment_id, key, value) VALUES (777, '{TAG}', 'single');
INSERT INTO role_permissions (id, role_id, resource_type, resource_pattern, permission)
  VALUES (6, 3, 'experiment', '777', 'MANAGE');
"""


@pytest.fixture
def with_login(filled: Path) -> Path:
    """A database with one of everything, and a user."""
    engine = sa.create_engine(f"sqlite:///{filled}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        login_schema.make(connection)
    with closing(sqlite3.connect(filled)) as connection, connection:
        connection.executescript(_ROWS)
    return filled


def test_users_go_there_and_back(
    with_login: Path, empty: str, tmp_path: Path, dump: Callable[[Path], Dump]
) -> None:
    back = tmp_path / "back.db"
    with Database(f"sqlite:///{with_login}") as source:
        assert schema(source).state == "current"
        copied = copy_database(source, empty)
    with Database(empty) as source:
        copy_database(source, f"sqlite:///{back}")
    assert copied.tables["users"] == copied.tables["role_permissions"] == 1
    assert dump(back) == dump(with_login)


def test_numbers_of_users_go_on(with_login: Path, empty: str) -> None:
    with Database(f"sqlite:///{with_login}") as source:
        copy_database(source, empty)
    engine = sa.create_engine(empty, poolclass=sa.NullPool)
    with engine.begin() as connection:
        made = connection.scalar(sa.text("INSERT INTO users (username) VALUES ('bob') RETURNING id"))
    assert made == 8


def test_tables_of_another_login_are_refused(with_login: Path, empty: str) -> None:
    with closing(sqlite3.connect(with_login)) as connection, connection:
        connection.execute("UPDATE alembic_version_auth SET version_num = '8606fa83a998'")
    with Database(f"sqlite:///{with_login}") as source, pytest.raises(DatabaseError, match="8606fa83a998"):
        copy_database(source, empty)
    with Database(empty) as target:
        assert schema(target).state == "empty"


def test_a_database_with_users_is_emptied(with_login: Path, empty: str) -> None:
    with Database(f"sqlite:///{with_login}") as source:
        copy_database(source, empty)
    with Database(empty) as database:
        empty_database(database)
        assert schema(database).state == "empty"


def test_rows_are_counted_on_either_kind(with_login: Path, empty: str) -> None:
    """The login's tables hold numbers of experiments as text, which PostgreSQL does not compare with numbers."""
    with Database(f"sqlite:///{with_login}") as source:
        copy_database(source, empty)
        before = database_info(source, rows=True)["rows"]
    with Database(empty) as target:
        assert database_info(target, rows=True)["rows"] == before
    assert before["users"] == 1


def test_who_may_log_in(with_login: Path) -> None:
    with Database(f"sqlite:///{with_login}") as database:
        assert database_info(database)["login_users"] == ["alice"]
    with closing(sqlite3.connect(with_login)) as connection, connection:
        connection.execute("DROP TABLE alembic_version_auth")
    with Database(f"sqlite:///{with_login}") as database:
        # A table of somebody else's.
        assert database_info(database)["login_users"] == []


@pytest.mark.parametrize(
    ("revision", "state"), [(None, "current"), ("8606fa83a998", "behind"), ("ffffffffffff", "unknown")]
)
def test_the_schema_of_the_login_s_tables(with_login: Path, revision: str | None, state: str) -> None:
    if revision:
        with closing(sqlite3.connect(with_login)) as connection, connection:
            connection.execute("UPDATE alembic_version_auth SET version_num = ?", [revision])
    with Database(f"sqlite:///{with_login}") as database:
        found = login_schema_of(database)
        # The one of MLflow itself is another matter.
        assert schema(database).state == "current"
    assert found["state"] == state
    assert (found["database"] == found["heads"]) == (state == "current")


def test_what_a_round_trip_s_maker_may_do_does_not_count(with_login: Path, empty: str) -> None:
    with Database(f"sqlite:///{with_login}") as source:
        before = database_info(source, rows=True)["rows"]
    with closing(sqlite3.connect(with_login)) as connection, connection:
        connection.executescript(_OF_A_ROUND_TRIP)
    with Database(f"sqlite:///{with_login}") as source:
        copy_database(source, empty)
        assert database_info(source, rows=True)["rows"] == before
    with Database(empty) as target:
        assert database_info(target, rows=True)["rows"] == before
    with closing(sqlite3.connect(with_login)) as connection, connection:
        connection.execute("DELETE FROM role_permissions WHERE resource_pattern = '*'")
    with Database(f"sqlite:///{with_login}") as source:
        after = database_info(source, rows=True)["rows"]
    assert after == before | {"role_permissions": before["role_permissions"] - 1}


def test_a_table_of_somebody_else_with_such_a_name_is_no_login(filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as connection, connection:
        connection.executescript(
            "CREATE TABLE role_permissions (role INTEGER); INSERT INTO role_permissions VALUES (1)"
        )
    with Database(f"sqlite:///{filled}") as database:
        assert database_info(database, rows=True)["rows"]["role_permissions"] == 1
    with sa.create_engine(f"sqlite:///{filled}", poolclass=sa.NullPool).begin() as connection:
        login_schema.forget_experiment(connection, "1")
        assert connection.exec_driver_sql("SELECT role FROM role_permissions").scalars().all() == [1]
