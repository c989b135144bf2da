"""A line every half a minute about what is done and what runs, failures at once, at the end the time of each file."""

import os
import threading
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from _pytest.terminal import TerminalReporter

PERIOD = 30.0
FILES = 20


class Progress:
    """A plugin for the process that prints: the only one, or the one that has workers.

    `several` says that there are workers: then a dot for each test would only be in the way of the lines.
    """

    def __init__(self, terminal: TerminalReporter, several: bool) -> None:
        self._terminal = terminal
        self._several = several and terminal.verbosity <= 0
        # While a test runs, what is written to the terminal's own file is taken for the test's output.
        self._output = os.dup(1)
        self._begun = time.monotonic()
        self._running: dict[str, float] = {}
        self._count: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()
        self._all = 0
        self._lock = threading.Lock()
        self._over = threading.Event()

    def line(self) -> str:
        """What is done, how many failed, and what has been running for long."""
        now = time.monotonic()
        with self._lock:
            long = {name: now - since for name, since in self._running.items() if now - since >= PERIOD}
            done, failed = self._count["done"], self._count["failed"]
        said = f"{_clock(now - self._begun)}  "
        said += f"{done} of {self._all} done, {failed} failed" if self._all else "looking for tests"
        running = ", ".join(f"{name} ({_clock(seconds)})" for name, seconds in long.items())
        return f"{said}; running: {running}" if running else said

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._all = self._all or len(session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        self._all = len(ids)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> object:
        thread = threading.Thread(target=self._print, daemon=True)
        thread.start()
        try:
            return (yield)
        finally:
            self._over.set()
            thread.join()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        with self._lock:
            self._running[nodeid] = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        with self._lock:
            self._seconds[report.nodeid.partition("::")[0]] += report.duration
            self._count["failed"] += report.failed
            if report.when == "teardown":
                self._running.pop(report.nodeid, None)
                self._count["done"] += 1
        if report.failed and self._several:
            self._terminal.write_line(f"FAILED {report.nodeid} ({report.when}, {report.duration:.0f} s)")

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        return ("passed", "", "PASSED") if self._several and report.passed and report.when == "call" else None

    def pytest_terminal_summary(self) -> None:
        if len(self._seconds) > 1:
            self._terminal.write_sep("=", f"slowest {FILES} files")
            for file, seconds in self._seconds.most_common(FILES):
                self._terminal.write_line(f"{seconds:.0f}s {file}")

    def _print(self) -> None:
        # Dots may stand before it.
        before = "" if self._several else "\n"
        while not self._over.wait(PERIOD):
            os.write(self._output, f"{before}{self.line()}\n".encode())


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
