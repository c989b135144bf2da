# SPDX-License-Identifier: Apache-2.0
"""The copy: what it refuses, what it writes, and the comparison that it ends with."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mlflow_sftp.database.database import Database
from mlflow_sftp.database.location_columns import Key
from mlflow_sftp.errors import BlockedError, DatabaseError
from mlflow_sftp.operations.database_copy.problems import Problem, Problems, Row
from mlflow_sftp.operations.database_copy.rows import compare, keep_bytes, read, write
from mlflow_sftp.operations.database_copy.schema import require_current, require_current_login
from mlflow_sftp.operations.database_copy.tables import (
    REVISION_TABLE,
    Table,
    common_tables,
    reflected,
    unique_columns,
)
from mlflow_sftp.operations.database_copy.target import (
    NewDatabase,
    Target,
    not_empty,
    require_nothing_further,
    target_of,
)

_OTHER_KIND = {"sqlite": "PostgreSQL", "postgresql": "SQLite"}
# Of the problems, in an error; the rest is told by `check`.
_NAMED_IN_ERROR = 3


@dataclass(frozen=True)
class DatabaseCopy:
    """What was copied, or with `check` would be: rows by table, and what keeps rows from the target.

    `changed` is false where the target held all of it before. `bytes` is the size of the source, `free_bytes` what is
    free for the target, where that can be known.
    """

    source: str
    target: str
    tables: dict[str, int]
    seconds: float
    changed: bool
    bytes: int
    free_bytes: int | None
    problems: list[Problem] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(self.tables.values())

    def as_dict(self) -> dict[str, Any]:
        """The same in the form of `--json`."""
        return {
            "from": self.source,
            "to": self.target,
            "tables": self.tables,
            "rows": self.rows,
            "seconds": round(self.seconds, 3),
            "changed": self.changed,
            "bytes": self.bytes,
            "free_bytes": self.free_bytes,
            "problems": [asdict(problem) for problem in self.problems],
        }


def copy_database(source: Database, target_uri: str, *, check: bool = False, shown: int = 20) -> DatabaseCopy:
    """Copy every row of MLflow's database into an empty one of the other kind, and compare every value.

    The source is only read, with its writers locked out; it must be of the installed MLflow's version. The target is
    empty before; whatever stops the program, it is empty or complete afterwards, and where it is complete already,
    comparing is all that is done.

    Args:
        source: The database to copy.
        target_uri: SQLAlchemy URI of the empty one; a file of SQLite's need not be there.
        check: Only look: count the rows, and find those that the target cannot hold.
        shown: Of each problem, how many keys are listed.

    Raises DatabaseError where either side cannot be used or is not as described above, or where a value differs in
    the end; BlockedError, unless with `check`, where the target cannot hold rows; StorageError where a file cannot be
    written. Nothing stays at the target then.
    """
    return _Copy(source, target_of(target_uri), check=check, shown=shown).run()


class _Copy:
    def __init__(self, source: Database, target: Target, *, check: bool, shown: int) -> None:
        self._source = source
        self._target = target
        self._check = check
        self._problems = Problems(shown)

    def run(self) -> DatabaseCopy:
        started = time.monotonic()
        self._require_other_kind()
        require_current(self._source)
        with self._reading() as source:
            if self._source.is_sqlite:
                keep_bytes(source)
            tables, changed = self._bring(source)
            size = _size(source)
        return DatabaseCopy(
            self._source.name, self._target.name, tables, time.monotonic() - started, changed,
            size, self._target.free_bytes(), list(self._problems),
        )  # fmt: skip

    def _require_other_kind(self) -> None:
        kinds = [url.get_backend_name() for url in (self._source.url, self._target.url)]
        if kinds[0] == kinds[1]:
            raise DatabaseError(
                f"{self._target.name} is a database of the same kind as {self._source.name}",
                f"name one on {_OTHER_KIND[kinds[0]]}; a copy on the same is what `mlflow-sftp backup` makes",
            )

    def _reading(self) -> contextlib.AbstractContextManager[sa.Connection]:
        return self._source.reading() if self._check else self._source.frozen()

    def _bring(self, source: sa.Connection) -> tuple[dict[str, int], bool]:
        """Rows by table, and whether the target was changed, or with `check` would be."""
        there = self._complete_already(source)
        if there is not None:
            return there, False
        self._require_space(source)
        with self._target.new(login=require_current_login(self._source.name, source)) as new:
            return self._fill(source, new), True

    def _complete_already(self, source: sa.Connection) -> dict[str, int] | None:
        """Rows by table where the target is what an earlier call made; None where it is empty."""
        database = self._target.database()
        if database is None:
            return None
        with database, database.reading() as target:
            names = sorted(sa.inspect(target).get_table_names())
            if not names:
                require_nothing_further(self._target.name, target)
                return None
            try:
                return self._compare(source, target, reflected(target))
            except DatabaseError as error:
                raise not_empty(self._target.name, names, error.seen) from error

    def _require_space(self, source: sa.Connection) -> None:
        free, needed = self._target.free_bytes(), _size(source)
        if free is not None and free < needed:
            self._problems.add("", "", f"the target has {free} bytes free, the source takes {needed}", rows=0)

    def _fill(self, source: sa.Connection, new: NewDatabase) -> dict[str, int]:
        present, wanted = reflected(source), reflected(new.connection)
        self._require_no_others(source, present, wanted)
        tables = common_tables(present, wanted)
        self._find_orphans(source, tables)
        self._find_doubles(source, tables, present, wanted)
        counts = {table.name: self._copy_table(source, new.connection, table) for table in tables}
        if self._check:
            return counts
        self._require_no_problems()
        counts = {table.name: compare(source, new.connection, table) for table in tables}
        new.keep()
        return counts

    def _compare(
        self, source: sa.Connection, target: sa.Connection, wanted: dict[str, sa.Table]
    ) -> dict[str, int]:
        present = reflected(source)
        self._require_no_others(source, present, wanted)
        if _revision(source) != _revision(target):
            raise DatabaseError(f"{self._target.name} is at another revision", "name an empty database")
        return {table.name: compare(source, target, table) for table in common_tables(present, wanted)}

    def _require_no_others(
        self, source: sa.Connection, present: Mapping[str, sa.Table], wanted: Mapping[str, sa.Table]
    ) -> None:
        others = [name for name in sorted(set(present) - set(wanted)) if _holds_rows(source, present[name])]
        if others:
            raise DatabaseError(
                f"{self._source.name} holds tables that are not MLflow's: {', '.join(others)}",
                "move them elsewhere or empty them: they would not be copied",
            )

    def _copy_table(self, source: sa.Connection, target: sa.Connection, table: Table) -> int:
        """Copy as long as there is nothing against it; count and judge all rows in any case."""
        count = 0

        def counted() -> Iterator[Row]:
            nonlocal count
            for row in read(source, table, table.stored):
                count += 1
                yield row

        fitting = self._problems.fitting(table, counted(), to_sqlite=target.dialect.name == "sqlite")
        if self._check:
            deque(fitting, maxlen=0)
        else:
            write(target, table, fitting)
        return count

    def _find_orphans(self, source: sa.Connection, tables: list[Table]) -> None:
        """SQLite keeps rows whose foreign keys lead nowhere; PostgreSQL takes none."""
        if source.dialect.name != "sqlite":
            return
        by_name = {table.name: table for table in tables}
        for name, row_id, parent, number in source.exec_driver_sql("PRAGMA foreign_key_check").all():
            if (table := by_name.get(name)) is None:
                continue
            keys = source.exec_driver_sql(f"PRAGMA foreign_key_list({_quoted(source, name)})")
            columns = ", ".join(key[3] for key in keys if key[0] == number)
            self._problems.add(name, columns, f"leads to no row of {parent}", _key_at(source, table, row_id))

    def _find_doubles(
        self,
        source: sa.Connection,
        tables: list[Table],
        present: Mapping[str, sa.Table],
        wanted: Mapping[str, sa.Table],
    ) -> None:
        """Rows that the target takes for equal, where the source has lost the constraint against them."""
        for table in tables:
            for columns in unique_columns(wanted[table.name]) - unique_columns(present[table.name]):
                for key, rows in _doubles(source, present[table.name], sorted(columns)):
                    self._problems.add(table.name, ", ".join(key), "is not unique", key, rows)

    def _require_no_problems(self) -> None:
        problems = list(self._problems)
        if not problems:
            return
        named = "; ".join(map(str, problems[:_NAMED_IN_ERROR]))
        more = f"; and {len(problems) - _NAMED_IN_ERROR} more" if len(problems) > _NAMED_IN_ERROR else ""
        raise BlockedError(
            f"{self._target.name} cannot take all rows, so none was copied: {named}{more}",
            "--check lists all of them; change or remove what it names, through MLflow or in the database",
        )


def _key_at(source: sa.Connection, table: Table, row_id: int) -> Key:
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in table.key]
    query = sa.select(*columns).select_from(sa.table(table.name)).where(sa.column("rowid") == row_id)
    return dict(zip(table.key, source.execute(query).one(), strict=True))


def _doubles(source: sa.Connection, table: sa.Table, names: list[str]) -> Iterator[tuple[Key, int]]:
    """Values that several rows have in these columns, and how many; NULL equals nothing."""
    columns: list[sa.Column[Any]] = [table.c[name] for name in names]
    query = sa.select(*columns, sa.func.count()).where(*(column.is_not(None) for column in columns))
    for *values, rows in source.execute(query.group_by(*columns).having(sa.func.count() > 1)):
        yield dict(zip(names, values, strict=True)), rows


def _revision(connection: sa.Connection) -> list[str]:
    column: sa.ColumnClause[str] = sa.column("version_num")
    return sorted(connection.scalars(sa.select(column).select_from(sa.table(REVISION_TABLE))))


def _holds_rows(connection: sa.Connection, table: sa.Table) -> bool:
    found = connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1))
    return found.first() is not None


def _quoted(connection: sa.Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)


def _size(source: sa.Connection) -> int:
    if source.dialect.name == "sqlite":
        return Path(str(source.engine.url.database)).stat().st_size
    return int(source.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())
