"""MLflow's database from SQLite to PostgreSQL and back, on a real stack: nothing is lost, whatever happens in between.

The tests of this file are steps of one story, on one stack.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.docker import docker
from tests.support.lab import Lab
from tests.support.stack import Stack, fails, fill, passes

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(1800)]

MOVE, PRUNE = "playbooks/database_move.yml", "playbooks/database_prune.yml"
POSTGRESQL, SQLITE = {"mlflow_stack_backend_store": "postgresql"}, {"mlflow_stack_backend_store": "sqlite"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    lab = Lab("mlflow-move", tmp_path_factory.mktemp("move") / "lab", 14191, {"artifact_storage": "local"})
    with lab.cleared():
        passes(lab.play("site.yml", "--skip-tags", "verify"))
        yield fill(lab, 20, 1)


def kind(stack: Stack) -> str:
    """What MLflow's database is, as the running server has it."""
    return stack.lab.compose("exec", "-T", "mlflow", "printenv", "MLFLOW_BACKEND_STORE_URI").partition(":")[0]


def records(stack: Stack) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(stack.lab.stack.glob("switches/*/move.json"))]


def volumes(stack: Stack) -> set[str]:
    return set(docker("volume", "ls", "--quiet", f"--filter=name={stack.lab.name}_").split())


def held(stack: Stack) -> tuple[dict[str, str], set[str], bytes, bool]:
    """Containers, volumes and files of the stack, and whether it has a password of PostgreSQL's."""
    return (
        stack.lab.containers(),
        volumes(stack),
        (stack.lab.stack / "compose.yml").read_bytes() + (stack.lab.stack / ".env").read_bytes(),
        (stack.lab.stack / ".secrets/postgres_password").exists(),
    )


def bring_to_sqlite(stack: Stack) -> None:
    """Have SQLite and nothing of an earlier move, whatever became of the steps before."""
    found = records(stack)
    if found and found[-1]["state"] in ("cutting", "opening", "undoing"):
        passes(stack.lab.play(MOVE, resume="undo", discard=True))
    if kind(stack) != "sqlite" and stack.lab.play(MOVE, undo=True, discard=True).failed:
        # What the way back would lead to was pruned.
        passes(stack.lab.play(PRUNE, **POSTGRESQL))
        passes(stack.lab.play(MOVE, **SQLITE))
    if any(record["opened"] and not record["pruned"] for record in records(stack)):
        passes(stack.lab.play(PRUNE, discard=True))
    assert kind(stack) == "sqlite"


def bring_to_postgresql(stack: Stack) -> None:
    if kind(stack) == "sqlite":
        bring_to_sqlite(stack)
        passes(stack.lab.play(MOVE, **POSTGRESQL))
    assert kind(stack) == "postgresql+psycopg"


def test_site_notices_and_names_the_move(stack: Stack) -> None:
    bring_to_sqlite(stack)
    before = held(stack)
    output = fails(stack.lab.play("site.yml", "--skip-tags", "verify", **POSTGRESQL))
    assert "playbooks/database_move.yml moves them" in output
    assert held(stack) == before


@pytest.mark.sweep
def test_check_mode_shows_the_plan_and_touches_nothing(stack: Stack) -> None:
    bring_to_sqlite(stack)
    before = held(stack), records(stack)
    output = passes(stack.lab.play(MOVE, "--check", "--diff", **POSTGRESQL))
    assert "From: SQLite (sqlite:////var/lib/mlflow/mlflow.db)" in output
    assert "To: the stack's PostgreSQL" in output
    assert re.search(r"Rows to copy and compare: \d\d", output) or "yet to be built" in output
    assert "+database: the stack's PostgreSQL" in output
    assert (held(stack), records(stack)) == before


@pytest.mark.sweep  # tests/integration/database_copy have what it cannot hold.
def test_what_postgresql_cannot_hold_is_named_before_anything_is_changed(stack: Stack) -> None:
    bring_to_sqlite(stack)
    before = held(stack)
    run = stack.ids["parent"]
    stack.execute(f"INSERT INTO tags VALUES ('odd', 'a' || char(0) || 'b', '{run}')")
    try:
        output = fails(stack.lab.play(MOVE, **POSTGRESQL))
    finally:
        stack.execute("DELETE FROM tags WHERE key = 'odd'")
    assert "tags.value holds a NUL character (rows: 1, such as key=odd run_uuid=" in output
    assert held(stack) == before
    assert records(stack) == []


def test_what_fails_while_mlflow_is_closed_leaves_everything_as_it_was(stack: Stack) -> None:
    bring_to_sqlite(stack)
    _, *before = held(stack)
    stack.lab.play_until(
        "Copy the database and compare every row",
        MOVE,
        lambda: subprocess.run(["docker", "kill", f"{stack.lab.name}-postgres-1"], check=True),
        **POSTGRESQL,
    )
    last = records(stack)[-1]
    assert last["state"] == "undone"
    assert "Copy the database and compare every row" in last["error"]
    assert last["left_behind"] == ""
    containers, *after = held(stack)
    assert after == before
    assert set(containers) == {"mlflow", "notebook", "experiment-service"}
    assert docker("network", "ls", "--quiet", f"--filter=name={stack.lab.name}_database") == ""
    assert stack.read() == stack.content


def test_move(stack: Stack) -> None:
    bring_to_sqlite(stack)
    output = passes(stack.lab.play(MOVE, verify_runs="all", **POSTGRESQL))
    assert re.search(
        r"MLflow's database is the stack's PostgreSQL, with \d\d rows copied and compared", output
    )
    assert re.search(r"MLflow was closed for [\d.]+ s", output)
    assert kind(stack) == "postgresql+psycopg"
    assert stack.read() == stack.content
    again = passes(stack.lab.play(MOVE, **POSTGRESQL))
    assert "Nothing to do" in again
    assert "changed=0" in again


def test_site_goes_on_with_the_moved_database(stack: Stack) -> None:
    bring_to_postgresql(stack)
    containers = stack.lab.containers()
    passes(stack.lab.play("site.yml", "--skip-tags", "verify", **POSTGRESQL))
    assert stack.lab.containers() == containers


def test_undo_takes_consent_where_runs_were_logged_since(stack: Stack) -> None:
    bring_to_postgresql(stack)
    run = stack.log()
    output = fails(stack.lab.play(MOVE, undo=True))
    assert "1 runs" in output
    assert "discard=true" in output
    assert stack.read_text(run) == "since"
    output = passes(stack.lab.play(MOVE, undo=True, discard=True))
    assert "with that, the database stays at the stack's PostgreSQL" in output
    assert kind(stack) == "sqlite"
    assert "postgres" not in stack.lab.containers()
    assert f"{stack.lab.name}_postgres" in volumes(stack)
    assert stack.read() == stack.content


@pytest.mark.sweep
def test_what_an_undo_left_is_in_the_way_until_it_is_pruned(stack: Stack) -> None:
    if f"{stack.lab.name}_postgres" not in volumes(stack) or kind(stack) != "sqlite":
        bring_to_postgresql(stack)
        stack.log()
        passes(stack.lab.play(MOVE, undo=True, discard=True))
    before = held(stack)
    output = fails(stack.lab.play(MOVE, **POSTGRESQL))
    assert "playbooks/database_prune.yml" in output
    assert "holds what came in before the move" in fails(stack.lab.play(PRUNE))
    would = passes(stack.lab.play(PRUNE, "--check", discard=True))
    assert "Would be removed: the stack's PostgreSQL" in would
    assert held(stack) == before
    passes(stack.lab.play(PRUNE, discard=True))
    assert f"{stack.lab.name}_postgres" not in volumes(stack)
    again = passes(stack.lab.play(PRUNE))
    assert "Nothing to do" in again
    assert "changed=0" in again
    assert stack.read() == stack.content


@pytest.mark.sweep
def test_a_second_move_brings_everything_back(stack: Stack) -> None:
    bring_to_postgresql(stack)
    run = stack.log()
    assert "playbooks/database_prune.yml" in fails(stack.lab.play(MOVE, **SQLITE))
    passes(stack.lab.play(PRUNE, **POSTGRESQL))
    passes(stack.lab.play(MOVE, **SQLITE))
    assert kind(stack) == "sqlite"
    assert "postgres" not in stack.lab.containers()
    assert stack.read_text(run) == "since"
    assert stack.read() == stack.content
    passes(stack.lab.play("site.yml", "--skip-tags", "verify", **SQLITE))
    # It still is where it was.
    passes(stack.lab.play(MOVE, undo=True))
    assert kind(stack) == "postgresql+psycopg"
    assert stack.read_text(run) == "since"


@pytest.fixture
def own_database(stack: Stack) -> Iterator[str]:
    """The URI of an empty database on a server that is not the stack's."""
    image = docker(
        "image", "ls", "--format={{.Repository}}:{{.Tag}}", "--filter=reference=freegee/postgres"
    ).splitlines()[0]
    name = f"{stack.lab.name}-own"
    start = (
        "for bin in /usr/lib/postgresql/*/bin; do :; done; cd /tmp; $bin/initdb -D c -U me --auth=trust -E UTF8 "
        "--locale=C.UTF-8; echo 'host all all all trust' >> c/pg_hba.conf; "
        "exec $bin/postgres -D c -c listen_addresses='*' -c unix_socket_directories=/tmp"
    )
    network = f"--network={stack.lab.name}"
    docker(
        "run", "--detach", f"--name={name}", network, "--user=postgres", "--entrypoint=sh", image, "-c", start
    )
    try:
        yield f"postgresql://me:pa55word@{name}:5432/postgres"
    finally:
        docker("rm", "--force", name)


@pytest.mark.sweep
def test_a_database_of_ones_own(stack: Stack, own_database: str) -> None:
    bring_to_sqlite(stack)
    own = {"mlflow_stack_backend_store": own_database}
    output = passes(stack.lab.play(MOVE, "-vvv", "--diff", **own))
    assert "To: PostgreSQL (postgresql://" in output
    assert "pa55word" not in output
    assert kind(stack) == "postgresql"
    assert stack.read() == stack.content
    assert "pa55word" not in "".join(map(str, records(stack)))
    passes(stack.lab.play(MOVE, undo=True))
    assert stack.read() == stack.content
    passes(stack.lab.play(PRUNE))
    # It is empty again.
    passes(stack.lab.play(MOVE, **own))
    passes(stack.lab.play(MOVE, undo=True))
    passes(stack.lab.play(PRUNE))


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("step", "resume", "after"),
    [
        ("Prepare the cutover", "", 2.0),
        ("Copy the database and compare every row", "finish", 0.5),
        ("Copy the database and compare every row", "undo", 1.5),
        ("Try the next server", "finish", 4.0),
        ("Try the next server", "undo", 1.0),
        ("Open MLflow", "finish", 2.0),
        ("Open MLflow", "undo", 2.0),
    ],
)
def test_killed(stack: Stack, step: str, resume: str, after: float) -> None:
    bring_to_sqlite(stack)
    stack.lab.play_until(step, MOVE, after=after, **POSTGRESQL)
    resumed = {"resume": resume} if resume else POSTGRESQL
    passes(stack.lab.play(MOVE, **resumed))
    assert (kind(stack) == "sqlite") == (resume == "undo")
    assert stack.read() == stack.content
