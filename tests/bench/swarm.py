#!/usr/bin/env python3
"""What clients of a swarm notice while it is changed and hurt: failed requests, seconds to full strength, lost runs.

    tests/bench/swarm.py                                all of it, about 25 minutes
    tests/bench/swarm.py --only drained killed          some of it
    tests/bench/swarm.py --a-second 10

Three machines of this one's namespaces are managers of a swarm with a server and a gateway each; PostgreSQL is on the
second one. Clients ask so many times a second through the gateways of machines that nothing
happens to, while another one logs runs with a file. All of them share this machine's processors. Needs root and Docker,
as bin/test leaves it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Self

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPOSITORY))

from tests.bench.front_load import quantiles  # noqa: E402  # found only after the line above
from tests.support.machines import machines  # noqa: E402  # the same
from tests.support.stack import fails, passes  # noqa: E402  # the same
from tests.support.swarm import Account, SwarmSite, swarm_images  # noqa: E402  # the same

_NAME = "mlflow.hurt.example"
_PORT = 15340
_SERVERS = 3
# Seconds before something happens.
_CALM = 10.0
# Seconds in which the swarm has to be what it was.
_PATIENCE = 300.0

Deed = Callable[["Bench"], None]


@dataclass(frozen=True)
class Disturbance:
    """Something that happens to the swarm.

    Attributes:
        begin: Does it.
        end: Takes it back.
        machine: To which it happens; none where it happens to the servers, whose number is right all the while.
    """

    begin: Deed
    end: Deed
    machine: str = ""


class Logging:
    """A client that logs one run after the other, each with a file; keeps what MLflow has acknowledged."""

    def __init__(self, site: SwarmSite, names: Sequence[str]) -> None:
        self._site = site
        self._names = names
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._log)
        self.files: list[str] = []
        self.failed = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _log(self) -> None:
        for name in cycle(self._names):
            try:
                self.files.append(self._site.log(name))
            except (OSError, AssertionError):
                self.failed += 1
            if self._ended.wait(0.5):
                return

    def lost(self, name: str) -> list[str]:
        """Return the files of acknowledged runs that are not there, or whose run is not as it was logged."""
        return [file for file in self.files if not self._is_there(name, file)]

    def _is_there(self, name: str, file: str) -> bool:
        run = file.split("/")[1]
        path = self._site.account.root / "artifacts" / file
        shown = self._site.ask(name, path=f"/api/2.0/mlflow/runs/get?run_id={run}")["run"]["info"]
        return shown["status"] == "FINISHED" and path.is_file() and path.read_text() == run


@dataclass(frozen=True)
class Bench:
    """A served site, the images for its next servers, and how often it is asked."""

    site: SwarmSite
    next: str
    bad: str
    a_second: int

    def docker(self, *arguments: str) -> None:
        self.site.home.run("docker", *arguments)

    def measure(self, name: str, disturbance: Disturbance) -> None:
        """Have something happen, and print what clients notice of it."""
        self.site.revive()
        self.site.spread()
        asked = [each for each in self.site.machines if each != disturbance.machine]
        with self.site.asking(*asked, a_second=self.a_second) as asking, Logging(self.site, asked) as logging:
            started = time.monotonic()
            time.sleep(_CALM)
            began = time.monotonic()
            disturbance.begin(self)
            self._await_strength(asked[0], disturbance.machine)
            seconds = time.monotonic() - began
            time.sleep(_CALM)
            lasted = time.monotonic() - started
        kinds = Counter(error.split(maxsplit=2)[2][:80] for error in asking.errors)
        print(
            f"{name}: all servers again after {seconds:.0f} s; {len(asking.errors)} of {asking.asked:,} requests "
            f"failed {dict(kinds) or ''}, {asking.asked / lasted:.0f} a second; {quantiles(asking.answers)}; "
            f"{len(logging.files)} runs logged, {logging.failed} not, {len(logging.lost(asked[0]))} lost",
            flush=True,
        )
        disturbance.end(self)

    def _await_strength(self, manager: str, lost: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while sum(number for name, number in self.site.servers(manager).items() if name != lost) < _SERVERS:
            assert time.monotonic() < deadline, "The swarm does not run all servers again"
            time.sleep(1)


def update(bench: Bench) -> None:
    passes(bench.site.play("site.yml", "--skip-tags", "verify", __mlflow_stack_server_image=bench.next))


def update_badly(bench: Bench) -> None:
    output = fails(
        bench.site.play("site.yml", "--skip-tags", "verify", __mlflow_stack_server_image=bench.bad)
    )
    assert "rollback_completed" in output, output


def drain(bench: Bench) -> None:
    bench.docker("node", "update", "--availability=drain", "n3")


def activate(bench: Bench) -> None:
    bench.docker("node", "update", "--availability=active", "n3")


def nothing(_: Bench) -> None:
    pass


DISTURBANCES = {
    "updated": Disturbance(update, nothing),
    "updated badly": Disturbance(update_badly, nothing),
    "drained": Disturbance(drain, activate, "n3"),
    "killed": Disturbance(lambda bench: bench.site.machines["n3"].kill(), nothing, "n3"),
    "cut off": Disturbance(
        lambda bench: bench.site.machines["n3"].unplug(), lambda bench: bench.site.machines["n3"].plug(), "n3"
    ),
    # The home, which has made the swarm, leads it.
    "leader killed": Disturbance(lambda bench: bench.site.machines["n1"].kill(), nothing, "n1"),
}


def build(tag: str, base: str, *lines: str) -> str:
    """Build an image that begins as another one; return its name."""
    name = f"freegee/mlflow-server:{tag}"
    text = "\n".join([f"FROM {base}", *lines])
    command = ["docker", "build", "--quiet", "--tag", name, "-"]
    subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL)
    return name


def main() -> None:
    arguments = _parse()
    print(
        f"{os.cpu_count()} processors for machines and clients; {arguments.a_second} requests a second",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as work, machines("mlflow-hurt", "10.88.0", "n1", "n2", "n3") as made:
        images = swarm_images(Path(work), "mlflow-hurt", _PORT + 10)
        following = build("hurt-next", images[1], "LABEL of.the.bench=next")
        bad = build("hurt-bad", images[1], "USER root", "RUN rm /opt/venv/bin/mlflow", "USER mlflow")
        # How long they take to the nodes would not be what clients notice.
        for machine in made:
            machine.load(*images, following, bad)
        with Account(Path(work) / "account", made[0].gateway) as account:
            named = {each.name: each for each in made}
            site = SwarmSite(Path(work), named, account, _NAME, _PORT, managers=tuple(named))
            bench = Bench(site, following, bad, arguments.a_second)
            for name in arguments.only:
                bench.measure(name, DISTURBANCES[name])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--a-second", type=int, default=100, help="requests")
    parser.add_argument(
        "--only", nargs="+", choices=DISTURBANCES, default=list(DISTURBANCES), help="what happens"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
