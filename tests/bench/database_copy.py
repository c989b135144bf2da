#!/usr/bin/env python3
"""How long `mlflow-sftp copy-database` takes, and how much memory: from SQLite to PostgreSQL and back.

    tests/bench/database_copy.py                     10,000 runs, 100,000 metrics
    tests/bench/database_copy.py --runs 1000 --metrics 1000

Fills a database as MLflow makes it, with rows written past MLflow: it would take minutes. Needs a PostgreSQL server
installed. Each copy is a process of its own; prints its rows, seconds and peak memory, and those of a call that finds
the target complete, which is what comparing takes.
"""

import argparse
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPOSITORY))

from mlflow_sftp.operations.database_copy import schema  # noqa: E402  # found only after the line above
from tests.support.postgres import PostgresServer  # noqa: E402  # likewise

_TAGS_OF_A_RUN = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--metrics", type=int, default=10, help="of each run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, PostgresServer() as server:
        file = Path(directory) / "mlflow.db"
        schema.make(sa.create_engine(f"sqlite:///{file}", poolclass=sa.NullPool), login=False)
        fill(file, options.runs, options.metrics)
        up, down = server.create("bench"), f"sqlite:///{directory}/back.db"
        for source, target in ((f"sqlite:///{file}", up), (up, down)):
            for _ in range(2):
                measure(source, target)


def fill(file: Path, runs: int, metrics: int) -> None:
    """Write runs with their tags, parameters and metrics."""
    names = [f"{number:032x}" for number in range(runs)]
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            "INSERT INTO experiments (experiment_id, name, lifecycle_stage) VALUES (1, 'e', 'active')"
        )
        connection.executemany(
            "INSERT INTO runs (run_uuid, name, status, lifecycle_stage, start_time, experiment_id, artifact_uri) "
            "VALUES (?, 'run', 'FINISHED', 'active', 1700000000000, 1, '/artifacts')",
            ((name,) for name in names),
        )
        for table in ("tags", "params"):
            connection.executemany(
                f"INSERT INTO {table} (key, value, run_uuid) VALUES (?, ?, ?)",
                ((f"key {n}", "v" * 50, name) for name in names for n in range(_TAGS_OF_A_RUN)),
            )
        connection.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ('loss', ?, ?, ?, ?, 0)",
            _metrics(names, metrics),
        )


def _metrics(names: list[str], metrics: int) -> Iterator[tuple[float, int, str, int]]:
    return (
        (1 / (step + 1), 1_700_000_000_000 + step, name, step) for name in names for step in range(metrics)
    )


def measure(source: str, target: str) -> None:
    began = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "mlflow_sftp", "copy-database", "--json"],
        stdout=subprocess.PIPE,
        env=os.environ | {"MLFLOW_BACKEND_STORE_URI": source, "MLFLOW_SFTP_TARGET_DATABASE_URI": target},
    )
    assert child.stdout is not None
    report = json.loads(child.stdout.read())
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, report
    print(
        f"{source.partition(':')[0]:20} -> {target.partition(':')[0]:20} "
        f"{'copied' if report['changed'] else 'compared':9} {report['rows']:9} rows  {report['seconds']:7.1f} s of "
        f"{time.monotonic() - began:5.1f} s  {peak_mebibytes(usage):6.0f} MiB",
        flush=True,
    )


def peak_mebibytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
