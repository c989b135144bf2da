"""A stack that a swarm serves is tidied up, gets the content of a backup, and comes back where its home has lost it.

The tests of this file are steps of one story, on one swarm of two machines; the database is on the one that is not the
stack's home.
"""

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPResponse
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import write
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import (
    UpgradeRecord,
    Version,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

from tests.support.aged import DAY, load_image, stamp
from tests.support.ansible import REPOSITORY, Outcome, run_playbook
from tests.support.docker import docker
from tests.support.front import SEARCH, Asking, connect
from tests.support.lab import Lab
from tests.support.machines import Machine, machines
from tests.support.stack import fails, passes
from tests.support.swarm import Account, swarm_variables

pytestmark = [
    pytest.mark.docker,
    pytest.mark.sweep,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes other machines out of namespaces"),
]

NAME = "mlflow.restore.example"
PORT = 15840
BACKUP, RESTORE, TIDY = (f"playbooks/{name}.yml" for name in ("backup", "restore", "tidy"))
SERVICE = "mlflow_mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
API = "/api/2.0/mlflow"
PASSWORD = "a-password-that-nobody-may-see"
ASKED_A_SECOND = 10
STARTED_SECONDS = 240
HALF_DONE = ("cutting", "opening", "undoing")


@dataclass(frozen=True)
class Answer:
    """What a gateway has said, and when."""

    at: float
    status: int
    retry_after: str


@dataclass(frozen=True)
class Site:
    """Two machines, the first of them the manager and the stack's home, and an SFTP account on this one."""

    directory: Path
    machines: dict[str, Machine]
    account: Account

    @property
    def home(self) -> Machine:
        return self.machines["n1"]

    @property
    def stack(self) -> Path:
        return self.directory / "stack"

    @property
    def store(self) -> Path:
        return self.account.root / "artifacts"

    def command(self, playbook: str, *options: str, **variables: object) -> list[str]:
        """What is run, with options and variables."""
        file = self.directory / "hosts.json"
        file.write_text(json.dumps({"all": {"children": self._groups(), "vars": self._variables()}}))
        return [
            str(REPOSITORY / playbook),
            "-i",
            str(file),
            *options,
            "--extra-vars",
            json.dumps(variables),
        ]

    def play(self, playbook: str, *options: str, **variables: object) -> Outcome:
        path, *arguments = self.command(playbook, *options, **variables)
        return run_playbook(Path(path), *arguments, timeout=1500)

    def play_until(self, step: str, after: float, **variables: object) -> None:
        """Run the restore; `after` seconds in a `step` of it, kill (-9) all that it started."""
        for left in self.stack.glob("switches/*/step"):
            left.unlink()
        command = [str(Path(sys.executable).parent / "ansible-playbook"), *self.command(RESTORE, **variables)]
        with (
            (self.directory / "killed.log").open("w+") as output,
            subprocess.Popen(
                command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            ) as process,
        ):
            while not self.is_at(step):
                assert process.poll() is None, (self.directory / "killed.log").read_text()[-5000:]
                time.sleep(0.01)
            time.sleep(after)
            os.killpg(process.pid, signal.SIGKILL)
            holder = (self.stack / "switches/.lock").read_text()
            with suppress(AssertionError):
                self.home.run("kill", "-9", holder.partition("process ")[2].partition(",")[0])
            process.wait()

    def is_at(self, step: str) -> bool:
        return any(path.read_text().strip() == step for path in self.stack.glob("switches/*/step"))

    @contextmanager
    def answer(
        self, machine: str, method: str, path: str, body: bytes | None = None
    ) -> Iterator[HTTPResponse]:
        """What MLflow answers through the gateway of a machine."""
        context = ssl.create_default_context(cafile=str(self.directory / "gateway/ca.crt"))
        connection = connect(NAME, PORT, context, timeout=60, address=self.machines[machine].host)
        try:
            headers = {"Host": f"{NAME}:{PORT}", "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            yield connection.getresponse()
        finally:
            connection.close()

    def ask(self, machine: str, method: str, path: str, body: Any = None) -> Any:
        with self.answer(machine, method, path, json.dumps(body).encode() if body else None) as answer:
            text = answer.read().decode()
            assert answer.status == 200, (machine, answer.status, text)
            return json.loads(text)

    def search(self, machine: str) -> Answer:
        with self.answer(machine, "GET", SEARCH) as answer:
            answer.read()
            return Answer(time.monotonic(), answer.status, answer.getheader("Retry-After", ""))

    def asking(self) -> Asking[Answer]:
        """Search through both machines many times a second."""
        return Asking([(name, partial(self.search, name)) for name in self.machines], ASKED_A_SECOND)

    def log(self) -> str:
        """Log a run with a file through both machines; return its id."""
        body = {"experiment_id": "0", "start_time": int(time.time() * 1000)}
        run = self.ask("n1", "POST", f"{API}/runs/create", body)["run"]["info"]
        place = f"{ARTIFACTS}/{_place(run['run_id'])}"
        with self.answer("n2", "PUT", place, run["run_id"].encode()) as answer:
            assert answer.status == 200, answer.read()
        ended = {"run_id": run["run_id"], "status": "FINISHED", "end_time": int(time.time() * 1000)}
        self.ask("n1", "POST", f"{API}/runs/update", ended)
        return str(run["run_id"])

    def delete(self, run: str, days: int) -> None:
        """Delete a run, so many days ago."""
        self.ask("n1", "POST", f"{API}/runs/delete", {"run_id": run})
        milliseconds = days * DAY * 1000
        self.sql(f"UPDATE runs SET deleted_time = deleted_time - {milliseconds} WHERE run_uuid = '{run}'")

    def runs(self) -> set[str]:
        """Ids of the runs that nobody has deleted."""
        body = {"experiment_ids": ["0"], "max_results": 1000}
        found = self.ask("n2", "POST", f"{API}/runs/search", body)
        return {each["info"]["run_id"] for each in found.get("runs", ())}

    def read(self, run: str) -> str:
        """What the file of a run says, which is the run's id."""
        with self.answer("n2", "GET", f"{ARTIFACTS}/{_place(run)}") as answer:
            return answer.read().decode() if answer.status == 200 else f"status {answer.status}"

    def sql(self, statement: str) -> str:
        """Execute an SQL statement where the database is."""
        (container,) = self.containers("n2", "mlflow_postgres")
        command = ("docker", "exec", container, "psql", "--no-psqlrc", "-tAc", statement)
        return self.machines["n2"].run(*command)

    def containers(self, machine: str, service: str = SERVICE) -> list[str]:
        """Ids of the running containers of a service on a machine."""
        label = f"--filter=label=com.docker.swarm.service.name={service}"
        return self.machines[machine].run("docker", "ps", "--quiet", label).split()

    def description(self) -> dict[str, Any]:
        return dict(json.loads(self.home.run("docker", "service", "inspect", SERVICE))[0]["Spec"])

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.stack.glob("switches/*/restore.json"))]

    def is_served(self) -> bool:
        state = self.home.run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}")
        shown = ("docker", "service", "ls", "--format", "{{.Name}}")
        return state == "active" and SERVICE in self.home.run(*shown).split()

    def answers(self) -> bool:
        """Whether MLflow answers through each machine."""
        try:
            return all(self.search(name).status == 200 for name in self.machines)
        except OSError:
            return False

    def _groups(self) -> dict[str, Any]:
        hosts = {name: each.variables for name, each in self.machines.items()}
        labelled = {**hosts["n2"], "docker_swarm_labels": {"mlflow.database": "true"}}
        return {
            "docker_hosts": {"hosts": {"n1": {}}},
            "swarm_managers": {"hosts": {"n1": hosts["n1"]}},
            "swarm_workers": {"hosts": {"n2": labelled}},
            "sftp_hosts": {"hosts": {"tajo.host.ch": {}}},
        }

    def _variables(self) -> dict[str, object]:
        return {
            **swarm_variables(self.directory, self.account, NAME, PORT, 2),
            "mlflow_backup_repository": str(self.directory / "repository"),
            "mlflow_backup_password": PASSWORD,
            "mlflow_backup_include_account": True,
        }


def _place(run: str) -> str:
    return f"0/{run}/artifacts/deep/er/text.txt"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("restore")
    lab = Lab("mlflow-swres", directory / "lab", PORT + 10)
    images: list[str] = []
    for playbook in ("server_image", "restic_image"):
        (found,) = re.findall(r"images=([^\"]+)\"", passes(lab.play(f"tests/playbooks/{playbook}.yml")))
        images += str(found).split()
    with machines("mlflow-swres", "10.99.0", "n1", "n2") as made:
        # How a playbook brings images to nodes is the story of test_swarm_serving.py.
        for machine in made:
            machine.load(*images)
        with Account(directory / "account", made[0].gateway) as account:
            yield Site(directory, {each.name: each for each in made}, account)


@pytest.fixture
def served(site: Site) -> Site:
    """What each step begins with: both machines answer, and no restore is half done."""
    if not site.is_served():
        passes(site.play("site.yml", "--skip-tags", "verify"))
    records = site.records()
    if records and records[-1]["state"] in HALF_DONE:
        passes(site.play(RESTORE, resume="undo", discard=True))
    wait_for_answers(site)
    return site


def wait_for_answers(site: Site) -> None:
    deadline = time.monotonic() + STARTED_SECONDS
    while not site.answers():
        assert time.monotonic() < deadline, "MLflow does not answer through every machine"
        time.sleep(1)


@dataclass(frozen=True)
class Logged:
    """Runs of which a backup knows, and one that came in since."""

    before: set[str]
    since: str


@pytest.fixture
def logged(served: Site) -> Logged:
    for _ in range(3):
        served.log()
    before = served.runs()
    passes(served.play(BACKUP))
    return Logged(before, served.log())


def changes_nothing(output: str) -> bool:
    return "changed=0" in output and not re.search(r"changed=[1-9]", output)


def outage(asking: Asking[Answer]) -> float:
    """How long nobody was let in, at most; who was not let in was told when to come again."""
    refused = [each for each in asking.answers if each.status != 200]
    assert {each.status for each in refused} <= {503}, refused
    assert all(each.retry_after for each in refused)
    let_in = sorted(each.at for each in asking.answers if each.status == 200)
    return max(after - before for before, after in pairwise(let_in))


def leave_download(site: Site, machine: str) -> str:
    """Leave what a server of a machine leaves that is killed while somebody looks at an artifact; return its place."""
    (server,) = site.containers(machine)
    place = f"/tmp/tmp{os.urandom(4).hex()}"
    script = f"mkdir {place}; echo artifact >{place}/data; touch -d '3 days ago' {place}/data {place}"
    site.machines[machine].run("docker", "exec", server, "sh", "-c", script)
    return place


def has_download(site: Site, machine: str, place: str) -> bool:
    (server,) = site.containers(machine)
    found = site.machines[machine].run("docker", "exec", server, "find", "/tmp", "-path", place)
    return bool(found)


def leave_image(site: Site, days: float) -> str:
    """Leave an image of the stack, made so many days ago, on both machines; return its name."""
    name = f"freegee/mlflow-swres-test:{os.urandom(4).hex()}"
    load_image(name, {"freegee.mlflow_sftp.owner": str(site.stack)}, days)
    for machine in site.machines.values():
        machine.load(name)
    docker("image", "rm", name)
    return name


def images_of(site: Site, machine: str) -> set[str]:
    shown = ("docker", "image", "ls", "--format={{.Repository}}:{{.Tag}}")
    return set(site.machines[machine].run(*shown).split())


def leave_upgrade(site: Site, days: float, image: str, state: str) -> Path:
    """Leave the record of an upgrade of the swarm whose way back leads to an image."""
    identifier = site.home.run("docker", "image", "inspect", "--format={{.Id}}", image)
    version = Version(image=identifier, mlflow="3.17.2")
    store = Store.at("sftp", "proxied", "sftp://somebody@tajo.host.ch/artifacts")
    record = UpgradeRecord(id=stamp(days), source=version, target=version, store=store, state=state)
    directory = site.stack / "switches" / record.id
    (directory / "work").mkdir(parents=True)
    description = site.description()
    description["TaskTemplate"]["ContainerSpec"]["Image"] = identifier
    (directory / "service.json").write_text(json.dumps(description))
    write(record, directory)
    return directory


def test_what_piles_up_goes_from_every_node(served: Site) -> None:
    old, young, kept = (served.log() for _ in range(3))
    served.delete(old, 100)
    served.delete(young, 1)
    upload = served.store / ".mlflow-sftp-0123456789abcdef.part"
    upload.write_bytes(b"left behind")
    os.utime(upload, (time.time() - 100 * DAY,) * 2)
    downloads = {name: leave_download(served, name) for name in served.machines}
    images = {days: leave_image(served, days) for days in (80, 100, 120, 140)}
    gone, last = (
        leave_upgrade(served, 130, images[140], "undone"),
        leave_upgrade(served, 110, images[120], "done"),
    )
    servers = {name: served.containers(name) for name in served.machines}

    output = passes(served.play(TIDY, "--check", "--diff"))
    assert "1 deleted runs, models and experiments would be removed" in output
    # On each of the machines.
    assert output.count("1 temporary downloads of the server would be removed") == 2
    assert "2 images would be removed" in output
    # The second machine has the files of the first one, and finds the record there that would have gone by then.
    assert "1 images would be removed" in output
    assert output.count(f"stays: {images[120]}: the upgrade {last.name} goes back to it") == 2
    assert served.read(old) == old
    assert all(has_download(served, name, place) for name, place in downloads.items())
    assert all(images_of(served, name) >= {*images.values()} for name in served.machines)
    assert gone.exists()

    output = passes(served.play(TIDY))
    assert "1 deleted runs, models and experiments removed" in output
    assert not [name for name, place in downloads.items() if has_download(served, name, place)]
    for name in served.machines:
        assert images_of(served, name) & {*images.values()} == {images[80], images[120]}
    assert [path.exists() for path in (upload, gone, last)] == [False, False, True]
    assert not list(served.store.rglob(f"*{old}*"))
    assert served.read(young) == young
    assert served.read(kept) == kept
    assert {name: served.containers(name) for name in served.machines} == servers
    assert changes_nothing(passes(served.play(TIDY)))
    for machine in served.machines.values():
        machine.run("docker", "image", "rm", images[80], images[120])
    shutil.rmtree(last)


def test_a_schedule_tidies_the_home_without_a_controller(served: Site) -> None:
    passes(served.play(TIDY, mlflow_tidy_schedule="daily"))
    run = served.log()
    served.delete(run, 100)
    downloads = {name: leave_download(served, name) for name in served.machines}
    program = served.stack / "tidy"
    output = served.home.run(
        *("env", f"PYTHONPATH={program / 'program'}", "PYTHONDONTWRITEBYTECODE=1", "python3", "-m"),
        "ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.command",
        str(program / "schedule.json"),
    )
    assert "1 deleted runs, models and experiments removed" in output
    assert not list(served.store.rglob(f"*{run}*"))
    left = [name for name, place in downloads.items() if has_download(served, name, place)]
    assert left == ["n2"]
    passes(served.play(TIDY, mlflow_tidy_schedule=""))
    assert not (program / "schedule.json").exists()
    assert not has_download(served, "n2", downloads["n2"])


def test_the_plan_says_what_is_given_up_and_touches_nothing(served: Site, logged: Logged) -> None:
    before, records = served.description(), served.records()
    output = passes(served.play(RESTORE, "--check", "--diff"))
    assert "Given up: 1 runs came in since" in output
    assert "A real run would now close MLflow" in output
    outcome = served.play(RESTORE, "-vvv")
    output = fails(outcome)
    assert "1 runs came in since, which the restore of snapshot" in output
    assert "-e discard=true" in output
    assert PASSWORD not in outcome.output
    assert (served.description(), served.records()) == (before, records)
    assert served.read(logged.since) == logged.since


def test_what_somebody_else_has_changed_is_not_closed(served: Site, logged: Logged) -> None:
    served.home.run("docker", "service", "scale", f"{SERVICE}=1")
    try:
        output = fails(served.play(RESTORE, discard=True))
        assert f"{SERVICE} has 1 servers, and mlflow_stack_replicas is 2: somebody has scaled it" in output
        assert "Nothing was changed" in output
    finally:
        served.home.run("docker", "service", "scale", f"{SERVICE}=2")


def test_restore_and_undo(served: Site, logged: Logged) -> None:
    lost = min(logged.before)
    (file,) = served.store.glob(f"0/{lost}/artifacts/deep/er/text.txt")
    file.unlink()
    before = served.description()
    with served.asking() as asking:
        output = passes(served.play(RESTORE, discard=True, verify_runs="all"))
    (told,) = re.findall(r"MLflow was closed for ([\d.]+) s", output)
    seconds = outage(asking)
    print(f"closed for {told} s as told, {seconds:.1f} s as asked, {asking.asked} asked, {asking.errors}")
    assert asking.errors == []
    assert seconds < float(told) + 5
    assert "1 artifacts" in output
    assert served.runs() == logged.before
    assert served.read(lost) == lost
    assert served.description() == before
    kept = served.stack / "switches" / served.records()[-1]["id"] / "work/database.backup"
    assert kept.stat().st_size > 0

    passes(served.play(RESTORE, undo=True))
    assert served.runs() == {*logged.before, logged.since}
    assert served.read(logged.since) == logged.since
    assert served.description() == before


def test_undo_takes_consent_where_runs_were_logged_since(served: Site, logged: Logged) -> None:
    passes(served.play(RESTORE, discard=True))
    later = served.log()
    output = fails(served.play(RESTORE, undo=True))
    assert "1 runs" in output
    assert "discard=true" in output
    assert later in served.runs()
    passes(served.play(RESTORE, undo=True, discard=True))
    assert served.runs() == {*logged.before, logged.since}
    kept = served.stack / "switches" / served.records()[-1]["id"] / "work/database.after"
    assert kept.stat().st_size > 0


@contextmanager
def ending_at(site: Site, step: str) -> Iterator[None]:
    """The account's server ends when the restore is at a step, and is there again afterwards."""
    enough = threading.Event()

    def watch() -> None:
        while not enough.wait(0.01):
            if site.is_at(step):
                site.account.kill()
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        enough.set()
        watcher.join()
        site.account.start()


def test_a_restore_that_fails_leaves_everything_as_it_was(served: Site, logged: Logged) -> None:
    before = served.description()
    with ending_at(served, "Migrate the database"):
        output = fails(served.play(RESTORE, discard=True))
    assert "Try the next server" in output
    assert "was undone: MLflow answers" in output
    assert served.records()[-1]["state"] == "undone"
    assert served.description() == before
    wait_for_answers(served)
    assert served.runs() == {*logged.before, logged.since}
    assert served.read(logged.since) == logged.since


@pytest.mark.parametrize(
    ("step", "resume", "after"),
    [
        ("Close MLflow", "undo", 0.5),
        ("Restore the snapshot", "finish", 0.0),
        ("Restore the snapshot", "undo", 0.5),
        ("Try the next server", "undo", 1.0),
        ("Open MLflow", "finish", 2.0),
    ],
)
def test_killed(served: Site, logged: Logged, step: str, resume: str, after: float) -> None:
    before = served.description()
    served.play_until(step, after, discard=True)
    assert served.records()[-1]["state"] in HALF_DONE
    output = fails(served.play(RESTORE, discard=True))
    assert "resume=finish" in output
    passes(served.play(RESTORE, resume=resume, discard=True))
    assert served.description() == before
    wait_for_answers(served)
    since = {logged.since} if resume == "undo" else set()
    assert served.runs() == {*logged.before, *since}
    assert all(served.read(run) == run for run in logged.before)


def test_a_home_without_the_stack_gets_it_back(served: Site, logged: Logged) -> None:
    passes(served.play("playbooks/teardown.yml", keep_data=False))
    assert not served.stack.exists()
    assert served.machines["n2"].run("docker", "volume", "ls", "--quiet") == ""
    output = passes(served.play(RESTORE, "--check"))
    assert "Restore a snapshot to this host, which has no stack" in output
    assert "deploy the stack, and give its database the content of the snapshot" in output
    assert not served.stack.exists()
    output = passes(served.play(RESTORE, "--skip-tags", "verify"))
    assert "Restored the files of" in output
    assert "MLflow goes on with the snapshot" in output
    assert not (served.stack / "backup/restoring").exists()
    wait_for_answers(served)
    assert served.runs() == logged.before
    assert all(served.read(run) == run for run in logged.before)
    assert changes_nothing(passes(served.play("site.yml", "--skip-tags", "verify")))


def test_a_swarm_that_has_kept_its_database_is_not_given_an_older_one(served: Site, logged: Logged) -> None:
    """The home has lost its directory, and nothing else."""
    lost = served.directory / "lost"
    served.stack.rename(lost)
    try:
        output = fails(served.play(RESTORE, "--skip-tags", "verify"))
    finally:
        assert (served.stack / ".env").exists()
    assert "1 runs came in since, which the restore of snapshot" in output
    wait_for_answers(served)
    assert served.runs() == {*logged.before, logged.since}
    assert changes_nothing(passes(served.play("site.yml", "--skip-tags", "verify")))
