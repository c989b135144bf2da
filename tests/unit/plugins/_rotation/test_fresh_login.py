"""A round trip with a new key: every container that holds the key logs in with it, in a process of its own."""

import hashlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.modules import mlflow_stack_roundtrip as roundtrip

URI = "sftp://freegee@tajo.host.ch:2121/artifacts"
MOUNTS = {"x-mlflow-1": ["/run/key", "/data"], "x-notebook-1": ["/data"]}


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What containers are told to run; a login fails where the account is ``refused``."""
    told: list[tuple[str, ...]] = []

    def run_once(container: str, *arguments: str) -> "subprocess.Popen[str]":
        told.append((container, *arguments))
        script = "import sys; sys.exit('refused to log in' if 'refused' in sys.argv[1] else 0)"
        command = [sys.executable, "-c", script, arguments[-1]]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    inspected = {name: {"Mounts": [{"Destination": each} for each in at]} for name, at in MOUNTS.items()}
    monkeypatch.setattr(roundtrip, "run_once", run_once)
    monkeypatch.setattr(roundtrip.docker, "inspect", inspected.get)
    monkeypatch.setattr(roundtrip.docker, "remove", lambda *_: None)
    digest = hashlib.sha256(b"new").hexdigest()
    monkeypatch.setattr(roundtrip.docker, "run", lambda *_: f"{digest}  /run/key/id_ed25519\n")
    monkeypatch.setattr(
        roundtrip.round_trips,
        "clients",
        lambda _: [("mlflow", "x-mlflow-1"), ("notebook", "x-notebook-1")],
    )
    monkeypatch.setattr(roundtrip.round_trips, "start", lambda *_: told.append(("round trip",)) or {})
    return told


def stack(uri: str = URI) -> Any:
    store = SimpleNamespace(uri=uri, access="proxied")
    return SimpleNamespace(settings=SimpleNamespace(key_dir="/run/key"), store=store, trainer="x-train")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "id_ed25519"
    path.write_text("new")
    return path


def test_who_holds_the_key_logs_in(commands: list[tuple[str, ...]], key: Path) -> None:
    roundtrip.make(stack(), key)
    assert commands == [("x-mlflow-1", "check", URI), ("round trip",)]


def test_a_key_that_does_not_log_in(commands: list[tuple[str, ...]], key: Path) -> None:
    with pytest.raises(CutoverError, match="mlflow: refused to log in"):
        roundtrip.make(stack(URI.replace("tajo", "refused")), key)
    assert ("round trip",) not in commands


def test_a_container_with_another_key(commands: list[tuple[str, ...]], key: Path) -> None:
    key.write_text("another")
    with pytest.raises(CutoverError, match="mlflow holds another id_ed25519"):
        roundtrip.make(stack(), key)
    assert commands == []


def test_without_a_key_nobody_is_asked_to_log_in(commands: list[tuple[str, ...]]) -> None:
    roundtrip.make(stack(), None)
    assert commands == [("round trip",)]
