"""What the monitor shows of what is known, and that what is not known is not shown."""

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from mlflow_sftp.monitor.board import Board, Snapshot
from mlflow_sftp.monitor.metrics import METRICS, StackCollector
from mlflow_sftp.monitor.outcome import Outcome, Stage
from mlflow_sftp.monitor.status import Status, expiry, read_status
from tests.support.monitor import samples
from tests.support.server import keygen


def shown(
    snapshot: Snapshot | None = None, status: Status | None = None
) -> dict[str, list[tuple[Any, float]]]:
    registry = CollectorRegistry()
    registry.register(StackCollector(lambda: snapshot or Snapshot(), lambda: status or Status(), lambda: 0))
    found: dict[str, list[tuple[Any, float]]] = {}
    for name, labels, value in samples(generate_latest(registry).decode()):
        found.setdefault(name, []).append((labels, value))
    return found


def test_nothing_is_shown_of_what_nobody_knows() -> None:
    assert list(shown()) == ["mlflow_stack_alerts_untold"]


def test_a_cutover_of_which_nobody_knows_when_it_went_on_is_not_told_to_be_over() -> None:
    found = shown(status=Status(cutover="switch", cutover_state="cutting"))
    assert "mlflow_stack_cutover_unfinished_seconds" not in found
    assert shown(status=Status(cutover="switch", cutover_state="done"))[
        "mlflow_stack_cutover_unfinished_seconds"
    ] == [({}, 0.0)]


@pytest.mark.parametrize(
    ("check", "facts", "expected"),
    [
        ("space_account", {"store": {"free_bytes": None, "total_bytes": None}}, {}),
        (
            "space_account",
            {"store": {"free_bytes": 0, "total_bytes": 9}},
            {
                "mlflow_stack_free_bytes": [({"place": "account"}, 0.0)],
                "mlflow_stack_total_bytes": [({"place": "account"}, 9.0)],
            },
        ),
        (
            "database",
            {"database": {"bytes": 7, "counts": {"runs": {"total": 3, "active": 3}}}},
            {
                "mlflow_stack_database_bytes": [({}, 7.0)],
                "mlflow_stack_entities": [
                    ({"kind": "runs", "stage": "total"}, 3.0),
                    ({"kind": "runs", "stage": "active"}, 3.0),
                ],
            },
        ),
        (
            "schema",
            {"database": ["abc"], "heads": ["abc"], "state": "current", "mlflow": "3.17.2"},
            {
                "mlflow_stack_schema_info": [
                    ({"revision": "abc", "state": "current", "mlflow": "3.17.2"}, 1.0)
                ]
            },
        ),
    ],
)
def test_facts(check: str, facts: dict[str, Any], expected: dict[str, Any]) -> None:
    board = Board()
    board.end(Outcome(check, time.time(), 1.0, (Stage(check, "ok", 1.0),), facts))
    found = shown(board.snapshot())
    told = set(METRICS) - {
        name for name in METRICS if name.startswith(("mlflow_stack_check", "mlflow_stack_stage"))
    }
    assert {
        name: found[name] for name in told & set(found) - {"mlflow_stack_up", "mlflow_stack_alerts_untold"}
    } == (expected)


def test_the_board_tells_for_how_long_something_fails() -> None:
    board = Board()
    failed = (Stage("a", "failed", 1.0, "c"),)
    assert board.end(Outcome("x", 100.0, 1.0, failed)) == 0.0
    assert board.end(Outcome("x", 130.0, 1.0, failed)) == 30.0
    assert board.end(Outcome("x", 140.0, 1.0, ())) is None
    assert board.end(Outcome("x", 150.0, 1.0, failed)) == 0.0


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"last_good": [], "failed": "x", "state": 5}'])
def test_what_the_host_wrote_badly_is_not_known(text: str, tmp_path: Path) -> None:
    (tmp_path / "backup.json").write_text(text)
    (tmp_path / "cutover.json").write_text(text)
    status = read_status(tmp_path, [tmp_path / "missing", tmp_path / "backup.json"])
    assert (status.backup_at, status.backup_error, status.expiries) == (None, "", {})
    assert status.unfinished_for(0.0) is None


def test_when_certificates_end(tmp_path: Path) -> None:
    authority, key = keygen(tmp_path / "authority", "ed25519"), keygen(tmp_path / "key", "ed25519")
    signed = tmp_path / "key-cert.pub"

    def sign(*validity: str) -> float | None:
        command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "id", "-n", "me", *validity, f"{key}.pub"]
        subprocess.run(command, check=True)
        return expiry(signed)

    assert sign("-V", "-1d:20300101000000Z") == 1893456000.0
    assert sign() is None
    tls = tmp_path / "tls.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "10"]
    subprocess.run([*command, "-keyout", tmp_path / "tls.key", "-out", tls], check=True, capture_output=True)
    assert expiry(tls) == pytest.approx(time.time() + 10 * 86400, abs=120)
    assert shown(status=Status(expiries={"tls.pem": time.time() + 86400}))["mlflow_stack_expiry_days"] == [
        ({"certificate": "tls.pem"}, pytest.approx(1.0, abs=0.01))
    ]
