# SPDX-License-Identifier: Apache-2.0
"""The journal of a re-rooting: every old and new value, on disk before the database is changed.

JSON lines: a header, one line a row, and a last line with the number of rows and their SHA-256, so that a
file cut short is recognised. It is written once, under a temporary name, and never changed: whether its
transaction was committed is read from the database, which alone can know (see `transaction.state`).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlflow_sftp.database.durable_file import replaced_file
from mlflow_sftp.errors import JournalError
from mlflow_sftp.operations.relocate.planning import Move

FORMAT = 1


@dataclass(frozen=True)
class Journal:
    """`header` is what the writer said about the operation; `moves` the rows it meant to change."""

    header: dict[str, Any]
    moves: tuple[Move, ...]


def write_journal(path: Path, header: dict[str, Any], moves: Sequence[Move]) -> None:
    """Write the journal durably (mode 0600): when this returns, it survives a power cut."""
    digest = hashlib.sha256()
    with replaced_file(path) as temporary, temporary.open("wb") as file:
        file.write(_line({"format": FORMAT, **header}))
        for move in moves:
            line = _line(asdict(move))
            digest.update(line)
            file.write(line)
        file.write(_line({"rows": len(moves), "sha256": digest.hexdigest()}))


def read_journal(path: Path) -> Journal:
    """Read a journal back; raises JournalError where it is missing, cut short or altered."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
        header, end = json.loads(lines[0]), json.loads(lines[-1])
        moves = tuple(Move(**json.loads(line)) for line in lines[1:-1])
    except OSError as error:
        raise JournalError(f"{path}: the journal cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, IndexError) as error:
        raise JournalError(f"{path}: this is not a journal of a relocation, or it is damaged") from error
    if header.get("format") != FORMAT:
        raise JournalError(f"{path}: journal format {header.get('format')}, this version reads {FORMAT}")
    digest = hashlib.sha256(b"".join(lines[1:-1])).hexdigest()
    if end != {"rows": len(moves), "sha256": digest}:
        raise JournalError(
            f"{path}: the journal was cut short or altered; its rows do not match its last line"
        )
    return Journal(header, moves)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode() + b"\n"
