#!/usr/bin/env python3
"""What several servers on one database bear: 1, 2 and 4 of them, 50 to 1,000 clients, in one run.

    tests/bench/load.py                                         about 10 minutes
    tests/bench/load.py --servers 1 2 --clients 50 --seconds 10

Servers are `mlflow server` of this Python with two workers each, on one PostgreSQL of this machine; clients are spread
over them as a gateway would. Each client makes a run, then logs a metric and searches for runs in turn, without a pause
and on a connection that it keeps. Servers, database and clients share this machine's processors: where they are all
busy, more servers cannot show more requests, and what the table shows then is what they take from each other. Needs
Debian's `postgresql`, as bin/test leaves it.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psycopg

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPOSITORY))

from tests.bench.front_load import quantiles  # noqa: E402  # found only after the line above
from tests.support.mlflow_server import MlflowServer  # noqa: E402  # the same
from tests.support.postgres import PostgresServer  # noqa: E402  # the same

_DATABASE = "load"
_API = "/api/2.0/mlflow/"
_WORKERS = 2
# Seconds until a client gives up, which counts as a failure.
_PATIENCE = 120.0
# Seconds between two questions for the database's sessions.
_SAMPLE = 1.0


@dataclass
class Seen:
    """What clients saw: seconds of each good answer, how long all of it took, and what else came how often."""

    seconds: list[float] = field(default_factory=list)
    # From the first question to the last answer.
    elapsed: float = 0.0
    failed: Counter[str] = field(default_factory=Counter)


class Client:
    """One who logs and looks, at one server."""

    def __init__(self, session: aiohttp.ClientSession, uri: str, seen: Seen) -> None:
        self._session = session
        self._uri = uri + _API
        self._seen = seen

    async def work_until(self, end: float) -> None:
        """Make a run, then log and search in turn until `end`, in monotonic seconds."""
        run = await self._ask("runs/create", {"experiment_id": "0", "start_time": int(time.time() * 1000)})
        run_id = run["run"]["info"]["run_id"] if run else None
        step = 0
        while run_id and time.monotonic() < end:
            metric = {"run_id": run_id, "key": "loss", "value": 1 / (step + 1), "step": step, "timestamp": 1}
            await self._ask("runs/log-metric", metric)
            await self._ask("runs/search", {"experiment_ids": ["0"], "max_results": 10})
            step += 1

    async def _ask(self, path: str, body: dict[str, object]) -> dict[str, dict[str, dict[str, str]]] | None:
        sent = time.monotonic()
        try:
            async with self._session.post(self._uri + path, json=body) as answer:
                told: dict[str, dict[str, dict[str, str]]] = await answer.json()
        except (aiohttp.ClientError, OSError) as error:
            self._seen.failed[type(error).__name__] += 1
            return None
        if answer.status != 200:
            self._seen.failed[str(answer.status)] += 1
            return None
        self._seen.seconds.append(time.monotonic() - sent)
        return told


async def load(uris: Sequence[str], clients: int, seconds: float, database: str) -> tuple[Seen, int]:
    """Return what `clients` saw of the servers in so many seconds, and the most sessions the database had."""
    seen = Seen()
    timeout = aiohttp.ClientTimeout(total=_PATIENCE)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        began = time.monotonic()
        end = began + seconds
        work = [
            asyncio.create_task(Client(session, uris[number % len(uris)], seen).work_until(end))
            for number in range(clients)
        ]
        sessions = 0
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            while time.monotonic() < end:
                sessions = max(sessions, await _sessions(connection))
                await asyncio.sleep(_SAMPLE)
        await asyncio.gather(*work)
        seen.elapsed = time.monotonic() - began
    return seen, sessions


async def _sessions(connection: psycopg.AsyncConnection) -> int:
    question = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
    row = await (await connection.execute(question, (_DATABASE,))).fetchone()
    assert row is not None, "PostgreSQL counts its sessions in one row"
    return int(row[0])


def measure(servers: int, arguments: argparse.Namespace, postgres: PostgresServer, directory: Path) -> None:
    """Start so many servers, load them with each number of clients, and print a line for each."""
    uri = postgres.uri(_DATABASE)
    options = ["--backend-store-uri", uri, "--workers", str(_WORKERS), "--no-serve-artifacts"]
    with ExitStack() as stack:
        # One after the other: several on an empty database would all make its tables.
        uris = [
            stack.enter_context(MlflowServer(directory / f"{servers}-{number}", options)).uri
            for number in range(servers)
        ]
        for clients in arguments.clients:
            address = uri.replace("postgresql+psycopg://", "postgresql://")
            seen, sessions = asyncio.run(load(uris, clients, arguments.seconds, address))
            rate = len(seen.seconds) / seen.elapsed
            print(
                f"{servers} servers, {clients:5} clients: {rate:6.1f} requests a second, "
                f"{quantiles(seen.seconds)}; {sessions} database sessions; "
                f"failed: {dict(seen.failed) or 'none'}",
                flush=True,
            )


def main() -> None:
    arguments = _parse()
    print(f"{os.cpu_count()} processors for servers, database and clients", flush=True)
    with PostgresServer() as postgres, tempfile.TemporaryDirectory() as directory:
        postgres.create(_DATABASE)
        for servers in arguments.servers:
            measure(servers, arguments, postgres, Path(directory))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--servers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--clients", type=int, nargs="+", default=[50, 200, 1000])
    parser.add_argument("--seconds", type=float, default=30.0, help="for each number of clients")
    return parser.parse_args()


if __name__ == "__main__":
    main()
