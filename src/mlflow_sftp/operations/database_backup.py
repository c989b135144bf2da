# SPDX-License-Identifier: Apache-2.0
"""A complete copy of MLflow's database in a file."""

import contextlib
import sqlite3
import subprocess
from pathlib import Path

from mlflow_sftp.database import postgresql_programs
from mlflow_sftp.database.database import Database
from mlflow_sftp.database.durable_file import replaced_file
from mlflow_sftp.errors import BackupUnavailableError


def back_up(database: Database, target: Path) -> int:
    """Write a complete copy to `target` (mode 0600) and return its size in bytes.

    SQLite: its online backup, while MLflow may go on writing. PostgreSQL: `pg_dump` in custom format.
    Raises BackupUnavailableError where `pg_dump` is missing or refuses, DatabaseError where the database cannot be
    read; what was at `target` stays then.
    """
    if database.is_sqlite and target.exists() and target.samefile(str(database.url.database)):
        raise BackupUnavailableError(f"{target} is the database itself", "name another file")
    # Raises DatabaseError where this is not MLflow's.
    _ = database.tables
    write = _back_up_sqlite if database.is_sqlite else _back_up_postgresql
    with replaced_file(target) as temporary:
        write(database, temporary)
    return target.stat().st_size


def _back_up_sqlite(database: Database, target: Path) -> None:
    with (
        database.translate_errors("back up"),
        database.sqlite_connection() as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)
        verdict = copy.execute("PRAGMA quick_check").fetchone()[0]
        if verdict != "ok":
            raise BackupUnavailableError(f"{database.name}: the copy fails SQLite's quick_check: {verdict}")


def _back_up_postgresql(database: Database, target: Path) -> None:
    if not postgresql_programs.is_installed("pg_dump"):
        raise BackupUnavailableError(
            f"{database.name}: pg_dump is not installed here, so no backup was made",
            "install the PostgreSQL client, or back the database up yourself and go on without a backup of ours",
        )
    command = ["pg_dump", "--format=custom", "--no-password", f"--file={target}"]
    done = subprocess.run(
        [*command, postgresql_programs.address(database)],
        env=postgresql_programs.environment(database),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BackupUnavailableError(
            f"{database.name}: pg_dump failed, nothing was changed: {done.stderr.strip()}"
        )
