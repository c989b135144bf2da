"""A switch that is refused is a task that fails before anything is touched.

What is refused is in the table of tests/unit/plugins/_cutover/test_decisions.py; here is a play for each way to it.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible import REPOSITORY, Outcome, run_playbook

SFTP = "sftp://freegee@tajo.host.ch:2121/agent.freegee.ch/artifacts"
LOCAL = {"storage": "local", "access": "direct", "uri": "/mlruns", "root": "/mlruns"}
REMOTE = {"storage": "sftp", "access": "direct", "uri": SFTP, "root": SFTP}
COMPOSE = """
services:
  mlflow: {image: "freegee/mlflow-server:deployed", ports: ["127.0.0.1:5000:5000"]}
  notebook: {image: "freegee/mlflow-client:deployed"}
"""


class Deployed:
    """A stack's directory, as a deployment leaves it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        (directory / "compose.yml").write_text(COMPOSE)
        self.store("/mlruns", "/mlruns")

    def store(self, uri: str, root: str) -> None:
        (self.directory / ".env").write_text(
            f"MLFLOW_ARTIFACT_URI='{uri}'\nMLFLOW_ARTIFACT_ROOT='{root}'\n"
            "MLFLOW_BACKEND_STORE_URI='sqlite:////var/lib/mlflow/mlflow.db'\n"
        )

    def record(self, state: str, start: dict[str, str] = LOCAL, end: dict[str, str] = REMOTE) -> None:
        record = {"id": "20260101T000000Z", "state": state, "from": start, "to": end}
        record |= {"migrate": "all", "experiments": [], "undoes": "", "version": 2}
        path = self.directory / "switches" / record["id"] / "switch.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(record))

    def run(self, playbook: str = "storage_switch.yml", **variables: Any) -> Outcome:
        given = {
            "mlflow_stack_dir": str(self.directory),
            "mlflow_stack_project": "mlflow-nowhere",
        } | variables
        return run_playbook(REPOSITORY / "playbooks" / playbook, "--extra-vars", json.dumps(given))


@pytest.fixture
def deployed(tmp_path: Path) -> Deployed:
    return Deployed(tmp_path / "stack")


def refuses(
    deployed: Deployed, words: list[str], playbook: str = "storage_switch.yml", **variables: Any
) -> None:
    files = {path: path.read_bytes() for path in deployed.directory.rglob("*") if path.is_file()}
    outcome = deployed.run(playbook, **variables)
    output = " ".join(outcome.output.split())
    assert outcome.failed, output
    assert "changed=0" in output
    assert [word for word in words if word not in output] == [], output
    assert "Traceback" not in output
    assert {path: path.read_bytes() for path in deployed.directory.rglob("*") if path.is_file()} == files


def test_the_store_that_is_deployed_is_nothing_to_do(deployed: Deployed) -> None:
    outcome = deployed.run(artifact_storage="local")
    assert not outcome.failed, outcome.output
    assert "Nothing to do: artifacts are at /mlruns, direct access." in " ".join(outcome.output.split())
    assert "changed=0" in outcome.output


def test_no_stack(deployed: Deployed) -> None:
    (deployed.directory / ".env").unlink()
    refuses(deployed, ["holds no deployed stack", "Run site.yml first"], artifact_storage="local")


def test_a_switch_that_is_half_done(deployed: Deployed) -> None:
    deployed.record("cutting")
    words = ["begun at 20260101T000000Z and interrupted while cutting", "-e resume=finish", "-e resume=undo"]
    refuses(deployed, words, artifact_storage="sftp")
    refuses(deployed, ["half done", "Finish or undo it first"], "storage_prune.yml")


def test_a_goal_other_than_the_record_s(deployed: Deployed) -> None:
    deployed.record("cutting")
    words = ["goes to sftp storage with direct access", "Leave artifact_storage and mlflow_stack_access out"]
    refuses(deployed, words, resume="finish", artifact_storage="local", mlflow_stack_access="direct")
    words = [f"goes to {SFTP}", "Give sftp_host, sftp_port, sftp_user"]
    refuses(deployed, words, resume="finish", sftp_path="/elsewhere")


def test_options_that_mean_nothing(deployed: Deployed) -> None:
    words = [
        "artifact_storage_migrate must be one of: all, none, got: some",
        "artifact_storage_resume must be one of",
        "artifact_storage_experiments",
        "artifact_storage must be one of: local, sftp, got: s3",
    ]
    options = {"migrate": "some", "resume": "maybe", "experiments": ["all"], "artifact_storage": "s3"}
    refuses(deployed, words, **options)


def test_no_old_copy_to_prune(deployed: Deployed) -> None:
    deployed.record("done", REMOTE | {"access": "proxied"}, LOCAL | {"uri": "/elsewhere"})
    refuses(
        deployed,
        ["no old copy that is proved to be superfluous"],
        "storage_prune.yml",
        artifact_storage="local",
    )
