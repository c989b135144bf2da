"""A stack that is watched: its metrics answer, what breaks is told once, and so is that it works again.

The tests of this file are steps of one story, on one stack.
"""

import json
import subprocess
from collections.abc import Iterator
from urllib.request import urlopen

import pytest

from tests.support.docker import docker
from tests.support.lab import Lab
from tests.support.monitor import Webhook, eventually, samples
from tests.support.stack import passes

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(1200)]

_METRICS = 14174


class WatchedLab:
    """A deployed lab with a monitor that tells a webhook on the Docker host."""

    def __init__(self, lab: Lab, webhook: Webhook) -> None:
        self.lab = lab
        self.webhook = webhook

    def value(self, name: str, **labels: str) -> float | None:
        with urlopen(f"http://127.0.0.1:{_METRICS}/metrics", timeout=5) as answer:
            page = answer.read().decode()
        found = [
            value
            for each, present, value in samples(page)
            if each == f"mlflow_stack_{name}" and labels.items() <= present.items()
        ]
        return found[0] if found else None


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedLab]:
    # Every container of this machine reaches the address of Docker's own bridge.
    address = json.loads(docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]["Gateway"]
    with Webhook(address) as webhook:
        settings: dict[str, object] = {
            "mlflow_stack_services": ["mlflow", "experiment-service"],
            "mlflow_stack_monitor": True,
            "mlflow_stack_monitor_port": _METRICS,
            "mlflow_stack_monitor_interval": 1,
            "mlflow_stack_alert_url": webhook.url,
        }
        lab = Lab("mlflow-monitor", tmp_path_factory.mktemp("monitor") / "lab", 14171, settings)
        with lab.cleared():
            deployed = lab.play("site.yml", "--skip-tags", "verify")
            assert "s3cret-token" not in passes(deployed)
            yield WatchedLab(lab, webhook)


def test_the_metrics_answer_on_loopback_alone(watched: WatchedLab) -> None:
    for check in ("account", "server", "round_trip", "database", "schema"):
        eventually(lambda name=check: watched.value("up", check=name) == 1.0, 180)
    assert watched.value("stage_up", check="account", stage="write") == 1.0
    for place in ("account", "artifacts", "database", "stack"):
        assert (watched.value("free_bytes", place=place) or 0) > 1 << 20
    assert watched.value("schema_info", state="current") == 1.0
    assert watched.value("entities", kind="runs", stage="total") is not None
    # There was no backup and no cutover yet: that is not known, and not 0.
    assert watched.value("backup_age_seconds") is None
    assert watched.value("cutover_unfinished_seconds") is None
    container = f"{watched.lab.name}-monitor-1"
    assert docker("container", "port", container).split() == ["9464/tcp", "->", f"127.0.0.1:{_METRICS}"]


def test_the_monitor_sees_no_more_than_it_needs(watched: WatchedLab) -> None:
    container = f"{watched.lab.name}-monitor-1"
    shown = json.loads(docker("container", "inspect", container))[0]
    assert "s3cret-token" not in json.dumps(shown)
    assert shown["Config"]["User"] == "mlflow"
    writable = {mount["Destination"] for mount in shown["Mounts"] if mount["RW"]}
    assert writable == {"/var/lib/mlflow_monitor"}
    for path in (".env", ".secrets/notebook_token", "switches"):
        listed = subprocess.run(
            ["docker", "exec", container, "ls", f"/run/mlflow_status/{path}"], capture_output=True
        )
        assert listed.returncode != 0


def test_what_breaks_is_told_once_and_so_is_its_end(watched: WatchedLab) -> None:
    server = f"{watched.lab.name}-sftp"
    told = watched.webhook.changes
    assert told() == []
    docker("stop", "--time=1", server)
    try:
        eventually(lambda: watched.value("up", check="account") == 0.0, 90)
        (change,) = eventually(lambda: told("account"), 240)
        assert change["status"] == "failed"
    finally:
        docker("start", server)
    eventually(lambda: [each["status"] for each in told("account")][1:] == ["recovered"], 180)


@pytest.mark.sweep
def test_a_second_run_changes_nothing(watched: WatchedLab) -> None:
    before = watched.lab.containers()
    assert "changed=0" in passes(watched.lab.play("site.yml", "--skip-tags", "verify"))
    assert watched.lab.containers() == before


@pytest.mark.sweep
def test_a_cutover_leaves_the_monitor_running_and_is_shown(watched: WatchedLab) -> None:
    before = watched.lab.containers()["monitor"]
    passes(watched.lab.play("playbooks/storage_switch.yml", artifact_storage="local"))
    eventually(lambda: watched.value("cutover_state", kind="switch", state="done") == 1.0, 30)
    assert watched.value("cutover_unfinished_seconds") == 0.0
    # It is told of the other store.
    assert watched.lab.containers()["monitor"] != before
    eventually(lambda: watched.value("up", check="server") == 1.0, 120)
    assert watched.value("up", check="account") is None
