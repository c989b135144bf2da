"""What the monitor looks at while a cutover has MLflow closed."""

import json
import sys
import threading
import time
from pathlib import Path

import pytest

from mlflow_sftp.monitor.alerts import Limits
from mlflow_sftp.monitor.checks import Check
from mlflow_sftp.monitor.delivery import Messenger
from mlflow_sftp.monitor.monitor import Monitor


@pytest.mark.parametrize(
    ("state", "asks_mlflow", "looked"),
    [("cutting", True, False), ("cutting", False, True), ("done", True, True)],
)
def test_what_a_cutover_has_closed_is_not_asked(
    state: str, asks_mlflow: bool, looked: bool, tmp_path: Path
) -> None:
    cutover = {"kind": "upgrade", "state": state, "changed_seconds": time.time() - 60}
    (tmp_path / "cutover.json").write_text(json.dumps(cutover))
    trace = tmp_path / "trace"
    program = (sys.executable, "-c", f"open({str(trace)!r}, 'w')")
    check = Check("server", program, every=300, limit=20, asks_mlflow=asks_mlflow)
    messenger = Messenger("stack", None, tmp_path / "told")
    monitor = Monitor([check], 300, Limits(), messenger, status_directory=tmp_path)
    watching = threading.Thread(target=monitor.run)
    watching.start()
    end = time.monotonic() + (10 if looked else 1)
    while not trace.exists() and time.monotonic() < end:
        time.sleep(0.05)
    monitor.stop()
    watching.join(5)
    assert trace.exists() is looked
