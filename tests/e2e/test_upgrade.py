"""Upgrades of MLflow on a real stack that runs an older one: nothing is lost, whatever happens in between.

The tests of this file are steps of one story, on one stack for each database. MLFLOW_UPGRADE_FROM=3.10.1 begins with
another version.
"""

import json
import os
import re
from collections.abc import Iterator
from urllib.request import urlopen

import pytest

from tests.support.lab import Lab
from tests.support.older_stack import go_back_to, older_images
from tests.support.stack import Stack, fails, fill, passes

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(1800)]

UPGRADE = "playbooks/upgrade.yml"
OLDER = os.environ.get("MLFLOW_UPGRADE_FROM", "3.13.0")


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.sweep)])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("upgrade")
    settings = {
        "mlflow_stack_backend_store": request.param,
        "artifact_storage": "local",
        "mlflow_backup_repository": str(directory / "repository"),
        "mlflow_backup_password": "of-a-backup",
    }
    lab = Lab("mlflow-upgrade", directory / "lab", 13621, settings)
    with lab.cleared():
        passes(lab.play("site.yml", "--skip-tags", "verify"))
        volume = {"sqlite": "database", "postgresql": "postgres"}[request.param]
        go_back_to(lab, older_images(lab, OLDER), volume)
        yield fill(lab, 20, 1)


def version(stack: Stack) -> str:
    with urlopen(f"http://127.0.0.1:{stack.lab.port + 1}/version") as answer:
        return answer.read().decode()


def records(stack: Stack) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(stack.lab.stack.glob("switches/*/upgrade.json"))]


def bring_to_older(stack: Stack) -> None:
    """Have the older version, whatever became of the steps before."""
    found = records(stack)
    if found and found[-1]["state"] in ("cutting", "opening", "undoing"):
        passes(stack.lab.play(UPGRADE, resume="undo", discard=True))
    if version(stack) != OLDER:
        passes(stack.lab.play(UPGRADE, undo=True, discard=True))
    assert version(stack) == OLDER


def bring_to_newer(stack: Stack) -> None:
    if version(stack) == OLDER:
        bring_to_older(stack)
        passes(stack.lab.play(UPGRADE))
    assert version(stack) != OLDER


def test_site_notices_and_names_the_upgrade(stack: Stack) -> None:
    bring_to_older(stack)
    containers, files = stack.lab.containers(), (stack.lab.stack / "compose.yml").read_bytes()
    output = fails(stack.lab.play("site.yml", "--skip-tags", "verify"))
    assert re.search(r"MLflow 3\.\d+\.\d+ needs the database's schema \w+, and the database has \w+", output)
    assert "Run playbooks/upgrade.yml" in output
    assert stack.lab.containers() == containers
    assert (stack.lab.stack / "compose.yml").read_bytes() == files
    assert stack.read() == stack.content


def test_check_mode_shows_the_plan_and_touches_nothing(stack: Stack) -> None:
    bring_to_older(stack)
    containers, before = stack.lab.containers(), records(stack)
    output = passes(stack.lab.play(UPGRADE, "--check", "--diff"))
    assert f"From: MLflow {OLDER}" in output
    assert re.search(r"schema \w+ becomes \w+, in \d+ steps", output)
    assert "Expected downtime" in output
    assert stack.lab.containers() == containers
    assert records(stack) == before


def test_a_migration_that_fails_in_the_middle_leaves_everything_as_it_was(stack: Stack) -> None:
    bring_to_older(stack)
    # The last of the migrations wants to make it.
    stack.execute("CREATE TABLE job_locks (id INTEGER)")
    try:
        output = fails(stack.lab.play(UPGRADE))
        assert "Migrate the database" in output
        assert "was undone: MLflow answers" in output
        assert version(stack) == OLDER
        assert stack.read() == stack.content
    finally:
        stack.execute("DROP TABLE job_locks")


def test_upgrade(stack: Stack) -> None:
    bring_to_older(stack)
    output = passes(stack.lab.play(UPGRADE, verify_runs="all"))
    assert re.search(r"MLflow was closed for [\d.]+ s", output)
    assert version(stack) != OLDER
    assert stack.read() == stack.content
    again = passes(stack.lab.play(UPGRADE))
    assert "Nothing to do" in again
    assert "changed=0" in again


def test_site_goes_on_with_the_upgraded_stack(stack: Stack) -> None:
    bring_to_newer(stack)
    containers = stack.lab.containers()
    passes(stack.lab.play("site.yml", "--skip-tags", "verify"))
    assert stack.lab.containers() == containers


@pytest.mark.sweep
def test_undo_takes_consent_where_runs_were_logged_since(stack: Stack) -> None:
    bring_to_older(stack)
    passes(stack.lab.play(UPGRADE))
    run = stack.log()
    output = fails(stack.lab.play(UPGRADE, undo=True))
    assert "1 runs" in output
    assert "discard=true" in output
    assert stack.read_text(run) == "since"
    output = passes(stack.lab.play(UPGRADE, undo=True, discard=True))
    assert version(stack) == OLDER
    assert stack.read() == stack.content
    kept = stack.lab.stack / "switches" / records(stack)[-1]["id"] / "work/database.after"
    assert kept.stat().st_size > 0


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("step", "resume", "after"),
    [
        ("Migrate the database", "finish", 0.5),
        ("Try the next server", "undo", 1.0),
        ("Open MLflow", "finish", 2.0),
    ],
)
def test_killed(stack: Stack, step: str, resume: str, after: float) -> None:
    bring_to_older(stack)
    stack.lab.play_until(step, UPGRADE, after=after)
    passes(stack.lab.play(UPGRADE, resume=resume))
    assert (version(stack) == OLDER) == (resume == "undo")
    assert stack.read() == stack.content


def test_a_backup_of_the_older_version_comes_back_on_a_host_that_has_nothing(stack: Stack) -> None:
    """The last step: there is nothing to undo afterwards."""
    bring_to_older(stack)
    passes(stack.lab.play("playbooks/backup.yml"))
    passes(stack.lab.play("playbooks/teardown.yml", keep_data=False))
    assert not stack.lab.stack.exists()
    output = passes(stack.lab.play("playbooks/restore.yml", "--skip-tags", "verify"))
    assert "brings the database to its schema" in output
    assert version(stack) != OLDER
    assert stack.read() == stack.content
