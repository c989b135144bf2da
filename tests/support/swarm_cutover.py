"""A stack that a swarm of two machines serves, while a cutover closes it: stopped at a step, and asked meanwhile."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.support.ansible import REPOSITORY, Outcome
from tests.support.front import SEARCH, Asking, connect
from tests.support.swarm import SwarmSite

SERVICE = "mlflow_mlflow"
_ASKED_A_SECOND = 10
_KINDS = ("switch", "upgrade", "restore", "move")


@dataclass(frozen=True)
class Answer:
    """What a gateway has said, and when."""

    at: float
    status: int
    retry_after: str


@dataclass(kw_only=True)
class CutoverSite(SwarmSite):
    """A site of two machines, of which n1 manages the swarm, with a server for each."""

    def _variables(self) -> dict[str, object]:
        return {**super()._variables(), "mlflow_stack_replicas": 2}

    def play_until(
        self,
        step: str,
        playbook: str,
        act: Callable[[], None] | None = None,
        after: float = 0,
        **variables: Any,
    ) -> Outcome:
        """Run a playbook; `after` seconds in a `step` of its cutover, call `act`, or kill (-9) all that it started."""
        for left in self.stack.glob("switches/*/step"):
            left.unlink()
        command = [str(Path(sys.executable).parent / "ansible-playbook"), str(REPOSITORY / playbook)]
        with (
            (self.directory / "stopped.log").open("w+") as output,
            subprocess.Popen(
                [*command, *self.options(**variables)],
                cwd=REPOSITORY,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            while not any(path.read_text().strip() == step for path in self.stack.glob("switches/*/step")):
                assert process.poll() is None, (self.directory / "stopped.log").read_text()[-5000:]
                time.sleep(0.01)
            time.sleep(after)
            act() if act else self._kill(process)
            process.wait()
            output.seek(0)
            return Outcome({}, process.returncode != 0, output.read())

    def description(self) -> dict[str, Any]:
        """How the servers are described."""
        return dict(json.loads(self.home.run("docker", "service", "inspect", SERVICE))[0]["Spec"])

    def records(self) -> list[dict[str, Any]]:
        """The records of all cutovers."""
        found = sorted(path for kind in _KINDS for path in self.stack.glob(f"switches/*/{kind}.json"))
        return [json.loads(path.read_text()) for path in found]

    def half_done(self) -> bool:
        """Whether the last cutover is to be finished or undone."""
        found = self.records()
        return bool(found) and found[-1]["state"] in ("cutting", "opening", "undoing")

    def watching(self) -> Asking[Answer]:
        """Ask through both machines many times a second, a connection each."""
        context = ssl.create_default_context(cafile=str(self.directory / "gateway/ca.crt"))
        return Asking([(name, partial(self._look, name, context)) for name in self.machines], _ASKED_A_SECOND)

    def _look(self, machine: str, context: ssl.SSLContext) -> Answer:
        connection = connect(self.name, self.port, context, timeout=60, address=self.machines[machine].host)
        try:
            connection.request("GET", SEARCH, headers={"Host": f"{self.name}:{self.port}"})
            answer = connection.getresponse()
            answer.read()
            return Answer(time.monotonic(), answer.status, answer.getheader("Retry-After", ""))
        finally:
            connection.close()

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the playbook, and the engine, which would go on without."""
        os.killpg(process.pid, signal.SIGKILL)
        engine = (self.stack / "switches/.lock").read_text().partition("process ")[2].partition(",")[0]
        with suppress(AssertionError):
            self.home.run("kill", "-9", engine)


def outage(watching: Asking[Answer]) -> float:
    """How long nobody was let in, at most; who was not let in was told when to come again."""
    refused = [each for each in watching.answers if each.status != 200]
    assert {each.status for each in refused} <= {503}, refused
    assert all(each.retry_after for each in refused)
    let_in = sorted(each.at for each in watching.answers if each.status == 200)
    return max(after - before for before, after in pairwise(let_in))
