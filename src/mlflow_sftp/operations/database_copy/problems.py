# SPDX-License-Identifier: Apache-2.0
"""Values that one kind of database holds and the other does not, found before anything is refused half-way."""

import datetime
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from mlflow_sftp.database.location_columns import Key
from mlflow_sftp.operations.database_copy.tables import Column, Kind, Table

Row = tuple[Any, ...]
# Why a value does not fit, or nothing.
_Judge = Callable[[Any], str]


@dataclass
class Problem:
    """What keeps rows of one column from the target: why, how many, and the keys of the first."""

    table: str
    column: str
    reason: str
    rows: int = 0
    keys: list[Key] = field(default_factory=list)

    def __str__(self) -> str:
        shown = "; ".join(" ".join(f"{name}={value}" for name, value in key.items()) for key in self.keys)
        more = f", and {self.rows - len(self.keys)} more" if self.keys and self.rows > len(self.keys) else ""
        where = f" (rows: {self.rows}): {shown}{more}" if self.rows else ""
        return f"{self.table}.{self.column} {self.reason}{where}" if self.table else self.reason


class Problems:
    """All that was found, by table, column and reason; of each, `shown` keys at most."""

    def __init__(self, shown: int) -> None:
        self._shown = shown
        self._found: dict[tuple[str, str, str], Problem] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found.values())

    def add(self, table: str, column: str, reason: str, key: Key | None = None, rows: int = 1) -> None:
        """Note that `rows` rows, of which one has the key, cannot be copied."""
        problem = self._found.setdefault((table, column, reason), Problem(table, column, reason))
        problem.rows += rows
        if key is not None and len(problem.keys) < self._shown:
            problem.keys.append(key)

    def fitting(self, table: Table, rows: Iterable[Row], *, to_sqlite: bool) -> Iterator[Row]:
        """The rows, of the stored columns, as long as nothing was found in any table; then they are only judged."""
        judges = [judge(column, to_sqlite=to_sqlite) for column in table.stored]
        for row in rows:
            for position, (fault, value) in enumerate(zip(judges, row, strict=True)):
                if reason := fault(value):
                    self.add(
                        table.name, table.stored[position].name, reason, key_of(table, table.stored, row)
                    )
            if not self._found:
                yield row


def key_of(table: Table, columns: Sequence[Column], row: Row) -> Key:
    """The primary key of a row of these columns, in values that JSON has."""
    values = dict(zip((column.name for column in columns), row, strict=True))
    return {name: _plain(values[name]) for name in table.key}


def judge(column: Column, *, to_sqlite: bool) -> _Judge:
    """A function that says why a value of the source does not fit into the column at the target, or ""."""
    fault = (_FAULTS_IN_SQLITE if to_sqlite else _FAULTS_IN_POSTGRESQL).get(column.kind)
    of_null = "" if column.nullable else "is NULL, which the target refuses"
    if fault is None:
        return lambda value: of_null if value is None else ""
    return lambda value: of_null if value is None else fault(column, value)


def _plain(value: object) -> str | int:
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, str | int) else str(value)


def _text(column: Column, value: object) -> str:
    # SQLite keeps in a column whatever it is given.
    if not isinstance(value, str):
        return f"is no {Kind.TEXT.value}"
    if "\0" in value:
        return "holds a NUL character"
    if not _is_unicode(value):
        return "is not valid UTF-8"
    if column.length is not None and len(value) > column.length:
        return f"is longer than {column.length} characters"
    return ""


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integer(column: Column, value: object) -> str:
    if type(value) is not int:
        return f"is not {Kind.INTEGER.value}"
    limit = 1 << (column.bits - 1)
    return "" if -limit <= value < limit else f"is beyond an integer of {column.bits} bits"


def _float(_: Column, value: object) -> str:
    return "" if isinstance(value, float) else f"is not {Kind.FLOAT.value}"


def _boolean(_: Column, value: object) -> str:
    return "" if isinstance(value, int) and value in (0, 1) else f"is not {Kind.BOOLEAN.value}"


def _date(_: Column, value: object) -> str:
    try:
        written = isinstance(value, str) and datetime.date.fromisoformat(value).isoformat() == value
    except ValueError:
        written = False
    return "" if written else f"is not {Kind.DATE.value}"


def _binary(_: Column, value: object) -> str:
    return "" if isinstance(value, bytes) else f"is not {Kind.BINARY.value}"


def _json(column: Column, value: object) -> str:
    if reason := _text(column, value):
        return reason
    try:
        # Only whether it can be read; numbers stay text, whose length Python limits otherwise.
        json.loads(str(value), parse_constant=_refuse, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return f"is not {Kind.JSON.value} (NaN and Infinity are not)"
    return ""


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _no_nan(_: Column, value: float) -> str:
    return "is NaN, which SQLite turns into NULL" if math.isnan(value) else ""


def _no_number(_: Column, value: str) -> str:
    try:
        float(value)
    except ValueError:
        return ""
    return "is a number alone, which SQLite writes in its own way"


_Fault = Callable[[Column, Any], str]
_FAULTS_IN_POSTGRESQL: dict[Kind, _Fault] = {
    Kind.TEXT: _text,
    Kind.INTEGER: _integer,
    Kind.FLOAT: _float,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: _date,
    Kind.BINARY: _binary,
    Kind.JSON: _json,
}
_FAULTS_IN_SQLITE: dict[Kind, _Fault] = {Kind.FLOAT: _no_nan, Kind.JSON: _no_number}
