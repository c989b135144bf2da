#!/usr/bin/env python3
"""What clients lose at the front door while something is changed behind it.

    tests/bench/front_load.py                              200 clients that log in, for 5 minutes
    tests/bench/front_load.py --clients 50 --seconds 60
    MLFLOW_TRACKING_USERNAME=... MLFLOW_TRACKING_PASSWORD=... \\
        tests/bench/front_load.py --url https://mlflow.example.org --ca-file ca.crt

Deploys a lab of its own with a gateway and MLflow's login. All clients ask for runs, one half of them on a connection
that they keep, the other on a new one each time; meanwhile the certificate is replaced, and the storage is switched. A
stack that is told is only asked: change it meanwhile. Ends with 1 where anything came back but 200, and 503 with
Retry-After while the storage was switched. Needs Docker, as bin/test leaves it.
"""

import argparse
import asyncio
import os
import ssl
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPOSITORY))

from tests.bench.gateway import NAME, RUNS, SEARCH, gateway_settings, peak_memory  # noqa: E402  # found only now
from tests.support.front import connect, trusted  # noqa: E402  # likewise
from tests.support.lab import Lab  # noqa: E402  # likewise
from tests.support.stack import SWITCH, passes  # noqa: E402  # likewise

_PORT = 58360
# People, of whom each runs as many clients as there are to a person.
_PEOPLE = 4
_PASSWORD = "of-the-bench-Kx7"
# Seconds until a client gives up, which counts as a failure.
_PATIENCE = 120.0
_KEPT, _NEW = "kept", "new"
_JSON = {"Content-Type": "application/json"}


Headers = dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What came of a request.

    Attributes:
        sent: When it was sent, in monotonic seconds.
        ended: When all was over.
        first_byte: Seconds until the answer began; None where there was none.
        connection: ``kept`` or ``new``.
        said: The status with `Retry-After`, or the error.
        status: 0 for an error.
        retry_after: Whether the header was there.
    """

    sent: float
    ended: float
    connection: str
    said: str
    first_byte: float | None = None
    status: int = 0
    retry_after: bool = False


@dataclass(frozen=True)
class Stack:
    """What is asked: where it is, whom it shows itself to, and as whom one logs in."""

    url: str
    trust: ssl.SSLContext
    logins: Sequence[Headers]
    # On this machine, under another name; None where names are as everywhere.
    address: str | None = None


class Here(AbstractResolver):
    """Finds every name at one address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        """Return the address, whatever is asked for."""
        return [ResolveResult(hostname=host, host=self._address, port=port, family=2, proto=0, flags=0)]

    async def close(self) -> None:
        """There is nothing to close."""


@dataclass
class Crowd:
    """Clients of a stack that ask at the same time, each once in so many seconds."""

    stack: Stack
    clients: int
    pause: float
    answers: list[Answer] = field(default_factory=list)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Ask until the block is left; then wait for the last answers."""
        ended = asyncio.Event()
        async with self._session(_KEPT) as kept, self._session(_NEW) as new, asyncio.TaskGroup() as group:
            for number in range(self.clients):
                connection, session = ((_KEPT, kept), (_NEW, new))[number % 2]
                login = self.stack.logins[number % len(self.stack.logins)]
                # They begin one after the other, as nobody's clients do at the same moment.
                wait = self.pause * number / self.clients
                group.create_task(self._client(session, connection, login, wait, ended))
            try:
                yield
            finally:
                ended.set()

    def _session(self, connection: str) -> aiohttp.ClientSession:
        resolver = Here(self.stack.address) if self.stack.address else None
        connector = aiohttp.TCPConnector(
            ssl=self.stack.trust, limit=0, force_close=connection == _NEW, resolver=resolver
        )
        timeout = aiohttp.ClientTimeout(total=_PATIENCE)
        return aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def _client(
        self,
        session: aiohttp.ClientSession,
        connection: str,
        login: Headers,
        wait: float,
        ended: asyncio.Event,
    ) -> None:
        while not await _is_set(ended, wait):
            answer = await self._ask(session, connection, login)
            self.answers.append(answer)
            wait = max(0.0, self.pause - (answer.ended - answer.sent))

    async def _ask(self, session: aiohttp.ClientSession, connection: str, login: Headers) -> Answer:
        sent = time.monotonic()
        try:
            async with session.post(self.stack.url + SEARCH, data=RUNS, headers=_JSON | login) as answer:
                first_byte = time.monotonic() - sent
                await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            return Answer(sent, time.monotonic(), connection, f"{type(error).__name__}: {error}"[:120])
        later = answer.headers.get("Retry-After")
        said = f"{answer.status}" + (f" with Retry-After {later}" if later else "")
        return Answer(sent, time.monotonic(), connection, said, first_byte, answer.status, later is not None)


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


Span = tuple[float, float]


def unexpected(answers: Iterable[Answer], closed: Span | None) -> Counter[str]:
    """Count what is neither 200, nor 503 with Retry-After of a request that met the time in which MLflow may be closed.

    That time is any where nobody tells it.
    """
    found: Counter[str] = Counter()
    for answer in answers:
        met = closed is None or (answer.sent <= closed[1] and answer.ended >= closed[0])
        if answer.status != 200 and not (answer.status == 503 and answer.retry_after and met):
            found[f"{answer.said} ({answer.connection} connection)"] += 1
    return found


def report(crowd: Crowd, seconds: float) -> None:
    """Print what came back, by connection and status, and when an answer of those that were good began."""
    print(f"{crowd.clients} clients, {seconds:.0f} s, {len(crowd.answers) / seconds:.1f} answers a second")
    for connection in (_KEPT, _NEW):
        answers = [answer for answer in crowd.answers if answer.connection == connection]
        seen = dict(Counter(answer.said for answer in answers))
        good = [answer.first_byte for answer in answers if answer.status == 200 and answer.first_byte]
        print(f"{connection:5} connections: {seen}; first byte {quantiles(good)}")
    closed = [answer.sent for answer in crowd.answers if answer.status == 503]
    if closed:
        print(f"503 from the first to the last: {max(closed) - min(closed):.1f} s")


def login_of(user: str, password: str) -> Headers:
    """Return the header with which somebody logs in."""
    return {"Authorization": aiohttp.encode_basic_auth(user, password)}


def quantiles(values: Sequence[float]) -> str:
    """Return the median and what one in a hundred exceeds, in milliseconds."""
    if len(values) < 2:
        return "not known"
    parts = statistics.quantiles(values, n=100, method="inclusive")
    return f"p50 {parts[49] * 1e3:.0f} ms, p99 {parts[98] * 1e3:.0f} ms, at most {max(values) * 1e3:.0f} ms"


def on_a_lab(arguments: argparse.Namespace) -> Counter[str]:
    """Deploy a lab and load it, changing it meanwhile."""
    people = [f"person{number}" for number in range(_PEOPLE)]
    grants = [{"experiment": "*", "permission": "READ"}]
    settings = gateway_settings(_PORT) | {
        "mlflow_stack_auth": "basic",
        "mlflow_stack_users": [
            {"name": name, "password": _PASSWORD, "permissions": grants} for name in people
        ],
    }
    with tempfile.TemporaryDirectory() as work:
        lab = Lab("mlflow-frontload", Path(work) / "lab", _PORT, settings)
        with lab.cleared():
            passes(lab.play("site.yml", "--skip-tags", "verify"))
            logins = [login_of(name, _PASSWORD) for name in people]
            stack = Stack(f"https://{NAME}:{lab.port + 3}", trusted(lab), logins, "127.0.0.1")
            found = asyncio.run(_while_changed(lab, stack, arguments))
            print(f"the gateway's processes, at most: {peak_memory(lab):.1f} MiB")
            return found


async def _while_changed(lab: Lab, stack: Stack, arguments: argparse.Namespace) -> Counter[str]:
    crowd = Crowd(stack, arguments.clients, arguments.pause)
    began = time.monotonic()
    async with crowd.asking():
        await asyncio.sleep(arguments.pause * 2)
        before = serial(lab)
        for name in (f"{NAME}.key", f"{NAME}.crt"):
            (lab.directory / "gateway" / name).unlink()
        await asyncio.to_thread(_play, lab, "site.yml", "--skip-tags", "verify")
        assert serial(lab) != before, "the certificate is the one from before"
        print(f"certificate replaced after {time.monotonic() - began:.0f} s", flush=True)
        switched = time.monotonic()
        await asyncio.to_thread(_play, lab, SWITCH, artifact_storage="sftp")
        closed = (switched, time.monotonic())
        print(f"storage switched after {closed[1] - began:.0f} s", flush=True)
        await asyncio.sleep(max(arguments.pause * 2, arguments.seconds - (closed[1] - began)))
    report(crowd, time.monotonic() - began)
    return unexpected(crowd.answers, closed)


def _play(lab: Lab, playbook: str, *options: str, **variables: object) -> None:
    passes(lab.play(playbook, *options, **variables))


def serial(lab: Lab) -> object:
    """Return the number of the certificate that the gateway shows."""
    connection = connect(NAME, lab.port + 3, trusted(lab))
    try:
        shown: Any = connection.sock.getpeercert()
        return shown["serialNumber"]
    finally:
        connection.close()


async def on_a_stack(arguments: argparse.Namespace) -> Counter[str]:
    """Load a stack that is there, and change nothing."""
    url = urlsplit(arguments.url)
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    login = login_of(user, os.environ.get("MLFLOW_TRACKING_PASSWORD", "")) if user else {}
    stack = Stack(
        f"{url.scheme}://{url.netloc}", ssl.create_default_context(cafile=arguments.ca_file), [login]
    )
    crowd = Crowd(stack, arguments.clients, arguments.pause)
    began = time.monotonic()
    async with crowd.asking():
        await asyncio.sleep(arguments.seconds)
    report(crowd, time.monotonic() - began)
    return unexpected(crowd.answers, None)


def main() -> None:
    arguments = _parse()
    found = asyncio.run(on_a_stack(arguments)) if arguments.url else on_a_lab(arguments)
    print(f"failed requests: {dict(found) or 'none'}")
    sys.exit(1 if found else 0)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument(
        "--seconds", type=float, default=300, help="at least; both changes take as long as they do"
    )
    parser.add_argument(
        "--pause", type=float, default=5.0, help="seconds from one request of a client to the next"
    )
    parser.add_argument("--url", help="of a stack that is there, in place of a lab")
    parser.add_argument("--ca-file", help="certificates that the stack's is trusted by")
    return parser.parse_args()


if __name__ == "__main__":
    main()
