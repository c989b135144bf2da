"""Ten ways in which what a monitor watches breaks, each provoked and mended for real."""

import os
import signal
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from tests.support.mlflow_server import MlflowServer
from tests.support.postgres import PostgresServer
from tests.support.server import keygen
from tests.support.sshd import SshServer

DATABASE = "monitored"


@dataclass(frozen=True)
class Site:
    """What is watched: an account, an MLflow server, and the PostgreSQL server that has its database."""

    sshd: SshServer
    mlflow: MlflowServer
    postgres: PostgresServer

    @property
    def store(self) -> Path:
        """The directory of the account that is watched."""
        return self.sshd.root / "artifacts"


@contextmanager
def _stopped(site: Site) -> Iterator[None]:
    site.sshd.stop()
    try:
        yield
    finally:
        site.sshd.start()


@contextmanager
def _other_host_key(site: Site) -> Iterator[None]:
    listed = site.sshd.known_hosts.read_text()
    stranger = keygen(site.sshd.root.parent / "stranger", "ed25519").with_suffix(".pub").read_text()
    site.sshd.known_hosts.write_text(f"[{site.sshd.host}]:{site.sshd.port} {stranger}")
    try:
        yield
    finally:
        site.sshd.known_hosts.write_text(listed)


@contextmanager
def _key_refused(site: Site) -> Iterator[None]:
    authorized = site.sshd.authorized_keys.read_text()
    site.sshd.authorized_keys.write_text("")
    try:
        yield
    finally:
        site.sshd.authorized_keys.write_text(authorized)


@contextmanager
def _directory_missing(site: Site) -> Iterator[None]:
    away = site.store.with_name("away")
    site.store.rename(away)
    try:
        yield
    finally:
        away.rename(site.store)


@contextmanager
def _read_only(site: Site) -> Iterator[None]:
    mode = stat.S_IMODE(site.store.stat().st_mode)
    site.store.chmod(0o555)
    try:
        yield
    finally:
        site.store.chmod(mode)


@contextmanager
def _no_space(site: Site) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", site.store], check=True)
    (site.store / "others").write_bytes(bytes((1 << 20) - 8192))
    try:
        yield
    finally:
        # A session of the check may still be in it.
        subprocess.run(["umount", "--lazy", site.store], check=True)


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def _other_server(site: Site) -> Iterator[None]:
    """The port is that of another service."""
    site.sshd.stop()
    HTTPServer.allow_reuse_address = True
    with HTTPServer((site.sshd.host, site.sshd.port), _Quiet) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            other.shutdown()
    site.sshd.start()


@contextmanager
def _silent(site: Site) -> Iterator[None]:
    """The server takes connections, and says nothing."""
    os.kill(site.sshd.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(site.sshd.pid, signal.SIGCONT)


@contextmanager
def _mlflow_away(site: Site) -> Iterator[None]:
    site.mlflow.stop()
    try:
        yield
    finally:
        site.mlflow.start()


@contextmanager
def _database_away(site: Site) -> Iterator[None]:
    site.postgres.sql(f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS false")
    site.postgres.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{DATABASE}'")
    try:
        yield
    finally:
        site.postgres.sql(f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS true")


@dataclass(frozen=True)
class Fault:
    """What is provoked, and the check, the stage and the cause that have to show it."""

    provoked: Callable[[Site], AbstractContextManager[None]]
    check: str
    stage: str
    cause: str


FAULTS = {
    "sshd stopped": Fault(_stopped, "account", "connect", "connection_refused"),
    "another host key": Fault(_other_host_key, "account", "host_key", "host_key_changed"),
    "key refused": Fault(_key_refused, "account", "authenticate", "auth_refused"),
    "directory missing": Fault(_directory_missing, "account", "path", "path_missing"),
    "read-only": Fault(_read_only, "account", "write", "path_read_only"),
    "no space": Fault(_no_space, "account", "write", "no_space"),
    "wrong port": Fault(_other_server, "account", "banner", "not_ssh"),
    "time-out": Fault(_silent, "account", "banner", "banner_timeout"),
    "MLflow away": Fault(_mlflow_away, "server", "health", "mlflow_unreachable"),
    "database away": Fault(_database_away, "server", "api", "service_database_unreachable"),
}
