"""Backups of a real stack while a client logs, what stops them, and drills that restore them.

The tests of this file are steps of one story, on one stack for each database.
"""

import json
import re
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.repository import Repository
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restic import Access, Home, opened
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import write
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import (
    UpgradeRecord,
    Version,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

from tests.support.docker import docker
from tests.support.lab import Lab
from tests.support.stack import Stack, fails, fill, passes

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(1800)]

BACKUP, RESTORE = "playbooks/backup.yml", "playbooks/restore.yml"
PASSWORD = "a-password-that-nobody-may-see"
# One is what a virtualenv or cargo puts into a directory, which programs that copy files may then leave out.
FILES = ("a.txt", "environment/CACHEDIR.TAG", "environment/b.txt")
CACHE = "Signature: 8a477f597d28d172789f06886806bc55"
# A run names its files and what is in them.
CLIENT = f"""
import itertools, mlflow
for number in itertools.count():
    with mlflow.start_run(run_name=f"meanwhile {{number}}") as run:
        for name in {FILES}:
            mlflow.log_text(f"{CACHE}: {{name}} of {{run.info.run_id}}", name)
"""


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.sweep)])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("backup")
    settings = {
        "mlflow_stack_backend_store": request.param,
        "artifact_storage": "local",
        "mlflow_backup_repository": str(directory / "repository"),
        "mlflow_backup_password": PASSWORD,
    }
    lab = Lab("mlflow-backup", directory / "lab", 13921, settings)
    with lab.cleared():
        passes(lab.play("site.yml", "--skip-tags", "verify"))
        filled = fill(lab, 20, 1)
        if request.param == "postgresql":
            # What a site has made beside MLflow's, and a new cluster does not have.
            own = ("CREATE ROLE reporting", "GRANT SELECT ON runs TO reporting", "CREATE SCHEMA reports")
            lab.compose("exec", "-T", "postgres", "psql", f"--command={'; '.join(own)}")
        yield filled


@pytest.fixture
def repository(stack: Stack) -> Path:
    """A repository with a snapshot of the stack."""
    path = Path(str(stack.lab.settings["mlflow_backup_repository"]))
    if not status(stack).get("last_good"):
        passes(stack.lab.play(BACKUP))
    return path


def status(stack: Stack) -> dict:
    path = stack.lab.stack / "backup.json"
    return json.loads(path.read_text()) if path.exists() else {}


def restic_image() -> str:
    return docker("image", "ls", "freegee/restic", "--format={{.Repository}}:{{.Tag}}").splitlines()[0]


def restic(repository: Path, *arguments: str, host: str = "elsewhere", options: tuple[str, ...] = ()) -> str:
    """Run restic as somebody would who has nothing but the repository and its password."""
    return docker(
        *("run", "--rm", "--init", f"--hostname={host}", f"--volume={repository}:/repository"),
        *(f"--env=RESTIC_PASSWORD={PASSWORD}", *options, restic_image(), "--repo=/repository", "--quiet"),
        *arguments,
    )


def own_snapshots(repository: Path) -> list[str]:
    listed = restic(repository, "snapshots", "--json", "--tag=project=mlflow-backup", "--host=docker-host")
    return [each["id"] for each in json.loads(listed)]


@contextmanager
def client_logging(stack: Stack) -> Iterator[None]:
    command = ["docker", "compose", "exec", "-T", "experiment-service", "python", "-c", CLIENT]
    with subprocess.Popen(command, cwd=stack.lab.stack, stdout=subprocess.DEVNULL) as client:
        time.sleep(8)
        try:
            yield
            assert client.poll() is None, "the client has ended"
        finally:
            stack.lab.compose("exec", "-T", "experiment-service", "pkill", "-f", "itertools")
            client.wait()


def unfinished_in(directory: Path) -> tuple[int, list[str]]:
    """Count the client's finished runs in a restored SQLite database, and name those whose files are not as logged."""
    with sqlite3.connect(directory / "database/mlflow.db") as connection:
        query = "SELECT run_uuid, artifact_uri FROM runs WHERE name LIKE 'meanwhile%' AND status = 'FINISHED'"
        rows = connection.execute(query).fetchall()
    wrong = []
    for run, uri in rows:
        place = directory / "artifacts" / uri.removeprefix("/mlruns/")
        for name in FILES:
            file = place / name
            if not file.exists() or file.read_text() != f"{CACHE}: {name} of {run}":
                wrong.append(str(file))
    return len(rows), wrong


def test_check_mode_says_what_would_be_done_and_does_nothing(stack: Stack) -> None:
    before = status(stack)
    output = passes(stack.lab.play(BACKUP, "--check"))
    assert "Would back up: database" in output
    assert "volume mlflow-backup_artifacts" in output
    assert status(stack) == before
    if not before:
        assert "not there yet, would be made" in output
        assert not Path(str(stack.lab.settings["mlflow_backup_repository"])).exists()
        assert not (stack.lab.stack / "backup").exists()


def test_every_run_of_a_backup_has_its_files_while_a_client_logs(stack: Stack, tmp_path: Path) -> None:
    path = Path(str(stack.lab.settings["mlflow_backup_repository"]))
    with client_logging(stack):
        output = passes(stack.lab.play(BACKUP))
    assert re.search(r"Snapshot \w{8} of \d+ runs: \d+ files", output)
    good = status(stack)["last_good"]
    assert good["runs"][0] <= good["runs"][1]
    tags = json.loads(restic(path, "snapshots", "--json", "latest"))[-1]["tags"]
    assert {"project=mlflow-backup", "mlflow=3.17.2", f"schema={good['schema'][0]}"} <= set(tags)
    restic(path, "restore", good["snapshot"], "--target=/out", options=(f"--volume={tmp_path}:/out",))
    for name in (".env", "compose.yml", ".secrets/notebook_token"):
        assert (tmp_path / "backup/stack" / name).read_bytes() == (stack.lab.stack / name).read_bytes()
    if stack.lab.settings["mlflow_stack_backend_store"] == "sqlite":
        finished, wrong = unfinished_in(tmp_path / "backup")
        assert finished > 3
        assert wrong == []


def test_a_second_backup_brings_what_is_new_and_forgets_what_is_old(stack: Stack, repository: Path) -> None:
    stranger = json.loads(
        restic(repository, "backup", "--json", "/etc/hostname", "--tag=freegee.mlflow_sftp,project=other")
    )
    output = passes(stack.lab.play(BACKUP, mlflow_backup_keep={"last": 1}))
    assert status(stack)["last_good"]["bytes_added"] < 500_000
    assert own_snapshots(repository) == [status(stack)["last_good"]["snapshot"]]
    assert stranger["snapshot_id"] in {
        each["id"] for each in json.loads(restic(repository, "snapshots", "--json"))
    }
    assert "of which" in output
    # Once more, with all that Ansible and Docker tell meanwhile.
    seen, ended = [""], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            command = ["docker", "container", "inspect", "mlflow-backup-backup", "mlflow-backup-backup-tool"]
            seen[0] += subprocess.run(command, capture_output=True, text=True, check=False).stdout
            seen[0] += subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True).stdout

    watcher = threading.Thread(target=watch)
    watcher.start()
    outcome = stack.lab.play(
        BACKUP, "-vvv", "--diff", environment={"EXTRA": "1"}, mlflow_backup_environment={"T": "hush-hush"}
    )
    ended.set()
    watcher.join()
    passes(outcome)
    told = [line for line in seen[0].splitlines() if "ansible-playbook" not in line]
    assert '"/mlflow-backup-backup"' in seen[0]
    for secret in (PASSWORD, "hush-hush"):
        assert secret not in outcome.output
        assert not [line for line in told if secret in line]


def test_drill_restores_verifies_and_removes(stack: Stack, repository: Path) -> None:
    containers = stack.lab.containers()
    output = passes(stack.lab.play(BACKUP, drill=True))
    runs = status(stack)["last_good"]["runs"]
    assert re.search(rf"MLflow answered and knew ({runs[0]}|{runs[1]}) runs", output)
    assert re.search(r"read back and compared: \d+ runs and 1 models", output)
    assert stack.lab.containers() == containers
    assert_nothing_of_a_drill(stack)
    assert stack.read() == stack.content


@pytest.mark.sweep
def test_a_drill_that_fails_says_so_and_leaves_nothing(stack: Stack, repository: Path) -> None:
    find = "find /mlruns -name MLmodel -path '*models*' | head -1"
    model = stack.lab.compose("exec", "-T", "mlflow", "sh", "-c", find).strip()
    stack.lab.compose("exec", "-T", "mlflow", "mv", model, "/mlruns/aside")
    try:
        passes(stack.lab.play(BACKUP))
        output = fails(stack.lab.play(BACKUP, drill=True))
        assert "artifacts are not as they were" in output
        assert_nothing_of_a_drill(stack)
    finally:
        stack.lab.compose("exec", "-T", "mlflow", "mv", "/mlruns/aside", model)
    passes(stack.lab.play(BACKUP))


def test_a_drill_takes_nothing_of_somebody_else(stack: Stack, repository: Path) -> None:
    docker("volume", "create", "mlflow-backup-drill_artifacts")
    try:
        output = fails(stack.lab.play(BACKUP, drill=True))
        assert "volume mlflow-backup-drill_artifacts that no drill has left" in output
    finally:
        docker("volume", "rm", "mlflow-backup-drill_artifacts")


def test_snapshot_of_another_project_is_refused(stack: Stack, repository: Path) -> None:
    tags = "--tag=freegee.mlflow_sftp,project=other"
    made = json.loads(restic(repository, "backup", "--json", "/etc/hostname", tags))["snapshot_id"]
    output = fails(stack.lab.play(BACKUP, drill=True, snapshot=made[:12]))
    assert "is of project other on elsewhere, and this is project mlflow-backup on docker-host" in output
    assert_nothing_of_a_drill(stack)


def assert_nothing_of_a_drill(stack: Stack) -> None:
    for kind in ("container", "volume", "network"):
        every = ("--all",) if kind == "container" else ()
        assert docker(kind, "ls", "--quiet", *every, "--filter=name=mlflow-backup-drill") == ""
    assert not stack.lab.stack.with_name("stack-drill").exists()


def test_wrong_password_is_refused(stack: Stack, repository: Path) -> None:
    before, good = own_snapshots(repository), status(stack)["last_good"]
    output = fails(stack.lab.play(BACKUP, mlflow_backup_password="wrong-one"))
    assert "the password does not open the repository" in output
    assert "wrong-one" not in output
    assert own_snapshots(repository) == before
    assert status(stack)["last_good"] == good
    assert "does not open" in status(stack)["failed"]["error"]


def test_a_place_with_other_files_is_refused(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("mine")
    output = fails(stack.lab.play(BACKUP, mlflow_backup_repository=str(tmp_path)))
    assert "holds no repository of restic, but letters" in output
    assert [path.name for path in tmp_path.iterdir()] == ["letters"]


def test_a_repository_that_has_vanished_is_not_made_anew_without_consent(
    stack: Stack, repository: Path
) -> None:
    good, aside = status(stack)["last_good"], repository.with_name("not-mounted")
    repository.rename(aside)
    repository.mkdir()
    try:
        for options in (["--check"], []):
            output = fails(stack.lab.play(BACKUP, *options))
            assert f"There is no repository at {repository}, where the last good backup was" in output
        assert list(repository.iterdir()) == []
        assert status(stack)["last_good"] == good
        passes(stack.lab.play(BACKUP, new_repository=True))
        assert status(stack)["last_good"]["repository_id"] != good["repository_id"]
        passes(stack.lab.play(BACKUP))
    finally:
        shutil.rmtree(repository)
        aside.rename(repository)
    before = own_snapshots(repository)
    assert "There is another repository" in fails(stack.lab.play(BACKUP))
    assert own_snapshots(repository) == before
    passes(stack.lab.play(BACKUP, new_repository=True))
    assert status(stack)["last_good"]["repository_id"] == good["repository_id"]


def test_a_full_disk_is_refused_before_anything_is_written(stack: Stack, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", tmp_path], check=True)
    try:
        output = fails(stack.lab.play(BACKUP, mlflow_backup_repository=str(tmp_path)))
        assert re.search(r"has 1\d\.\d MiB free, and the backup may need", output)
        assert list(tmp_path.rglob("data/*/*")) == []
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_unknown_host_key_is_refused(stack: Stack, tmp_path: Path) -> None:
    for name in ("client", "server"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name]
        subprocess.run(command, check=True)
    pin = f"tajo.host.ch {(tmp_path / 'server.pub').read_text()}"
    output = fails(
        stack.lab.play(
            BACKUP,
            mlflow_backup_repository=f"sftp://freegee@tajo.host.ch:{stack.lab.port}//agent.freegee.ch/artifacts-not",
            mlflow_backup_private_key=(tmp_path / "client").read_text(),
            mlflow_backup_known_hosts=pin,
        )
    )
    assert "host key is unknown or has changed" in output


def test_what_ssh_says_is_told_though_restic_ends_before_it_has_passed_that_on(
    stack: Stack, tmp_path: Path
) -> None:
    silent = tmp_path / "restic"
    silent.write_text(
        "#!/bin/sh\necho 'Fatal: unable to start the sftp session, error: broken pipe' >&2\nexit 1\n"
    )
    silent.chmod(0o755)
    access = Access(Repository.at("sftp:nobody@127.0.0.1:/backup"), PASSWORD, restic_image())
    home = Home("mlflow-backup", tmp_path, credentials=(f"{tmp_path}:/nothing",), config_dir="/nothing")
    (tmp_path / "ssh_config").touch()
    with opened(home, access, None) as restic, pytest.raises(CutoverError, match="nothing listens there"):
        restic.call("list", "locks", "--no-lock", volumes=[f"{silent}:/usr/bin/restic:ro"])


def test_half_done_cutover_is_refused(stack: Stack, repository: Path) -> None:
    record = UpgradeRecord(
        id="20260101T000000Z",
        state="cutting",
        source=Version(image="a"),
        target=Version(image="b"),
        store=Store.at("local", "direct", "/mlruns"),
    )
    directory = stack.lab.stack / "switches" / record.id
    directory.mkdir(parents=True)
    write(record, directory)
    try:
        before = own_snapshots(repository)
        output = fails(stack.lab.play(BACKUP))
        assert "begun at 20260101T000000Z is half done" in output
        assert own_snapshots(repository) == before
    finally:
        (directory / record.file()).unlink()
        directory.rmdir()


@pytest.mark.sweep
def test_the_lock_of_a_living_process_is_named_and_stays(stack: Stack, repository: Path) -> None:
    name = "mlflow-backup-other"
    slow = ("check", "--read-data", "--limit-download=1")
    options = (f"--name={name}", "--detach")
    restic(repository, *slow, host="nas", options=options)
    try:
        wait_for_lock(repository)
        output = fails(stack.lab.play(BACKUP))
        assert re.search(r"is locked by process \d+ of root on nas, since", output)
        # Whoever ended without unlocking cannot be told apart from elsewhere, until half an hour has passed.
        docker("kill", name)
        assert "root on nas" in fails(stack.lab.play(BACKUP))
        assert any((repository / "locks").iterdir())
    finally:
        docker("rm", "--force", name)
        restic(repository, "unlock", "--remove-all")


@pytest.mark.sweep
def test_the_lock_of_a_backup_that_was_killed_goes_with_the_next_one(stack: Stack, repository: Path) -> None:
    killed = threading.Event()

    def kill() -> None:
        wait_for_lock(repository)
        docker("kill", "mlflow-backup-backup")
        killed.set()

    thread = threading.Thread(target=kill)
    thread.start()
    fails(stack.lab.play(BACKUP))
    thread.join()
    assert killed.is_set()
    assert any((repository / "locks").iterdir())
    output = passes(stack.lab.play(BACKUP))
    assert re.search(
        r"Removed the lock of process \d+ of root on mlflow-backup-\S+, since .*, which is dead", output
    )
    assert list((repository / "locks").iterdir()) == []


def wait_for_lock(repository: Path) -> None:
    end = time.monotonic() + 120
    while not any((repository / "locks").iterdir()):
        assert time.monotonic() < end, "nobody locks the repository"
        time.sleep(0.01)


def test_the_documented_commands_restore_the_database(stack: Stack, repository: Path, tmp_path: Path) -> None:
    snapshot = status(stack)["last_good"]["snapshot"]
    options = (f"--volume={tmp_path}:/out",)
    restic(repository, "restore", snapshot, "--target=/out", "--include=/backup/database", options=options)
    run = stack.log()
    stack.lab.compose("stop", "mlflow")
    (backup,) = (tmp_path / "backup/database").iterdir()
    command = ["docker", "compose", "run", "--rm", "--no-deps", "-T", "mlflow", "mlflow-sftp", "restore", "-"]
    with backup.open("rb") as file:
        subprocess.run(command, cwd=stack.lab.stack, stdin=file, check=True)
    stack.lab.compose("up", "--detach", "--wait")
    assert stack.read() == stack.content
    # Of a time that the database does not know any more.
    with pytest.raises(AssertionError, match=run):
        stack.read_text(run)


def back_up_and_log(stack: Stack) -> str:
    """Have a snapshot, and a run that came in since; return its id."""
    records = [
        json.loads(path.read_text()) for path in sorted(stack.lab.stack.glob("switches/*/restore.json"))
    ]
    if records and records[-1]["state"] in ("cutting", "opening", "undoing"):
        passes(stack.lab.play(RESTORE, resume="undo", discard=True))
    passes(stack.lab.play(BACKUP))
    return stack.log()


def nested_file(stack: Stack) -> str:
    find = "find /mlruns -name nested.txt"
    return stack.lab.compose("exec", "-T", "mlflow", "sh", "-c", find).strip()


def log_and_lose_table(stack: Stack) -> str:
    """Log a run whose table the store loses before any snapshot has it; return where the table was."""
    code = (
        "import mlflow; run = mlflow.start_run(); mlflow.log_table({'a': [1]}, 'table.json'); mlflow.end_run();"
        "print(run.info.run_id)"
    )
    run = stack.lab.compose("exec", "-T", "experiment-service", "python", "-c", code).splitlines()[-1]
    table = f"/mlruns/0/{run}/artifacts/table.json"
    stack.lab.compose("exec", "-T", "mlflow", "rm", table)
    return table


def test_restore_into_the_stack_gives_up_what_came_in_and_brings_back_what_is_missing(
    stack: Stack, repository: Path
) -> None:
    table = log_and_lose_table(stack)
    run, lost = back_up_and_log(stack), nested_file(stack)
    kept = stack.lab.compose("exec", "-T", "mlflow", "sha256sum", lost)
    stack.lab.compose("exec", "-T", "mlflow", "rm", lost)
    containers, records = stack.lab.containers(), sorted(stack.lab.stack.glob("switches/*"))
    output = passes(stack.lab.play(RESTORE, "--check", "--diff"))
    assert "Given up: 1 runs came in since" in output
    assert f"the store /mlruns lacks: 1, 6 B, such as {lost.removeprefix('/mlruns/')}" in output
    place = Path(table).parent.relative_to("/mlruns")
    nowhere = f"with files that neither the store nor the snapshot has: 1, such as {place}"
    assert f"Models and tables that MLflow knows now {nowhere}" in output
    output = fails(stack.lab.play(RESTORE, "-vvv"))
    assert "1 runs came in since, which the restore of snapshot" in output
    assert "-e discard=true" in output
    assert PASSWORD not in output
    assert (stack.lab.containers(), sorted(stack.lab.stack.glob("switches/*"))) == (containers, records)
    assert stack.read_text(run) == "since"
    output = passes(stack.lab.play(RESTORE, discard=True, verify_runs="all"))
    assert "Brought back to /mlruns: 1 artifacts" in output
    assert f"Models and tables of the snapshot {nowhere}" in output
    stack.lab.compose("exec", "-T", "mlflow", "touch", table)
    assert re.search(r"MLflow goes on with the snapshot \w{8} of .*; MLflow was closed for [\d.]+ s", output)
    assert stack.lab.compose("exec", "-T", "mlflow", "sha256sum", lost) == kept
    assert stack.read() == stack.content
    with pytest.raises(AssertionError, match=run):
        stack.read_text(run)
    passes(stack.lab.play(RESTORE, undo=True))
    assert stack.read_text(run) == "since"
    assert stack.read() == stack.content


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("step", "resume", "after"),
    [
        ("Restore the snapshot", "undo", 0.0),
        ("Restore the snapshot", "finish", 0.0),
        ("Try the next server", "undo", 1.0),
        ("Open MLflow", "finish", 2.0),
    ],
)
def test_a_restore_that_was_killed(
    stack: Stack, repository: Path, step: str, resume: str, after: float
) -> None:
    run = back_up_and_log(stack)
    stack.lab.play_until(step, RESTORE, after=after, discard=True)
    passes(stack.lab.play(RESTORE, resume=resume, discard=True))
    assert stack.read() == stack.content
    if resume == "undo":
        assert stack.read_text(run) == "since"
    else:
        with pytest.raises(AssertionError, match=run):
            stack.read_text(run)


def test_restore_on_a_host_that_has_nothing_but_the_repository(stack: Stack, repository: Path) -> None:
    passes(stack.lab.play(BACKUP))
    passes(stack.lab.play("playbooks/teardown.yml", keep_data=False))
    assert not stack.lab.stack.exists()
    assert docker("volume", "ls", "--quiet", "--filter=name=mlflow-backup_") == ""
    output = passes(stack.lab.play(RESTORE, "--skip-tags", "verify"))
    assert "Restored" in output
    assert not (stack.lab.stack / "backup/restoring").exists()
    assert stack.read() == stack.content
    passes(stack.lab.play(BACKUP))
