"""Switches of the storage on a real stack with real content: nothing is lost, whatever happens in between.

The tests of this file are steps of one story, on one stack. Each brings the stack to where it begins: it can run alone,
and does not fall with the step before.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lab import Lab
from tests.support.stack import SWITCH, Stack, fails, filled_stack, passes

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(1800)]

# More with MLFLOW_SWITCH_FILES=5000 MLFLOW_SWITCH_MEBIBYTES=1024.
SMALL_FILES = int(os.environ.get("MLFLOW_SWITCH_FILES", "200"))
LARGE_MEBIBYTES = int(os.environ.get("MLFLOW_SWITCH_MEBIBYTES", "64"))
BACKEND = os.environ.get("MLFLOW_SWITCH_BACKEND", "postgresql")
SFTP = "sftp://freegee@tajo.host.ch:13221/agent.freegee.ch/artifacts"
LOCAL, PROXY = "/mlruns", "mlflow-artifacts:/"
TO_LOCAL = {"artifact_storage": "local", "mlflow_stack_access": "direct"}
TO_SFTP = {"artifact_storage": "sftp", "mlflow_stack_access": "direct"}
PROXIED = {"artifact_storage": "sftp", "mlflow_stack_access": "proxied"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"mlflow_stack_backend_store": BACKEND, "sftp_client_key_type": "ecdsa"}
    lab = Lab("mlflow-switch", tmp_path_factory.mktemp("switch") / "lab", 13221, settings)
    with filled_stack(lab, SMALL_FILES, LARGE_MEBIBYTES) as filled:
        yield filled


def test_check_mode_shows_the_plan_and_touches_nothing(stack: Stack) -> None:
    containers = stack.lab.containers()
    output = passes(stack.lab.play(SWITCH, "--check", "--diff", artifact_storage="sftp"))
    assert "From: /mlruns (direct access)" in output
    assert f"To: {SFTP} (direct access)" in output
    assert re.search(
        r"MLflow knows 2 experiments, 3 runs \(1 deleted\), 1 logged models, 2 model versions, 1 traces",
        output,
    )
    assert re.search(rf"To copy: {SMALL_FILES // 100}\d\d files", output)
    assert "runs.artifact_uri: 3 move" in output
    assert "Expected downtime" in output
    assert stack.lab.containers() == containers
    assert stack.stored() == ("/mlruns", "/mlruns")
    assert not (stack.lab.stack / "switches").exists()


def test_local_to_sftp(stack: Stack) -> None:
    stack.bring_to(LOCAL, LOCAL, **TO_LOCAL)
    output = passes(stack.lab.play(SWITCH, artifact_storage="sftp", verify_runs="all"))
    assert re.search(r"MLflow was closed for [\d.]+ s", output)
    assert stack.stored() == (SFTP, SFTP)
    assert stack.read() == stack.content
    assert [found for found in stack.locations("/mlruns") if found["kind"] == "location"] == []
    again = passes(stack.lab.play(SWITCH, artifact_storage="sftp"))
    assert f"Nothing to do: artifacts are at {SFTP}, direct access." in again
    assert "changed=0" in again


def test_site_refuses_the_old_store_and_names_the_switch(stack: Stack) -> None:
    stack.bring_to(SFTP, SFTP, **TO_SFTP)
    output = fails(stack.lab.play("playbooks/preflight.yml", artifact_storage="local"))
    assert "playbooks/storage_switch.yml moves them" in output


@pytest.mark.sweep  # With the other steps in test_storage_switch_kills.py; a kill follows below.
def test_killed_within_the_cut_and_undone(stack: Stack) -> None:
    stack.bring_to(SFTP, SFTP, **TO_SFTP)
    stack.lab.play_until("Try the next server", SWITCH, artifact_storage="local")
    passes(stack.lab.play(SWITCH, resume="undo"))
    assert stack.stored() == (SFTP, SFTP)
    assert stack.read() == stack.content


@pytest.mark.sweep  # test_demo.py goes back with a run that was logged since, on SQLite.
def test_undo_brings_runs_back_that_were_logged_since(stack: Stack) -> None:
    stack.bring_to(SFTP, SFTP, **TO_SFTP)
    run = stack.log()
    passes(stack.lab.play(SWITCH, undo=True))
    assert stack.stored() == ("/mlruns", "/mlruns")
    assert stack.read() == stack.content
    assert stack.read_text(run) == "since"


@pytest.mark.sweep  # A way back from the cut is gone in test_database_move.py and test_upgrade.py.
def test_the_new_store_fails_at_the_cut_and_everything_is_as_before(stack: Stack) -> None:
    stack.bring_to(LOCAL, LOCAL, **TO_LOCAL)
    sftp = f"{stack.lab.name}-sftp"

    def stop() -> None:
        subprocess.run(["docker", "stop", "-t", "1", sftp], check=True, capture_output=True)

    try:
        output = fails(stack.lab.play_until("Close MLflow", SWITCH, stop, **PROXIED))
        assert "Copy files that were written since the first copy" in output
        assert "was undone: MLflow answers" in output
        assert stack.answers()
        assert stack.stored() == ("/mlruns", "/mlruns")
        assert stack.read() == stack.content
    finally:
        subprocess.run(["docker", "start", sftp], check=True, capture_output=True)


@pytest.mark.sweep  # With the other steps in test_storage_switch_kills.py.
def test_store_and_access_change_although_it_was_killed_while_services_start(stack: Stack) -> None:
    stack.bring_to(LOCAL, LOCAL, **TO_LOCAL)
    stack.lab.play_until("Open MLflow", SWITCH, after=3, **PROXIED)
    passes(stack.lab.play(SWITCH, resume="finish"))
    assert stack.stored() == (SFTP, PROXY)
    assert stack.read() == stack.content


def test_clients_of_the_proxy_hold_no_key_and_store_through_the_server(stack: Stack) -> None:
    stack.bring_to(SFTP, PROXY, **PROXIED)
    held = "ls -A /run/secrets 2>/dev/null || true"
    for service in ("notebook", "experiment-service"):
        assert stack.lab.compose("exec", "-T", service, "sh", "-c", held) == ""
    assert "mlflow_sftp_key" in stack.lab.compose("exec", "-T", "mlflow", "sh", "-c", held)
    experiment = ("python", "-m", "experiments.image_scoring.entrypoint", "--json")
    run = json.loads(stack.lab.compose("run", "--rm", "-T", "train", *experiment))
    assert run["artifact_uri"].startswith(PROXY)
    directory = (
        f"/srv/sftp/freegee/agent.freegee.ch/artifacts{run['artifact_uri'].removeprefix('mlflow-artifacts:')}"
    )
    listed = ["docker", "exec", f"{stack.lab.name}-sftp", "ls", f"{directory}/plots"]
    assert "confusion_matrix.png" in subprocess.run(listed, check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(BACKEND != "postgresql", reason="the stack is on another database")
def test_postgresql_keeps_its_password_and_survives_a_kill(stack: Stack) -> None:
    def ask(*statements: str) -> list[str]:
        commands = [f"--command={statement}" for statement in statements]
        answers = stack.lab.compose(
            "exec", "-T", "postgres", "psql", "--tuples-only", "--no-align", *commands
        )
        return answers.split()

    runs, *safety = ask("SELECT count(*) FROM runs", "SHOW fsync", "SHOW data_checksums")
    assert int(runs) > 0
    assert safety == ["on", "on"]
    password = (stack.lab.stack / ".secrets/postgres_password").read_text().strip()
    resolve = "getent hosts postgres >/dev/null && echo found || echo unknown"
    for service in ("notebook", "experiment-service"):
        assert stack.lab.compose("exec", "-T", service, "sh", "-c", resolve).strip() == "unknown"
        assert password not in stack.lab.compose("exec", "-T", service, "env")
    assert re.match(r"postgresql[+]psycopg://mlflow:[*]+@postgres:5432/mlflow [1-9]", stack.back_up())
    stack.lab.compose("kill", "--signal=KILL", "postgres")
    stack.lab.compose("up", "--detach", "--wait", "--no-build", "postgres")
    # MLflow was not restarted.
    assert stack.answers()
    assert ask("SELECT count(*) FROM runs") == [runs]


def test_proxied_to_local(stack: Stack) -> None:
    stack.bring_to(SFTP, PROXY, **PROXIED)
    passes(stack.lab.play(SWITCH, artifact_storage="local", mlflow_stack_access="proxied", verify_runs="all"))
    assert stack.stored() == ("/mlruns", "mlflow-artifacts:/")
    assert stack.read() == stack.content


@pytest.mark.sweep  # Each of both changes is made above, alone or with the other one.
def test_local_by_proxy_to_direct_sftp(stack: Stack) -> None:
    stack.bring_to(LOCAL, PROXY, **PROXIED | {"artifact_storage": "local"})
    passes(stack.lab.play(SWITCH, artifact_storage="sftp", mlflow_stack_access="direct"))
    assert stack.stored() == (SFTP, SFTP)
    assert stack.read() == stack.content


def test_a_part_moves_and_the_rest_is_read_from_where_it_is(stack: Stack) -> None:
    stack.bring_to(SFTP, SFTP, **TO_SFTP)
    run = stack.log()
    experiment = int(stack.ids["experiment"])
    passes(stack.lab.play(SWITCH, artifact_storage="local", experiments=[experiment]))
    assert stack.stored() == ("/mlruns", "/mlruns")
    assert stack.read() == stack.content
    assert stack.read_text(run) == "since"
    schemes = "MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES"
    assert stack.lab.compose("exec", "-T", "mlflow", "printenv", schemes) == "sftp\n"


def test_audit_finds_what_is_missing_and_moves_orphans_aside(stack: Stack) -> None:
    stack.bring_to(SFTP, SFTP, **TO_SFTP)
    root = Path("/srv/sftp/freegee/agent.freegee.ch/artifacts")
    docker = ["docker", "exec", f"{stack.lab.name}-sftp"]
    experiment = stack.ids["experiment"]
    orphan = root / experiment / "0123456789abcdef" / "artifacts" / "lost.txt"
    account = [*docker[:2], "--user", "freegee", *docker[2:]]
    subprocess.run([*account, "install", "-D", "/etc/hostname", str(orphan)], check=True)
    moved = passes(stack.lab.play("playbooks/audit.yml", quarantine=True))
    assert f"{experiment}/0123456789abcdef" in moved
    assert subprocess.run([*docker, "test", "-e", str(orphan)], check=False).returncode != 0
    model_file = root / experiment / "models" / stack.ids["model"] / "artifacts" / "MLmodel"
    subprocess.run([*docker, "mv", str(model_file), "/srv/sftp/MLmodel"], check=True)
    assert f"{stack.ids['model']}/artifacts/MLmodel" in fails(stack.lab.play("playbooks/audit.yml"))
    subprocess.run([*docker, "mv", "/srv/sftp/MLmodel", str(model_file)], check=True)
    passes(stack.lab.play("playbooks/audit.yml"))


def test_prune_removes_the_old_copy_and_nothing_else(stack: Stack) -> None:
    stack.bring_to(SFTP, SFTP, **TO_SFTP)
    foreseen = passes(stack.lab.play("playbooks/storage_prune.yml", "--check"))
    assert "Would delete" in foreseen
    count = "find /mlruns -type f | wc -l"
    before = int(stack.lab.compose("exec", "-T", "mlflow", "sh", "-c", count))
    assert before > SMALL_FILES
    output = passes(stack.lab.play("playbooks/storage_prune.yml"))
    deleted = re.search(r"Deleted (\d+) files", output)
    assert deleted
    assert int(stack.lab.compose("exec", "-T", "mlflow", "sh", "-c", count)) == before - int(deleted[1])
    assert stack.read() == stack.content
