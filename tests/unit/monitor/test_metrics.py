"""What the monitor shows of what is known, and that what is not known is not shown."""

import math
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from mlflow_sftp.monitor.alerts import Limits
from mlflow_sftp.monitor.board import Board, Snapshot
from mlflow_sftp.monitor.metrics import METRICS, StackCollector
from mlflow_sftp.monitor.outcome import Outcome, Stage
from mlflow_sftp.monitor.status import Status, expiry, read_status
from tests.support.monitor import samples
from tests.support.server import keygen


def shown(
    snapshot: Snapshot | None = None,
    status: Status | None = None,
    readable: bool | None = None,
    quota: int = 0,
) -> dict[str, list[tuple[Any, float]]]:
    registry = CollectorRegistry()
    registry.register(
        StackCollector(
            lambda: snapshot or Snapshot(),
            lambda: status or Status(),
            lambda: 0,
            lambda: readable,
            Limits(account_quota=quota),
        )
    )
    found: dict[str, list[tuple[Any, float]]] = {}
    for name, labels, value in samples(generate_latest(registry).decode()):
        found.setdefault(name, []).append((labels, value))
    return found


def test_nothing_is_shown_of_what_nobody_knows() -> None:
    assert list(shown()) == ["mlflow_stack_alerts_untold"]


def test_whether_it_is_known_whom_to_tell() -> None:
    assert shown(readable=False)["mlflow_stack_alerts_readable"] == [({}, 0.0)]
    assert shown(readable=True)["mlflow_stack_alerts_readable"] == [({}, 1.0)]


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


@pytest.mark.parametrize(("check", "free", "total"), [("space_account", 4, 10), ("space_artifacts", 9, 90)])
def test_a_quota_counts_where_it_leaves_less_than_the_server(check: str, free: int, total: int) -> None:
    board = Board()
    store = {"free_bytes": 9, "total_bytes": 90, "bytes": 6, "unreadable": {}}
    board.end(Outcome(check, time.time(), 1.0, (Stage(check, "ok", 1.0),), {"store": store}))
    found = shown(board.snapshot(), quota=10)
    labels = {"place": check.removeprefix("space_")}
    assert found["mlflow_stack_free_bytes"] == [(labels, free)]
    assert found["mlflow_stack_total_bytes"] == [(labels, total)]


def test_the_board_tells_for_how_long_something_lasts() -> None:
    board = Board(patience=20)
    failed = (Stage("a", "failed", 1.0, "c"),)
    assert board.end(Outcome("x", 100.0, 1.0, failed)) == 0.0
    assert board.end(Outcome("x", 130.0, 1.0, failed)) == 30.0
    assert "mlflow_stack_failing_seconds" in shown(board.snapshot())
    # Well, but it has not recovered: nothing is shown of a failure, and the next one is the same.
    assert board.end(Outcome("x", 140.0, 1.0, ())) == 0.0
    assert "mlflow_stack_failing_seconds" not in shown(board.snapshot())
    assert board.end(Outcome("x", 150.0, 1.0, failed)) == 0.0
    assert board.snapshot().failing_since == {"x": 100.0}
    assert board.end(Outcome("x", 160.0, 1.0, ())) == 0.0
    assert board.end(Outcome("x", 180.0, 1.0, ())) is None
    assert board.snapshot().failing_since == {}


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
    assert sign() == math.inf
    assert "mlflow_stack_expiry_days" not in shown(status=Status(expiries={"key-cert.pub": math.inf}))
    tls = tmp_path / "tls.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "10"]
    subprocess.run([*command, "-keyout", tmp_path / "tls.key", "-out", tls], check=True, capture_output=True)
    assert expiry(tls) == pytest.approx(time.time() + 10 * 86400, abs=120)
    assert shown(status=Status(expiries={"tls.pem": time.time() + 86400}))["mlflow_stack_expiry_days"] == [
        ({"certificate": "tls.pem"}, pytest.approx(1.0, abs=0.01))
    ]


def test_a_chain_ends_with_what_ends_first(tmp_path: Path) -> None:
    ends = {}
    for name, days in (("leaf", 90), ("intermediate", 10)):
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ]
        files = ["-keyout", tmp_path / "key", "-out", tmp_path / name]
        subprocess.run(
            [*command, "-subj", f"/CN={name}", "-days", str(days), *files], check=True, capture_output=True
        )
        ends[name] = expiry(tmp_path / name)
    chain = tmp_path / "gateway.crt"
    chain.write_text(
        "subject=CN = leaf\n" + (tmp_path / "leaf").read_text() + (tmp_path / "intermediate").read_text()
    )
    assert expiry(chain) == ends["intermediate"] != ends["leaf"]


def test_a_certificate_that_is_half_written_is_not_known_and_holds_nothing_up(tmp_path: Path) -> None:
    key = keygen(tmp_path / "key", "ed25519")
    command = ["ssh-keygen", "-q", "-s", key, "-I", "id", "-n", "me", "-V", "-1d:20300101000000Z"]
    subprocess.run([*command, f"{key}.pub"], check=True)
    tls = tmp_path / "tls.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run(
        [*command, "-subj", "/CN=x", "-keyout", tmp_path / "tls.key", "-out", tls],
        check=True,
        capture_output=True,
    )
    for whole in (Path(f"{key}-cert.pub"), tls):
        content = whole.read_bytes()
        half = tmp_path / "half"
        for length in range(0, len(content) - 40, 7):
            half.write_bytes(content[:length])
            assert expiry(half) is None, length
    os.mkfifo(tmp_path / "pipe")
    assert expiry(tmp_path / "pipe") is None
    assert expiry(tmp_path) is None
    (tmp_path / "long").write_bytes(content + bytes(2 << 20))
    assert expiry(tmp_path / "long") is None


@pytest.mark.parametrize(
    ("state", "changed", "expected"),
    [
        ("", None, False),
        ("planned", 1000.0, False),
        ("cutting", 1000.0, True),
        ("opening", 1000.0, True),
        ("undoing", 1000.0, True),
        ("done", 1000.0, False),
        ("cutting", None, False),
        # Interrupted: what is the matter with MLflow is worth knowing.
        ("cutting", -2600.0, False),
        ("cutting", -2599.0, True),
    ],
)
def test_while_a_cutover_has_mlflow_closed(state: str, changed: float | None, expected: bool) -> None:
    status = Status(cutover="switch", cutover_state=state, cutover_changed=changed)
    assert status.is_closed(1000.0) == expected
