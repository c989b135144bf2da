"""From a fault to an alert: each of ten, provoked on this machine's own servers, as root.

    .venv/bin/python tests/bench/alerts.py [--interval 300] [--patience 60] [--repeat 1]

A fault comes at any moment between two checks; the table has the time until the cause was in the metrics, and until the
webhook was told. Of the defaults, each fault takes minutes: choose shorter ones to compare the faults with one another.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.support.mlflow_server import MlflowServer
from tests.support.monitor import RunningMonitor, Webhook, eventually
from tests.support.monitor_faults import DATABASE, FAULTS, Site
from tests.support.postgres import PostgresServer
from tests.support.sshd import SshServer


def measure(
    name: str, site: Site, monitor: RunningMonitor, webhook: Webhook, limit: float
) -> tuple[float, float]:
    """Return the seconds from a fault to its cause in the metrics, and to the alert."""
    fault = FAULTS[name]
    before = len(webhook.changes(fault.check))
    with fault.provoked(site):
        started = time.monotonic()
        eventually(lambda: monitor.causes(fault.check) == {fault.cause}, limit)
        shown = time.monotonic() - started
        eventually(lambda: len(webhook.changes(fault.check)) > before, limit)
        told = time.monotonic() - started
    eventually(lambda: len(webhook.changes(fault.check)) > before + 1, limit)
    return shown, told


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--interval", type=float, default=5.0)
    parser.add_argument("--patience", type=float, default=2.0)
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    limit = 60 + 4 * (options.interval + options.patience)
    with (
        tempfile.TemporaryDirectory() as directory,
        PostgresServer() as postgres,
        SshServer(Path(directory) / "sshd", obeys_modes=True) as sshd,
        MlflowServer(
            Path(directory) / "mlflow",
            ["--backend-store-uri", postgres.create(DATABASE), "--default-artifact-root", sshd.uri("runs")],
        ) as mlflow,
    ):
        site = Site(sshd, mlflow, postgres)
        site.store.mkdir()
        arguments = [
            *RunningMonitor.account(sshd, site.store),
            *(f"--tracking-uri={mlflow.uri}", "--round-trip-interval=0"),
            *(f"--interval={options.interval:g}", f"--patience={options.patience:g}"),
        ]
        print(f"a check every {options.interval:g} s, patience {options.patience:g} s")
        print(f"{'fault':18} {'cause':30} {'shown':>8} {'told':>8}")
        with (
            Webhook() as webhook,
            RunningMonitor(Path(directory) / "m", *arguments, webhook=webhook) as monitor,
        ):
            for check in ("account", "server"):
                eventually(lambda name=check: monitor.value("mlflow_stack_up", check=name) == 1.0)
            for name in [each for each in FAULTS for _ in range(options.repeat)]:
                time.sleep(random.uniform(0, options.interval))
                shown, told = measure(name, site, monitor, webhook, limit)
                print(f"{name:18} {FAULTS[name].cause:30} {shown:6.1f} s {told:6.1f} s", flush=True)


if __name__ == "__main__":
    main()
