"""Which values fit where, decided without a database."""

import math

import pytest

from mlflow_sftp.operations.database_copy.problems import Problems, judge
from mlflow_sftp.operations.database_copy.tables import Column, Kind, Table


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        (Column("c", Kind.TEXT), "", ""),
        (Column("c", Kind.TEXT), "ünï🙂\x01\x7f", ""),
        (Column("c", Kind.TEXT), "a\0b", "NUL"),
        (Column("c", Kind.TEXT), "a\udcff", "UTF-8"),
        (Column("c", Kind.TEXT), 5, "no text"),
        (Column("c", Kind.TEXT, length=3), "🙂🙂🙂", ""),
        (Column("c", Kind.TEXT, length=3), "abcd", "longer than 3 characters"),
        (Column("c", Kind.TEXT, nullable=False), None, "NULL"),
        (Column("c", Kind.TEXT), None, ""),
        (Column("c", Kind.INTEGER, bits=32), 2**31 - 1, ""),
        (Column("c", Kind.INTEGER, bits=32), -(2**31), ""),
        (Column("c", Kind.INTEGER, bits=32), 2**31, "32 bits"),
        (Column("c", Kind.INTEGER, bits=16), -(2**15) - 1, "16 bits"),
        (Column("c", Kind.INTEGER), 2**63 - 1, ""),
        (Column("c", Kind.INTEGER), 1.0, "not an integer"),
        (Column("c", Kind.FLOAT), math.inf, ""),
        (Column("c", Kind.FLOAT), b"1", "not a number"),
        (Column("c", Kind.BOOLEAN), 1, ""),
        (Column("c", Kind.BOOLEAN), 2, "not true or false"),
        (Column("c", Kind.BOOLEAN), "1", "not true or false"),
        (Column("c", Kind.DATE), "2024-02-29", ""),
        (Column("c", Kind.DATE), "2023-02-29", "not a date"),
        (Column("c", Kind.DATE), "20240229", "not a date"),
        (Column("c", Kind.DATE), 20240229, "not a date"),
        (Column("c", Kind.BINARY), b"\0\xff", ""),
        (Column("c", Kind.BINARY), "text", "not bytes"),
        (Column("c", Kind.JSON), "null", ""),
        (Column("c", Kind.JSON), '{"a": [1, 2.50, 1e400, "\\u0000"]}', ""),
        (Column("c", Kind.JSON), "1" * 5000, ""),
        (Column("c", Kind.JSON), '{"a": NaN}', "not JSON"),
        (Column("c", Kind.JSON), "[-Infinity]", "not JSON"),
        (Column("c", Kind.JSON), "{'a': 1}", "not JSON"),
        (Column("c", Kind.JSON), "", "not JSON"),
        (Column("c", Kind.JSON), 5, "no text"),
        (Column("c", Kind.JSON), "[" * 100_000, "not JSON"),
    ],
)
def test_what_postgresql_takes(column: Column, value: object, reason: str) -> None:
    found = judge(column, to_sqlite=False)(value)
    assert (reason in found) if reason else not found


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (Kind.FLOAT, math.nan, "NaN"),
        (Kind.FLOAT, -math.inf, ""),
        (Kind.JSON, "1.0", "a number alone"),
        (Kind.JSON, " 7 ", "a number alone"),
        (Kind.JSON, "[1.0]", ""),
        (Kind.JSON, "null", ""),
        (Kind.JSON, '"1"', ""),
        (Kind.TEXT, "x" * 100_000, ""),
    ],
)
def test_what_sqlite_takes(kind: Kind, value: object, reason: str) -> None:
    found = judge(Column("c", kind, length=5), to_sqlite=True)(value)
    assert (reason in found) if reason else not found


def test_rows_come_through_until_one_does_not_fit_and_all_are_judged() -> None:
    problems = Problems(shown=1)
    columns = (Column("id", Kind.INTEGER), Column("g", Kind.INTEGER, generated=True), Column("t", Kind.TEXT))
    table = Table("t", columns, ("id",))
    rows = [(1, "a"), (2, "\0"), (3, "b"), (4, "\0"), (5, 5)]
    assert list(problems.fitting(table, rows, to_sqlite=False)) == [(1, "a")]
    assert list(problems.fitting(table, [(6, "c")], to_sqlite=False)) == []
    assert [str(problem) for problem in problems] == [
        "t.t holds a NUL character (rows: 2): id=2, and 1 more",
        "t.t is no text (rows: 1): id=5",
    ]
