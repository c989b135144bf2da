"""The monitor as a program, on real servers that break: what it shows, whom it tells, and how often."""

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mlflow_server import MlflowServer
from tests.support.monitor import RunningMonitor, Webhook, eventually
from tests.support.monitor_faults import DATABASE, FAULTS, Site
from tests.support.postgres import PostgresServer
from tests.support.sshd import SshServer

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(240)]

# Of the faults: a server that is started anew, and time that has to pass.
_SLOW = ("wrong port", "time-out", "MLflow away")


@pytest.fixture(scope="module")
def site(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("monitored")
    uri = postgres.create(DATABASE)
    with (
        SshServer(directory / "sshd", obeys_modes=True) as sshd,
        MlflowServer(
            directory / "mlflow",
            ["--backend-store-uri", uri, "--default-artifact-root", sshd.uri("runs")],
            {"MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config)},
        ) as mlflow,
    ):
        site = Site(sshd, mlflow, postgres)
        site.store.mkdir()
        yield site


@pytest.fixture(scope="module")
def watched(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningMonitor, Webhook]]:
    """One monitor for all faults: each test leaves everything mended."""
    options = [
        *RunningMonitor.account(site.sshd, site.store),
        f"--tracking-uri={site.mlflow.uri}",
        "--round-trip-interval=0",
    ]
    with (
        Webhook() as webhook,
        RunningMonitor(tmp_path_factory.mktemp("m"), *options, webhook=webhook) as monitor,
    ):
        for check in ("account", "server", "space_account"):
            eventually(lambda name=check: monitor.value("mlflow_stack_up", check=name) == 1.0)
        yield monitor, webhook


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small file system, and changes what modes forbid")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.full) if name in _SLOW else name for name in FAULTS]
)
def test_a_fault_is_shown_and_told_once_and_so_is_its_end(
    name: str, site: Site, watched: tuple[RunningMonitor, Webhook]
) -> None:
    monitor, webhook = watched
    fault = FAULTS[name]
    before = len(webhook.changes(fault.check))
    with fault.provoked(site):
        # A fault that comes in the middle of a check is seen by one of its later stages first.
        eventually(lambda: monitor.failed(fault.check) == {fault.stage: fault.cause})
        stage = {"check": fault.check, "stage": fault.stage}
        assert monitor.value("mlflow_stack_stage_up", **stage) == 0.0
        assert monitor.value("mlflow_stack_up", check=fault.check) == 0.0
        eventually(lambda: len(webhook.changes(fault.check)) > before)
        # Many checks later, nobody has been told anything further.
        time.sleep(1.5)
    eventually(lambda: monitor.value("mlflow_stack_up", check=fault.check) == 1.0)
    assert monitor.causes(fault.check) == set()
    eventually(lambda: len(webhook.changes(fault.check)) > before + 1)
    told = webhook.changes(fault.check)[before:]
    assert [(change["status"], change["cause"]) for change in told] == [
        ("failed", fault.cause),
        ("recovered", ""),
    ]
    stages = {labels["stage"] for labels, _ in monitor.values("mlflow_stack_stage_up", check=fault.check)}
    assert told[0]["seen"].partition(": ")[0] in stages
    assert told[0]["remedy"]
    assert monitor.value("mlflow_stack_alerts_untold") == 0.0


def test_what_comes_after_a_failure_is_not_known(site: Site, watched: tuple[RunningMonitor, Webhook]) -> None:
    monitor, _ = watched
    with FAULTS["key refused"].provoked(site):
        eventually(lambda: monitor.causes("account") == {"auth_refused"})
        assert monitor.value("mlflow_stack_stage_up", check="account", stage="host_key") == 1.0
        assert monitor.value("mlflow_stack_stage_up", check="account", stage="write") is None
        assert monitor.value("mlflow_stack_stage_seconds", check="account", stage="write") is None
        eventually(lambda: monitor.values("mlflow_stack_free_bytes", place="account") == [])
    eventually(lambda: monitor.value("mlflow_stack_stage_up", check="account", stage="write") == 1.0)
    eventually(lambda: (monitor.value("mlflow_stack_free_bytes", place="account") or 0) > 1 << 20)


def test_a_quota_counts_what_the_account_holds(sshd: SshServer, tmp_path: Path, webhook: Webhook) -> None:
    """However much the server's disk has free."""
    (sshd.root / "runs").mkdir()
    (sshd.root / "runs/model").write_bytes(bytes(95_000))
    options = [*RunningMonitor.account(sshd), "--quota=100000", "--space-warn=10%"]
    with RunningMonitor(tmp_path / "monitor", *options, webhook=webhook) as monitor:
        eventually(lambda: monitor.value("mlflow_stack_free_bytes", place="account") == 5000.0)
        assert monitor.value("mlflow_stack_total_bytes", place="account") == 100000.0
        (change,) = eventually(lambda: webhook.changes("free space of account"))
        assert (change["status"], change["cause"]) == ("failed", "space_low")
        assert change["seen"].endswith("by the quota")


def test_a_check_that_hangs_is_ended_and_is_a_finding(sshd: SshServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        options = [*RunningMonitor.account(sshd), f"--tracking-uri={uri}", "--limit=4"]
        with RunningMonitor(tmp_path / "monitor", *options) as monitor:
            eventually(lambda: monitor.value("mlflow_stack_check_running_seconds", check="server"))
            # Nobody waits for it: neither the page, nor the other checks.
            started = time.monotonic()
            monitor.page()
            assert time.monotonic() - started < 1
            eventually(lambda: monitor.value("mlflow_stack_up", check="account") == 1.0)
            assert monitor.value("mlflow_stack_up", check="server") is None
            eventually(lambda: monitor.causes("server") == {"check_timeout"})


def test_a_webhook_that_fails_is_told_later_and_a_restart_tells_nothing_again(
    sshd: SshServer, tmp_path: Path, webhook: Webhook
) -> None:
    monitor = RunningMonitor(tmp_path / "monitor", *RunningMonitor.account(sshd), webhook=webhook)
    webhook.status = 500
    sshd.stop()
    with monitor:
        eventually(lambda: webhook.refused > 1)
        eventually(lambda: monitor.value("mlflow_stack_alerts_untold") == 1.0)
        assert not webhook.bodies
        webhook.status = 200
        (change,) = eventually(lambda: webhook.changes())
        assert (change["subject"], change["cause"]) == ("account", "connection_refused")
    with monitor:
        eventually(lambda: (monitor.value("mlflow_stack_failing_seconds", check="account") or 0) > 1)
        time.sleep(1)
        assert len(webhook.changes()) == 1
        sshd.start()
        eventually(lambda: [each["status"] for each in webhook.changes()] == ["failed", "recovered"])
    assert set(webhook.paths) == {"/hook/s3cret-token"}
    assert "HTTP 500" in monitor.log()
    assert "s3cret" not in monitor.log()
    assert "s3cret" not in monitor.state.read_text()
    assert monitor.state.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as running:
        yield running


def test_backups_and_cutovers_are_told_as_the_host_tells_them(tmp_path: Path, webhook: Webhook) -> None:
    with RunningMonitor(tmp_path / "monitor", "--backup-hours=1", webhook=webhook) as monitor:
        for name in ("backup_age_seconds", "backup_failed", "cutover_unfinished_seconds"):
            assert monitor.value(f"mlflow_stack_{name}") is None
        now = time.time()
        good = {"last_good": {"finished_seconds": now - 7200}, "failed": None}
        (monitor.status / "backup.json").write_text(json.dumps(good))
        cutting = {"kind": "upgrade", "state": "cutting", "changed_seconds": now - 60}
        (monitor.status / "cutover.json").write_text(json.dumps(cutting))
        assert monitor.value("mlflow_stack_backup_age_seconds") == pytest.approx(7200, abs=60)
        assert monitor.value("mlflow_stack_cutover_state", kind="upgrade", state="cutting") == 1.0
        assert monitor.value("mlflow_stack_cutover_unfinished_seconds") == pytest.approx(60, abs=30)
        (change,) = eventually(lambda: webhook.changes("backup"))
        assert change["cause"] == "backup_old"
        assert webhook.changes("cutover") == []
        (monitor.status / "cutover.json").write_text(json.dumps({**cutting, "changed_seconds": now - 7200}))
        (change,) = eventually(lambda: webhook.changes("cutover"))
        assert change["cause"] == "cutover_unfinished"
        (monitor.status / "cutover.json").write_text(json.dumps({**cutting, "state": "done"}))
        eventually(lambda: [each["status"] for each in webhook.changes("cutover")] == ["failed", "recovered"])


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with RunningMonitor(tmp_path / "first") as first:
        second = RunningMonitor(tmp_path / "second")
        second._command[4] = f"--listen=127.0.0.1:{first.port}"
        with pytest.raises(AssertionError), second:
            pass
        assert re.search(r"127.0.0.1:\d+ cannot be listened on: Address already in use", second.log())
