# SPDX-License-Identifier: Apache-2.0
"""Watching: a thread for each check, one that tells of changes, and a page of metrics that waits for none of them."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server

from mlflow_sftp.monitor.alerts import Limits, findings
from mlflow_sftp.monitor.board import Board
from mlflow_sftp.monitor.checks import Check, pause, run_check
from mlflow_sftp.monitor.delivery import Messenger
from mlflow_sftp.monitor.metrics import StackCollector
from mlflow_sftp.monitor.outcome import BROKEN, Outcome, Stage
from mlflow_sftp.monitor.status import Status, read_status

# Within which a stack that starts together with its monitor should answer.
_START_SECONDS = 60.0
# After which a check that asks MLflow sees whether a cutover still has it closed.
_CLOSED_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Monitor:
    """Watches a stack until it is stopped.

    Args:
        checks: What is looked at.
        interval: Seconds between two quick checks, and at most between two looks at what else there is to tell.
        limits: From when on something is worth an alert.
        messenger: Who tells of changes.
        status_directory: Where the Docker host writes of backups and cutovers; None for nowhere.
        certificates: Files whose end is watched.
    """

    def __init__(
        self,
        checks: Iterable[Check],
        interval: float,
        limits: Limits,
        messenger: Messenger,
        status_directory: Path | None = None,
        certificates: Iterable[Path] = (),
    ) -> None:
        self._checks = tuple(checks)
        self._interval = interval
        self._limits = limits
        self._messenger = messenger
        self._status_directory = status_directory
        self._certificates = tuple(certificates)
        self._board = Board(limits.patience)
        self._stopped = threading.Event()
        self._one_heavy = threading.Lock()

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Answer with the metrics from now on; returns what ends that. Raises OSError where the port is taken."""
        registry = CollectorRegistry()
        messenger = self._messenger
        registry.register(
            StackCollector(
                self._board.snapshot,
                self._status,
                lambda: messenger.untold,
                lambda: messenger.readable,
                self._limits,
            )
        )
        server, thread = start_http_server(port, host, registry)

        def end() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return end

    def run(self) -> None:
        """Watch until `stop` is called."""
        for check in self._checks:
            threading.Thread(target=self._repeat, args=(check,), name=check.name, daemon=True).start()
        while not self._stopped.is_set():
            self._board.changed.wait(self._interval)
            self._board.changed.clear()
            self._tell()

    def stop(self) -> None:
        """End soon."""
        self._stopped.set()
        self._board.changed.set()

    def _repeat(self, check: Check) -> None:
        if check.heavy:
            self._stopped.wait(min(_START_SECONDS, self._interval))
        while not self._stopped.is_set():
            with self._one_heavy if check.heavy else contextlib.nullcontext():
                seconds = self._look(check)
            self._stopped.wait(seconds)

    def _look(self, check: Check) -> float:
        """Make a check, but not on what a cutover has closed; returns the seconds until the next time."""
        if check.asks_mlflow and read_status(self._status_directory, ()).is_closed(time.time()):
            return min(_CLOSED_SECONDS, self._interval)
        self._board.begin(check.name)
        outcome = _outcome_of(check)
        for stage in outcome.failed:
            _log.warning("%s: %s: %s: %s", check.name, stage.name, stage.cause, stage.seen)
        settled_for = self._board.end(outcome)
        return pause(check, settled_for, self._interval, self._limits.patience)

    def _tell(self) -> None:
        found, now = self._board.snapshot(), time.time()
        self._messenger.tell(
            findings(
                found.outcomes,
                found.failing_since,
                self._status(),
                self._limits,
                now,
                self._messenger.watched_since,
            ),
            now,
        )

    def _status(self) -> Status:
        return read_status(self._status_directory, self._certificates)


def _outcome_of(check: Check) -> Outcome:
    """Make a check; one that cannot be made is a finding, and the next time it is tried again."""
    began = time.time()
    try:
        return run_check(check)
    except Exception as error:
        _log.exception("%s could not be made", check.name)
        seconds = time.time() - began
        stage = Stage(check.name, "failed", seconds, BROKEN, f"the check could not be made: {error!r}")
        return Outcome(check.name, began + seconds, seconds, (stage,))
