"""The way through the gateway of a lab, which a client finds on this machine under its name."""

import http.client
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from tests.support.lab import Lab

Said = TypeVar("Said")

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"
QUESTIONS = [("GET", SEARCH, None), ("POST", "/api/2.0/mlflow/experiments/search", b'{"max_results": 1}')]
# Changed while the story is told, and what a client meets meanwhile.
ASKED_A_SECOND = 20


def trusted(lab: Lab, authority: Path | None = None) -> ssl.SSLContext:
    """Trust the authority that a lab has made, or another, and no third, as strictly as Python 3.13 does everywhere."""
    context = ssl.create_default_context(cafile=str(authority or lab.directory / "gateway" / "ca.crt"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def connect(
    name: str, port: int, context: ssl.SSLContext, timeout: float = 120, address: str = "127.0.0.1"
) -> http.client.HTTPSConnection:
    """Connect to a gateway, of this machine by default, as a client elsewhere does that has found its name."""
    plain = socket.create_connection((address, port), timeout=timeout)
    # As http.client does where it connects itself; otherwise each body waits for the acknowledgement of its header.
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = http.client.HTTPSConnection(name, port)
    connection.sock = context.wrap_socket(plain, server_hostname=name)
    return connection


@dataclass
class Answer:
    """What came back; `headers` in lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    certificate: dict[str, Any] = field(default_factory=dict)


class Asking(Generic[Said]):
    """Asks so many times a second, each question from a thread of its own; keeps answers, and what went wrong."""

    def __init__(self, questions: Sequence[tuple[str, Callable[[], Said]]], a_second: int) -> None:
        self._pause = len(questions) / a_second
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=question) for question in questions]
        self.answers: list[Said] = []
        self.errors: list[str] = []

    @property
    def asked(self) -> int:
        return len(self.answers) + len(self.errors)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, name: str, question: Callable[[], Said]) -> None:
        while not self._ended.wait(self._pause):
            try:
                self.answers.append(question())
            except (OSError, AssertionError) as error:
                self.errors.append(f"{time.strftime('%H:%M:%S')} {name} {error!r}")


@dataclass(frozen=True)
class Front:
    """A lab with a gateway, and a client that finds it on this machine under its name.

    `authority` is whom the client trusts; by default the one that the lab has made.
    """

    lab: Lab
    name: str
    authority: Path | None = None

    @property
    def port(self) -> int:
        return self.lab.port + 3

    @property
    def storage(self) -> str:
        """Where artifacts are at the moment, as the inventory has to say it."""
        return "sftp" if "sftp://" in (self.lab.stack / ".env").read_text() else "local"

    def context(self) -> ssl.SSLContext:
        return trusted(self.lab, self.authority)

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: Any = None,
        context: ssl.SSLContext | None = None,
        **headers: str,
    ) -> Answer:
        connection = connect(self.name, self.port, context or self.context())
        try:
            shown: Any = connection.sock.getpeercert()
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {"Host": f"{self.name}:{self.port}"} | named)
            answer = connection.getresponse()
            received = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, received, answer.read(), shown)
        finally:
            connection.close()

    def asking(self) -> Asking[Answer]:
        """Ask MLflow many times a second, a connection each; HAProxy must not repeat every second question."""
        context = self.context()

        def question(method: str, path: str, body: bytes | None) -> tuple[str, Callable[[], Answer]]:
            return method, lambda: self.ask(path, method, body, context, Content_Type="application/json")

        return Asking([question(*each) for each in QUESTIONS * 2], ASKED_A_SECOND)

    def token(self) -> str:
        return (self.lab.stack / ".secrets/notebook_token").read_text()


def make_certificate(directory: Path, name: str, hostname: str) -> ssl.SSLContext:
    """Write NAME.crt for a host name, and NAME.key; returns what a client has that trusts it, and nothing else."""
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    subject = ("-subj", f"/CN={hostname}", "-addext", f"subjectAltName=DNS:{hostname}")
    subprocess.run(
        ["openssl", "req", "-x509", *kind, "-keyout", str(key), "-out", str(certificate), *subject],
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)
    return ssl.create_default_context(cafile=str(certificate))
