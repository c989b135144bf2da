# SPDX-License-Identifier: Apache-2.0
"""The tables that two databases of MLflow have in common, and the order in which they can be filled."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import sqlalchemy as sa

from mlflow_sftp.database.postgresql_objects import FURTHER
from mlflow_sftp.errors import DatabaseError

# Which migrations were made; the target's own ones write it.
REVISION_TABLE = "alembic_version"


class Kind(Enum):
    """What a column holds, on either side."""

    TEXT = "text"
    INTEGER = "an integer"
    FLOAT = "a number"
    BOOLEAN = "true or false"
    DATE = "a date"
    BINARY = "bytes"
    JSON = "JSON"


# The first that fits.
_KINDS: tuple[tuple[type[sa.types.TypeEngine[Any]], Kind], ...] = (
    (sa.JSON, Kind.JSON),
    (sa.Boolean, Kind.BOOLEAN),
    (sa.Integer, Kind.INTEGER),
    (sa.Float, Kind.FLOAT),
    (sa.Date, Kind.DATE),
    (sa.LargeBinary, Kind.BINARY),
    (sa.String, Kind.TEXT),
)


@dataclass(frozen=True)
class Column:
    """A column of both databases; `length` (characters) and `bits` are what the target takes."""

    name: str
    kind: Kind
    nullable: bool = True
    generated: bool = False
    length: int | None = None
    bits: int = 64


@dataclass(frozen=True)
class Table:
    """A table of both databases; `key` names the columns of its primary key."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def stored(self) -> tuple[Column, ...]:
        """The columns without those that a database computes itself."""
        return tuple(column for column in self.columns if not column.generated)

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns of the primary key, in its order."""
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in self.key)


def reflected(connection: sa.Connection) -> dict[str, sa.Table]:
    """Every table by name, as this connection sees it, without the one that names MLflow's revision."""
    metadata = sa.MetaData()
    metadata.reflect(connection)
    return {name: table for name, table in metadata.tables.items() if name != REVISION_TABLE}


def further_objects(connection: sa.Connection) -> list[str]:
    """What there is besides tables, as in "view recent": none of it is MLflow's, and no empty database holds any."""
    if connection.dialect.name == "sqlite":
        return [f"view {name}" for name in sorted(sa.inspect(connection).get_view_names())]
    return list(connection.exec_driver_sql(FURTHER).scalars())


def common_tables(source: Mapping[str, sa.Table], target: Mapping[str, sa.Table]) -> list[Table]:
    """The target's tables, each after those that it refers to; the source may have more of them.

    Raises DatabaseError, which names everything that differs, where the source lacks a table, or one has other
    columns than the target's, or a column has no type that this program knows.
    """
    unlike = [text for name in sorted(target) for text in _unlike(name, source.get(name), target[name])]
    if unlike:
        raise DatabaseError(
            f"the source has not the tables that the installed MLflow makes: {'; '.join(unlike)}",
            "undo what was changed in its schema by hand",
        )
    return [_table(table) for table in in_order(target.values())]


def in_order(tables: Collection[sa.Table]) -> list[sa.Table]:
    """The tables, each after those that it refers to, but for what `circular_keys` names."""
    return [table for table, _ in _sorted(tables) if table is not None]


def circular_keys(target: Collection[sa.Table]) -> Iterator[tuple[str, str]]:
    """Table and name of each foreign key that no order of tables satisfies: to the own table, or in a circle."""
    *_, (_, circular) = _sorted(target)
    own = [key for table in target for key in table.foreign_key_constraints if key.referred_table is table]
    for key in dict.fromkeys([*own, *circular]):
        yield key.table.name, str(key.name)


def _sorted(tables: Collection[sa.Table]) -> list[tuple[sa.Table | None, list[sa.ForeignKeyConstraint]]]:
    ordered = sa.schema.sort_tables_and_constraints(tables)  # type: ignore[no-untyped-call]  # has no types
    return list(ordered)


def unique_columns(table: sa.Table) -> set[frozenset[str]]:
    """Each set of columns of which no two rows may have the same values."""
    constraints = [
        c for c in table.constraints if isinstance(c, sa.UniqueConstraint | sa.PrimaryKeyConstraint)
    ]
    indexes = [index for index in table.indexes if index.unique and not _partial(index)]
    return {frozenset(column.name for column in each.columns) for each in (*constraints, *indexes)} - {
        frozenset()
    }


def _partial(index: sa.Index) -> bool:
    return any(options.get("where") is not None for options in index.dialect_options.values())


def _unlike(name: str, source: sa.Table | None, target: sa.Table) -> Iterator[str]:
    if source is None:
        yield f"{name} is missing"
        return
    if not target.primary_key.columns:
        yield f"{name} has no primary key"
    here, there = set(source.columns.keys()), set(target.columns.keys())
    for column in sorted(here ^ there):
        yield f"{name}.{column} {'is missing' if column in there else 'is not of MLflow'}"
    for column in sorted(here & there):
        kinds = _kind(source.c[column].type), _kind(target.c[column].type)
        if kinds[0] is None or kinds[0] is not kinds[1]:
            yield f"{name}.{column} is {source.c[column].type} here, {target.c[column].type} at the target"


def _table(table: sa.Table) -> Table:
    columns = tuple(_column(column) for column in table.columns)
    return Table(table.name, columns, tuple(column.name for column in table.primary_key.columns))


def _column(column: sa.Column[object]) -> Column:
    kind = _kind(column.type)
    assert kind is not None, "common_tables has refused it"
    length = column.type.length if isinstance(column.type, sa.String) else None
    return Column(
        column.name, kind, bool(column.nullable), column.computed is not None, length, _bits(column.type)
    )


def _kind(type_: sa.types.TypeEngine[object]) -> Kind | None:
    return next((kind for generic, kind in _KINDS if isinstance(type_, generic)), None)


def _bits(type_: sa.types.TypeEngine[object]) -> int:
    if isinstance(type_, sa.BigInteger) or not isinstance(type_, sa.Integer):
        return 64
    return 16 if isinstance(type_, sa.SmallInteger) else 32
