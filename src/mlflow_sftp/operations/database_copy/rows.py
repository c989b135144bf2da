# SPDX-License-Identifier: Apache-2.0
"""Rows of a table out of one database and into another, as the databases hold them, a few at a time."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from mlflow_sftp.errors import DatabaseError
from mlflow_sftp.operations.database_copy.problems import Row, key_of
from mlflow_sftp.operations.database_copy.tables import Column, Kind, Table

# A span's content may be megabytes long.
_ROWS_AT_ONCE = 200
# What PostgreSQL's driver would make Python objects of.
_READ_AS_TEXT = frozenset({Kind.JSON, Kind.DATE})


def read(
    connection: sa.Connection, table: Table, columns: Sequence[Column], *, ordered: bool = False
) -> Iterator[Row]:
    """The rows, `ordered` by their primary key: the same order on either side, whatever the collation.

    JSON comes as the text that is stored, a date as YYYY-MM-DD. DatabaseError where the database cannot be read.
    """
    named = sa.table(table.name, *(sa.column(column.name) for column in table.columns))
    sqlite = connection.dialect.name == "sqlite"
    query = sa.select(*(_value(named.c[column.name], column, sqlite=sqlite) for column in columns))
    query = query.select_from(named)
    if ordered:
        order = [_by_bytes(named.c[column.name], column, sqlite=sqlite) for column in table.key_columns]
        query = query.order_by(*order)
    try:
        yield from map(tuple, connection.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}))
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise DatabaseError(
            f"table {table.name} of the {connection.dialect.name} database cannot be read: {cause}",
            "check that the database is whole, and that its server runs",
        ) from error


def keep_bytes(connection: sa.Connection) -> None:
    """Have text of SQLite's that is not UTF-8 read as well, with surrogates, so that its row can be named."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.text_factory = lambda text: text.decode("utf-8", "surrogateescape")


def _value(named: sa.ColumnClause[object], column: Column, *, sqlite: bool) -> sa.ColumnElement[object]:
    return named if sqlite or column.kind not in _READ_AS_TEXT else sa.cast(named, sa.Text)


def _by_bytes(named: sa.ColumnClause[Any], column: Column, *, sqlite: bool) -> sa.ColumnElement[Any]:
    if column.kind is not Kind.TEXT:
        return named
    return sa.collate(named, "BINARY" if sqlite else "C")


def write(connection: sa.Connection, table: Table, rows: Iterable[Row]) -> None:
    """Insert the rows, of the stored columns; DatabaseError names the table and what the database refused."""
    quote = connection.dialect.identifier_preparer.quote
    into = f"{quote(table.name)} ({', '.join(quote(column.name) for column in table.stored)})"
    driver = connection.connection.driver_connection
    assert driver is not None
    try:
        if connection.dialect.name == "sqlite":
            marks = ", ".join("?" for _ in table.stored)
            driver.executemany(f"INSERT INTO {into} VALUES ({marks})", rows)  # noqa: S608  # names of tables, quoted
            return
        with driver.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _write_error(connection, table, error) from error


def _write_error(connection: sa.Connection, table: Table, error: Exception) -> DatabaseError:
    driver = connection.dialect.loaded_dbapi
    of_a_row = isinstance(error, driver.IntegrityError | driver.DataError)
    remedy = "mend the row" if of_a_row else "see that the target runs and has space"
    return DatabaseError(
        f"table {table.name}: the target cannot take its rows: {str(error).strip().splitlines()[0]}",
        f"nothing was changed; {remedy}, and call again",
    )


def compare(source: sa.Connection, target: sa.Connection, table: Table) -> int:
    """Compare every value of every row, and return the number of rows; DatabaseError names the first that differs."""
    count = 0
    here = read(source, table, table.columns, ordered=True)
    there = read(target, table, table.columns, ordered=True)
    for expected, found in zip_longest(here, there):
        count += 1
        if expected != found:
            raise DatabaseError(
                f"table {table.name}: {_difference(table, expected, found)}",
                "nothing of it stays at the target",
            )
    return count


def _difference(table: Table, expected: Row | None, found: Row | None) -> str:
    keys = [None if row is None else key_of(table, table.columns, row) for row in (expected, found)]
    if expected is None or found is None or keys[0] != keys[1]:
        return f"the source has the row {keys[0]} where the target has {keys[1]}"
    differing = [
        column.name
        for column, here, there in zip(table.columns, expected, found, strict=True)
        if here != there
    ]
    return f"the row {keys[0]} has another value at the target in {', '.join(differing)}"
