# SPDX-License-Identifier: Apache-2.0
"""Search of every text column of a database for a root, so that no row is left behind unseen."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import quote

import sqlalchemy as sa

from mlflow_sftp.database.database import Database, location_rows
from mlflow_sftp.database.location_columns import Key
from mlflow_sftp.errors import LocationError
from mlflow_sftp.location import PATH_SAFE, Location, parse_root
from mlflow_sftp.uri import redact

_EXCERPT = 60
_ROWS_AT_ONCE = 1000
# Enough for scheme, user and host before a path; a span may hold megabytes.
_BEFORE = 300
_NAME = r"[\w%+~@-]"
# A full stop ends a sentence or belongs to a name, as in /mlruns.old.
_BOUNDARY = rf"(?!{_NAME}|\.{_NAME})"
# Locations that the proxy is reached by are searched for as they are spelled.
_URLS = ("http", "https")
_SCHEME_BEFORE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/{0,2}(?:localhost)?$")


@dataclass(frozen=True)
class Finding:
    """One value that names the root.

    `location`: MLflow reads artifacts from it, a relocation must have moved it. `report_only`: what users,
    data sets or traces say about the place, which MLflow does not follow.
    """

    table: str
    column: str
    key: Key
    kind: Literal["location", "report_only"]
    excerpt: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def scan(database: Database, roots: Sequence[str], working_directory: str | None = None) -> Iterator[Finding]:
    """Every value of every text and JSON column that holds one of `roots`, in whatever spelling."""
    parsed_roots = [parse_root(root, working_directory) for root in roots]
    with database.reading() as connection:
        for location_column in database.location_columns():
            for key, value in location_rows(database, connection, location_column):
                if _is_under(value, parsed_roots, working_directory):
                    table, column = location_column.table, location_column.column
                    yield Finding(table, column, key, "location", redact(value))
        for text_column in _text_columns(database):
            yield from _scan_text(database, connection, text_column, parsed_roots)


def _is_under(value: str, roots: Sequence[Location], working_directory: str | None) -> bool:
    try:
        location = Location.parse(value, working_directory)
    except LocationError:
        return False
    return any(location.is_under(root) or location.may_be_under(root) for root in roots)


def _text_columns(database: Database) -> Iterator[sa.Column[Any]]:
    for table in database.all_tables().values():
        for column in table.columns:
            if isinstance(column.type, sa.String | sa.JSON):
                yield column


def _scan_text(
    database: Database, connection: sa.Connection, column: sa.Column[Any], roots: Sequence[Location]
) -> Iterator[Finding]:
    table = column.table
    assert isinstance(table, sa.Table)
    text = sa.cast(column, sa.Text) if isinstance(column.type, sa.JSON) else column
    keys = list(table.primary_key.columns)
    likely = sa.or_(*(text.contains(needle, autoescape=True) for root in roots for needle in _needles(root)))
    query = sa.select(text, *keys).where(likely).execution_options(yield_per=_ROWS_AT_ONCE)
    for value, *key_values in connection.execute(query):
        key = {k.name: v for k, v in zip(keys, key_values, strict=True)}
        position = _find(value, roots)
        if position is not None and not _is_location(database, table.name, column.name, key):
            yield Finding(table.name, column.name, key, "report_only", _excerpt(value, position))


def _is_location(database: Database, table: str, column: str, key: Key) -> bool:
    return any(
        known.table == table
        and known.column == column
        and (not known.tag_keys or key.get("key") in known.tag_keys)
        for known in database.location_columns()
    )


def _needles(root: Location) -> set[str]:
    """The path as it may stand in a value: plain, percent-encoded, and each of them inside JSON."""
    spelled = {root.path, quote(root.path, safe=PATH_SAFE)}
    if root.scheme in _URLS:
        return {root.text.rstrip("/")}
    if root.kind == "mlflow-artifacts" and not root.parts:
        spelled = {"mlflow-artifacts:/"}
    if root.kind == "sftp" and not root.parts:
        spelled = {root.host or ""}
    return spelled | {json.dumps(text)[1:-1] for text in spelled}


def _find(value: str, roots: Sequence[Location]) -> int | None:
    for root in roots:
        for needle in _needles(root):
            for match in re.finditer(re.escape(needle) + ("" if not root.parts else _BOUNDARY), value):
                if _leads_there(value[max(0, match.start() - _BEFORE) : match.start()], root):
                    return match.start()
    return None


def _leads_there(before: str, root: Location) -> bool:
    """Whether what stands before the path makes it a path of this root's kind and host."""
    if not root.parts or root.scheme in _URLS:
        return True
    if root.kind != "local":
        authority = re.search(rf"{root.scheme}:(?://([^/\s\"']*))?/*$", before)
        return authority is not None and root.host in (None, _host(authority[1] or ""))
    scheme = _SCHEME_BEFORE.search(before)
    if scheme is not None and scheme.group(1).lower() != "file":
        return not before.endswith("//") and scheme.group(1).lower() not in ("sftp", "mlflow-artifacts")
    return scheme is not None or re.search(rf"(?:{_NAME}|[./])$", before) is None


def _host(authority: str) -> str:
    return re.sub(r"^.*@|:\d*$|[\[\]]", "", authority).lower()


def _excerpt(value: str, position: int) -> str:
    start = max(0, position - _EXCERPT // 2)
    return redact(value[start : position + _EXCERPT])
