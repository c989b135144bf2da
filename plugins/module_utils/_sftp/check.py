# SPDX-License-Identifier: GPL-3.0-or-later
"""Going through an SFTP account stage by stage, until one fails; each stage with time, evidence and cause."""

from __future__ import annotations

import posixpath
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import (
    STAGES,
    DiagnosedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import PublicKey
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.account import (
    Account,
    account_from_options,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.client import (
    SftpClient,
    WrongLengthError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.connect import (
    SocketAddress,
    connect,
    greet,
    negotiate,
    resolve,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.directory import (
    check_directory,
    refusal,
    space_error,
    start_directory,
    write_error,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.failures import (
    BROKEN,
    is_broken_line,
    translate_errors,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.files import move_over
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.login import (
    ask_about_keys,
    authenticate,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.session import open_sftp
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.transport import Transport
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.trust import (
    negotiate_trusted,
    trust_rules,
)

_SLOW_ROUND_TRIP = 0.15
_SLOW_THROUGHPUT = 1_000_000
# Bytes a second below which a probe counts as stalled.
_SLOWEST_PROBE = 100_000
# Smaller probes measure round trips, not throughput.
_THROUGHPUT_PROBE = 1_000_000
# Seconds between the clocks of client and server.
_TOLERATED_SKEW = 60


@dataclass
class Stage:
    """One step and how it went.

    Attributes:
        name: One of `STAGES`.
        status: ok, warning, failed or skipped.
        seconds: How long it took.
        detail: What was seen; for a skipped stage, why.
        cause: Code of the cause, for warning and failed.
        meaning: The cause in words.
        remedy: What to change.
    """

    name: str
    status: str
    seconds: float = 0.0
    detail: str = ""
    cause: str | None = None
    meaning: str | None = None
    remedy: str | None = None


@dataclass(frozen=True)
class CheckOptions:
    """What to check beyond the login.

    Attributes:
        path: Directory as SFTP shows it; None to stop after the login.
        probe_size: Bytes of the file that is written and removed again.
        no_probe: Why nothing may be written; None if it may.
        public_keys: Asked about instead of logging in, where there is no private key.
    """

    path: str | None
    probe_size: int
    no_probe: str | None = None
    public_keys: tuple[PublicKey, ...] = ()


class AccountCheck:
    """Checks one account; `run` returns the stages."""

    def __init__(self, account: Account, options: CheckOptions) -> None:
        self._account = account
        self._options = options
        self._facts = {**account.facts, "path": options.path or "."}
        self._stages: list[Stage] = []
        self._addresses: list[SocketAddress] = []
        self._transport: Transport | None = None
        self._probe = posixpath.join(options.path or ".", f".sftp_check-{secrets.token_hex(6)}")
        self._content = secrets.token_bytes(options.probe_size)
        self._throughput: float | None = None
        self._is_logged_in = False
        self._client_address = ""

    @property
    def client_address(self) -> str:
        """Where the connection came from, on this machine's side; empty if there was none."""
        return self._client_address

    def run(self) -> list[Stage]:
        """Go through all stages; those after a failure, and those not wanted, are reported as skipped."""
        try:
            self._connect()
            if self._transport is not None and not self._failed:
                self._examine(self._transport)
        finally:
            if self._transport is not None:
                self._transport.close()
        done = {stage.name for stage in self._stages}
        for name in STAGES:
            if name not in done:
                self._stages.append(Stage(name, "skipped", detail=self._why_skipped(name)))
        return sorted(self._stages, key=lambda stage: STAGES.index(stage.name))

    @property
    def _failed(self) -> bool:
        return any(stage.status == "failed" for stage in self._stages)

    def _why_skipped(self, name: str) -> str:
        failed = next((stage.name for stage in self._stages if stage.status == "failed"), None)
        if failed:
            return f"not reached: {failed} failed"
        if not self._is_logged_in:
            return "nobody logged in"
        if self._options.path is None:
            return "no path given"
        return self._options.no_probe or ""

    @contextmanager
    def _stage(self, name: str) -> Iterator[Stage]:
        """Record a stage; a `DiagnosedError` marks it failed, and `_failed` then stops the rest."""
        stage = Stage(name, "ok")
        start = time.monotonic()
        try:
            yield stage
        except DiagnosedError as error:
            stage.status = "failed"
            self._record_cause(stage, error)
        stage.seconds = round(time.monotonic() - start, 4)
        self._stages.append(stage)

    def _record_cause(self, stage: Stage, error: DiagnosedError) -> None:
        known = error.with_facts(self._facts)
        stage.detail = known.seen
        stage.cause = known.cause.code
        stage.meaning = known.meaning
        stage.remedy = known.remedy

    def _connect(self) -> None:
        account = self._account
        with self._stage("resolve") as stage:
            self._addresses = resolve(account.endpoint, account.timeout)
            stage.detail = ", ".join(dict.fromkeys(address[0] for _, address in self._addresses))
        if self._failed:
            return
        with self._stage("connect") as stage:
            sock = connect(self._addresses, account.timeout)
            self._client_address = sock.getsockname()[0]
            stage.detail = f"{sock.getpeername()[0]} port {sock.getpeername()[1]}"
        if self._failed:
            return
        with self._stage("banner") as stage:
            sock, stage.detail = greet(self._addresses, account.timeout, sock)
        if self._failed:
            return
        with self._stage("host_key") as stage:
            rules = trust_rules(account)
            self._transport = negotiate(sock, rules.key_algorithms, account.timeout)
            self._transport, stage.detail = negotiate_trusted(
                account, self._addresses, self._transport, rules
            )

    def _examine(self, transport: Transport) -> None:
        with self._stage("authenticate") as stage:
            stage.detail = self._log_in(transport)
        if not self._is_logged_in:
            return
        with self._stage("sftp") as stage:
            sftp = open_sftp(transport, self._account.timeout)
            with translate_errors(transport, self._account.timeout, "asking for the start directory"):
                stage.detail = start_directory(sftp)
        if self._failed:
            return
        if self._options.path is not None:
            self._examine_path(transport, sftp, self._options.path)
        if not self._failed:
            self._measure(transport, sftp)

    def _log_in(self, transport: Transport) -> str:
        try:
            how = authenticate(transport, self._account)
        except DiagnosedError as error:
            if error.cause.code != "key_missing" or not self._options.public_keys:
                raise
            return ask_about_keys(transport, self._account, self._options.public_keys)
        self._is_logged_in = True
        return how

    def _examine_path(self, transport: Transport, sftp: SftpClient, path: str) -> None:
        steps: dict[str, Callable[[SftpClient, str], str]] = {"path": check_directory}
        if self._options.no_probe is None:
            steps |= {
                "write": self._write,
                "read": self._read,
                "rename": self._rename,
                "delete": self._delete,
            }
        limit = self._account.timeout + self._options.probe_size / _SLOWEST_PROBE
        for name, step in steps.items():
            with self._stage(name) as stage, translate_errors(transport, limit, f"in stage {name}"):
                try:
                    stage.detail = step(sftp, path)
                except _WarningError as warning:
                    stage.status = "warning"
                    self._record_cause(stage, warning)
            if self._failed:
                break
        if self._failed and transport.is_active():
            self._remove_probe(sftp)

    def _remove_probe(self, sftp: SftpClient) -> None:
        for name in (self._probe, f"{self._probe}.new"):
            with suppress(*BROKEN):
                sftp.remove(name)

    def _write(self, sftp: SftpClient, path: str) -> str:
        start = time.monotonic()
        with refusal(lambda error: write_error(error, sftp, path)):
            sftp.create(self._probe, self._content)
            status = sftp.stat(self._probe)
        seconds = time.monotonic() - start
        # A size that is not told is found out by reading.
        stored = len(self._content) if status.size is None else status.size
        if stored != len(self._content):
            seen = f"{stored} of {len(self._content)} bytes arrived"
            raise space_error(sftp, path) or DiagnosedError("write_failed", seen)
        if stored >= _THROUGHPUT_PROBE:
            self._throughput = stored / seconds
        # No clock shows 1970: a server that names it keeps no times.
        skew = status.modified - time.time() if status.modified else 0.0
        if abs(skew) > _TOLERATED_SKEW:
            ahead = "ahead of" if skew > 0 else "behind"
            seen = f"the server's clock is {abs(skew):.0f} s {ahead} this machine's"
            raise _WarningError("clock_skew", seen)
        return f"{stored} bytes in {path}"

    def _read(self, sftp: SftpClient, path: str) -> str:
        done = 0
        try:
            for block in sftp.read(self._probe):
                if block != self._content[done : done + len(block)]:
                    seen = f"other bytes than written come at {done}"
                    raise DiagnosedError("content_differs", seen)
                done += len(block)
        except WrongLengthError as error:
            raise DiagnosedError("content_differs", str(error)) from error
        except OSError as error:
            if is_broken_line(error):
                raise
            raise DiagnosedError("read_failed", f"{self._probe}: {error.strerror or error}") from error
        if done != len(self._content):
            raise DiagnosedError("content_differs", f"{done} bytes read, not those written")
        return f"{done} bytes, identical"

    def _rename(self, sftp: SftpClient, path: str) -> str:
        """Replace an existing file, as an upload that overwrites does."""
        new = f"{self._probe}.new"
        with refusal(lambda error: DiagnosedError("rename_failed", f"{new}: {error.strerror or error}")):
            sftp.create(new, b"")
            in_one_step = move_over(sftp, new, self._probe)
        if not in_one_step:
            raise _WarningError("rename_not_atomic", "a file is replaced only after it was moved aside")
        return "replaces a file in one step"

    def _delete(self, sftp: SftpClient, path: str) -> str:
        with refusal(
            lambda error: DiagnosedError("delete_failed", f"{self._probe}: {error.strerror or error}")
        ):
            sftp.remove(self._probe)
        return "nothing left behind"

    def _measure(self, transport: Transport, sftp: SftpClient) -> None:
        with self._stage("link") as stage, translate_errors(transport, self._account.timeout, "measuring"):
            round_trip = min(_timed(lambda: _ask_something(sftp)) for _ in range(3))
            seen = f"round trip {round_trip * 1000:.1f} ms"
            if self._throughput is not None:
                seen += f", {self._throughput / 1e6:.1f} MB/s"
            stage.detail = seen
            if round_trip > _SLOW_ROUND_TRIP or (self._throughput or _SLOW_THROUGHPUT) < _SLOW_THROUGHPUT:
                stage.status = "warning"
                self._record_cause(stage, DiagnosedError("link_slow", seen))


class _WarningError(DiagnosedError):
    """Something worth a remark that does not keep artifacts from being stored."""


def _ask_something(sftp: SftpClient) -> None:
    """Make a round trip; a refusal is an answer, too."""
    try:
        sftp.stat(".")
    except OSError as error:
        if is_broken_line(error):
            raise


def _timed(action: Callable[[], object]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


def check_account(connection: Mapping[str, Any], options: CheckOptions) -> dict[str, Any]:
    """Check an account.

    Args:
        connection: Who logs in where, as `CONNECTION_OPTIONS` declare it.
        options: What to check beyond the login.

    Returns:
        ``ok``, ``stages``, ``logged_in`` and ``client_address``; after a failure ``cause``, ``remedy``, ``msg``.
    """
    label, address = str(connection["host"]), ""
    try:
        account = account_from_options(connection)
    except DiagnosedError as unknown:
        error = unknown.with_facts({"host": label})
        first = Stage(STAGES[0], "failed", 0.0, error.seen, error.cause.code, error.meaning, error.remedy)
        skipped = [Stage(name, "skipped", detail=f"not reached: {first.name} failed") for name in STAGES[1:]]
        stages = [first, *skipped]
    else:
        label = account.label
        check = AccountCheck(account, options)
        stages = check.run()
        address = check.client_address
    report: dict[str, Any] = {
        "ok": True,
        "stages": [asdict(stage) for stage in stages],
        "logged_in": any(stage.name == "sftp" and stage.status == "ok" for stage in stages),
        "client_address": address,
    }
    failed = next((stage for stage in stages if stage.status == "failed"), None)
    if failed:
        report |= {
            "ok": False,
            "cause": failed.cause,
            "remedy": failed.remedy,
            "msg": f"SFTP check of {label} failed at {failed.name}: {failed.meaning}. "
            f"Seen: {failed.detail}. Remedy: {failed.remedy}",
        }
    return report
