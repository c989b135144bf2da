"""A stack on a swarm of two machines is backed up, restored beside itself, and given other keys, while it serves.

The tests of this file are steps of one story, on one swarm. The second machine has the database.
"""

import json
import os
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPResponse
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible import REPOSITORY, Outcome, run_module, run_playbook
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

NAME = "mlflow.keep.example"
PORT = 15640
BACKUP, ROTATE = "playbooks/backup.yml", "playbooks/rotate.yml"
PASSWORD = "a-password-that-nobody-may-see"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
API = "/api/2.0/mlflow"
ASKED_A_SECOND = 10
ANSWER_SECONDS = 60
STARTED_SECONDS = 180
# How long servers may not reach a database that begins anew.
DATABASE_SECONDS = 60


@dataclass
class Site:
    """Two machines, the first one the stack's home, and an SFTP account on this one."""

    directory: Path
    machines: dict[str, Machine]
    account: Account
    settings: dict[str, object] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def home(self) -> Machine:
        return self.machines["n1"]

    @property
    def stack(self) -> Path:
        return self.directory / "stack"

    @property
    def key(self) -> Path:
        return self.stack / ".secrets/mlflow_sftp_key/id_ed25519"

    def play(self, playbook: str, *options: str, **variables: object) -> Outcome:
        file = self.directory / "hosts.json"
        file.write_text(json.dumps({"all": {"children": self._groups(), "vars": self._variables()}}))
        extra = ("--extra-vars", json.dumps({**self.settings, **variables}))
        return run_playbook(REPOSITORY / playbook, "-i", str(file), *options, *extra, timeout=1500)

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
            "sftp_target_authorized_keys_file": str(self.account.authorized_keys),
            "mlflow_backup_repository": str(self.directory / "repository"),
            "mlflow_backup_password": PASSWORD,
        }

    @contextmanager
    def answer(
        self, machine: str, method: str, path: str, body: bytes | None = None
    ) -> Iterator[HTTPResponse]:
        """What MLflow answers through the gateway of a machine."""
        context = ssl.create_default_context(cafile=str(self.directory / "gateway/ca.crt"))
        address = self.machines[machine].host
        connection = connect(NAME, PORT, context, timeout=ANSWER_SECONDS, address=address)
        try:
            headers = {"Host": f"{NAME}:{PORT}", "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            yield connection.getresponse()
        finally:
            connection.close()

    def ask(self, machine: str, method: str = "GET", path: str = SEARCH, body: Any = None) -> Any:
        with self.answer(machine, method, path, json.dumps(body).encode() if body else None) as answer:
            text = answer.read().decode()
            assert answer.status == 200, (machine, answer.status, text)
            return json.loads(text)

    def upload(self, machine: str) -> str:
        """Have a server write a file to the account; return its path."""
        path = f"0/{next(self._numbers)}/artifacts/number.txt"
        with self.answer(machine, "PUT", f"{ARTIFACTS}/{path}", path.encode()) as answer:
            text = answer.read().decode()
            assert answer.status == 200, (machine, answer.status, text)
        return path

    def read(self, path: str) -> str:
        with self.answer("n2", "GET", f"{ARTIFACTS}/{path}") as answer:
            assert answer.status == 200
            return answer.read().decode()

    def log(self) -> str:
        """Log a run with a file through both machines; return its id."""
        body = {"experiment_id": "0", "start_time": int(time.time() * 1000)}
        run = self.ask("n1", "POST", f"{API}/runs/create", body)["run"]["info"]
        place = str(run["artifact_uri"]).removeprefix("mlflow-artifacts:/")
        with self.answer("n2", "PUT", f"{ARTIFACTS}/{place}/a.txt", run["run_id"].encode()) as answer:
            assert answer.status == 200, answer.read()
        ended = {"run_id": run["run_id"], "status": "FINISHED", "end_time": int(time.time() * 1000)}
        self.ask("n1", "POST", f"{API}/runs/update", ended)
        return str(run["run_id"])

    def asking(self) -> Asking[Any]:
        """Search, and have files written, through both machines many times a second."""
        questions = [
            *((f"search {name}", partial(self.ask, name)) for name in self.machines),
            *((f"upload {name}", partial(self.upload, name)) for name in self.machines),
        ]
        return Asking(questions, ASKED_A_SECOND)

    def listed(self, kind: str, *options: str) -> list[str]:
        """Names of what the swarm has of a kind."""
        return self.home.run("docker", kind, "ls", "--format", "{{.Name}}", *options).split()

    def is_served(self) -> bool:
        state = self.home.run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}")
        return state == "active" and "mlflow_mlflow" in self.listed("service")

    def containers(self) -> list[str]:
        """Ids of the tasks of all services."""
        shown = ["docker", "service", "ps", "--filter=desired-state=running", "--quiet"]
        return sorted(self.home.run(*shown, *self.listed("service")).split())

    def state(self) -> dict[str, object]:
        return {
            "tasks": self.containers(),
            "secrets": sorted(self.listed("secret")),
            "key": self.key.read_text(),
            "authorized": self.account.authorized_keys.read_text(),
            "files": sorted(str(path) for path in (self.stack / ".secrets").rglob("*")),
        }

    def login(self, key: Path) -> str:
        """Log in to the account with a key; return the cause of a refusal, or nothing."""
        options = {
            "host": "tajo.host.ch",
            "port": self.account.port,
            "address": self.account.host,
            "user": self.account.user,
            "private_key_file": str(key),
            "known_hosts_file": str(self.stack / "mlflow/known_hosts"),
            "fail_on_error": False,
        }
        return str(run_module("sftp_check", options).result.get("cause", ""))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the images that the swarm and its backups run, on this machine's engine."""
    lab = Lab("mlflow-keep", tmp_path_factory.mktemp("images") / "lab", PORT + 10)
    names: list[str] = []
    for playbook in ("server_image", "restic_image"):
        (found,) = re.findall(r"images=([^\"]+)\"", passes(lab.play(f"tests/playbooks/{playbook}.yml")))
        names += str(found).split()
    return names


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, images: list[str]) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("keep")
    with machines("mlflow-keep", "10.86.0", "n1", "n2") as made:
        # How the second one gets its images is the story of test_swarm_serving.py.
        for machine in made:
            machine.load(*images)
        with Account(directory / "account", made[0].gateway) as account:
            yield Site(directory, {each.name: each for each in made}, account)


@pytest.fixture
def served(site: Site) -> Site:
    """What each step begins with: both machines answer."""
    if not site.is_served():
        passes(site.play("site.yml", "--skip-tags", "verify"))
    deadline = time.monotonic() + STARTED_SECONDS
    while True:
        try:
            for name in site.machines:
                site.upload(name)
        except (OSError, AssertionError):
            assert time.monotonic() < deadline, "MLflow does not answer through every machine"
            time.sleep(1)
        else:
            return site


@pytest.fixture
def backed_up(served: Site) -> Site:
    """A stack with runs and a backup of them."""
    if not (served.stack / "backup.json").exists():
        served.log()
        passes(served.play(BACKUP))
    return served


def changes_nothing(output: str) -> bool:
    return "changed=0" in output and not re.search(r"changed=[1-9]", output)


def last_good(site: Site) -> dict[str, Any]:
    good: dict[str, Any] = json.loads((site.stack / "backup.json").read_text())["last_good"]
    return good


def test_a_backup_while_runs_are_logged(served: Site) -> None:
    output = passes(served.play(BACKUP, "--check"))
    assert "would be made" in output
    assert "database (PostgreSQL), what the swarm serves, .env, .secrets, mlflow, postgres" in output
    assert not (served.directory / "repository").exists()
    enough = threading.Event()
    logged: list[str] = []

    def log() -> None:
        while not enough.is_set():
            logged.append(served.log())

    client = threading.Thread(target=log)
    client.start()
    try:
        outcome = served.play(BACKUP, "-vvv")
    finally:
        enough.set()
        client.join()
    passes(outcome)
    assert PASSWORD not in outcome.output
    runs = last_good(served)["runs"]
    assert 0 < runs[0] <= runs[1] <= len(logged)
    # Nothing is left of what made it, nor a volume that nobody needs.
    assert "backup" not in served.home.run("docker", "ps", "--all", "--format", "{{.Names}}")
    assert "mlflow_artifacts" not in served.home.run("docker", "volume", "ls", "--quiet")


def test_snapshots_are_listed_and_old_ones_forgotten(backed_up: Site) -> None:
    assert "1 snapshots of project mlflow on n1" in passes(backed_up.play(BACKUP, "--check"))
    passes(backed_up.play(BACKUP, mlflow_backup_keep={"last": 1}))
    assert "1 snapshots of project mlflow on n1" in passes(backed_up.play(BACKUP, "--check"))


def test_a_schedule_calls_the_same_without_a_controller(backed_up: Site) -> None:
    passes(backed_up.play(BACKUP, mlflow_backup_schedule="daily"))
    before = last_good(backed_up)["snapshot"]
    program = backed_up.stack / "backup"
    backed_up.home.run(
        *("env", f"PYTHONPATH={program / 'program'}", "PYTHONDONTWRITEBYTECODE=1", "python3", "-m"),
        "ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.command",
        str(program / "schedule.json"),
    )
    assert last_good(backed_up)["snapshot"] != before
    passes(backed_up.play(BACKUP, mlflow_backup_schedule=""))
    assert not (program / "schedule.json").exists()


def test_a_drill_restores_beside_the_swarm_and_removes_what_it_made(backed_up: Site) -> None:
    before = backed_up.state()
    output = passes(backed_up.play(BACKUP, "--check", drill=True))
    assert "which are removed again" in output
    output = passes(backed_up.play(BACKUP, drill=True))
    runs = last_good(backed_up)["runs"][1]
    assert f"knew {runs} runs" in output
    assert f"read back and compared: {runs} runs" in output
    assert backed_up.state() == before
    assert "drill" not in backed_up.home.run("docker", "ps", "--all", "--format", "{{.Names}}")
    assert "drill" not in backed_up.home.run("docker", "volume", "ls", "--quiet")
    assert "drill" not in " ".join(backed_up.listed("network"))
    assert not Path(f"{backed_up.stack}-drill").exists()


def documented(heading: str) -> str:
    """The commands of a section of the page, for a shell on the home."""
    page = (REPOSITORY / "docs/grow.md").read_text()
    return page.partition(f"## {heading}\n")[2].partition("```bash\n")[2].partition("```")[0]


def test_a_snapshot_comes_back_by_hand(backed_up: Site, images: list[str]) -> None:
    runs = last_good(backed_up)["runs"][1]
    restored = backed_up.directory / "restored"
    backed_up.home.run(
        *("docker", "run", "--rm", f"--volume={backed_up.directory}/repository:/repository"),
        *(f"--volume={restored}:/srv/restored", f"--env=RESTIC_PASSWORD={PASSWORD}", images[-1]),
        *("-r", "/repository", "restore", "latest", "--tag", "project=mlflow", "--target", "/srv/restored"),
    )
    since = backed_up.log()
    commands = documented("Restore a swarm's database by hand")
    for there, here in {
        "/opt/mlflow-stack": backed_up.stack,
        "/srv/restored": restored,
        "mlflow_mlflow=3": "mlflow_mlflow=2",
    }.items():
        assert there in commands
        commands = commands.replace(there, str(here))
    backed_up.home.run("sh", "-euc", commands)
    found = backed_up.ask("n2", "POST", f"{API}/runs/search", {"experiment_ids": ["0"], "max_results": 1000})
    assert len(found["runs"]) == runs
    assert since not in [each["info"]["run_id"] for each in found["runs"]]


def test_a_rotation_is_refused_before_anything_changes(served: Site) -> None:
    before = served.state()
    assert "a swarm serves no notebook" in fails(served.play(ROTATE, rotate="ssh_key,notebook_token"))
    output = fails(served.play(ROTATE, "--limit", "n1", rotate="ssh_key"))
    assert "The node n2" in output
    assert "this run cannot ask it" in output
    served.home.run("docker", "service", "scale", "--detach", "mlflow_mlflow=0")
    try:
        output = fails(served.play(ROTATE, rotate="ssh_key"))
        assert "not every container runs" in output
    finally:
        served.home.run("docker", "service", "scale", "mlflow_mlflow=2")
    after = served.state()
    assert {**after, "tasks": []} == {**before, "tasks": []}


def test_check_mode_says_what_a_rotation_would_do(served: Site) -> None:
    before = served.state()
    output = passes(served.play(ROTATE, "--check", "--diff", rotate="ssh_key"))
    assert "is to be replaced by a new one" in output
    assert "A real run would now give the services the new key" in output
    assert served.state() == before


def rotated(site: Site, outcome: Outcome, old: Path) -> str:
    """The old key is refused and in no secret any more, the new one is in use, and nobody was told either."""
    output = passes(outcome)
    for key in (old, site.key):
        lines = [line for line in key.read_text().splitlines() if "PRIVATE KEY" not in line]
        assert not [line for line in lines if line in outcome.output]
    assert site.key.read_text() != old.read_text()
    assert site.login(old) == "auth_refused"
    assert site.login(site.key) == ""
    assert not (site.stack / ".secrets/rotation").exists()
    return output


def copy_of_key(site: Site, directory: Path) -> Path:
    """A copy of the key in use, as a thief has it."""
    copy = directory / "old"
    copy.write_text(site.key.read_text())
    copy.chmod(0o600)
    return copy


def name_new_key(site: Site) -> None:
    """Put the new key into the inventory, as the playbook says."""
    used = Path(str(site.settings.get("sftp_private_key_file", site.account.client_key)))
    site.settings["sftp_private_key_file"] = f"{used}.next"


def test_a_new_key_without_a_failed_request(served: Site, tmp_path: Path) -> None:
    old, secrets = copy_of_key(served, tmp_path), set(served.listed("secret"))
    with served.asking() as asking:
        outcome = served.play(ROTATE, "-vvv", "--diff", rotate="ssh_key")
    assert asking.errors == []
    assert asking.asked > 100
    output = rotated(served, outcome, old)
    assert "2 servers, one after the other" in output
    uploaded = [each for each in asking.answers if isinstance(each, str)]
    assert all(served.read(path) == path for path in uploaded[-20:])
    gone = secrets - set(served.listed("secret"))
    assert sorted(name.rpartition("_")[0] for name in gone) == ["mlflow_id_ed25519", "mlflow_pgpass"]
    name_new_key(served)
    before = served.state()
    assert changes_nothing(passes(served.play("site.yml", "--skip-tags", "verify")))
    assert served.state() == before
    assert served.login(old) == "auth_refused"


@pytest.mark.parametrize("state", ["begun", "installed"])
def test_an_interrupted_rotation_goes_on(served: Site, tmp_path: Path, state: str) -> None:
    old = copy_of_key(served, tmp_path)
    steps = [each for each in ("begun", "installed") if each <= state]
    options = {"directory": str(served.stack), "run": "interrupted"}
    authorized = served.account.authorized_keys
    for step in steps:
        outcome = run_module("mlflow_ssh_key_rotation", {**options, "state": step})
        assert not outcome.failed, outcome.output
    if state == "installed":
        # As it is before the key is installed.
        made = served.stack / ".secrets/rotation/ssh_key.next.pub"
        public = made.read_text() if made.exists() else served.key.with_suffix(".pub").read_text()
        authorized.write_text(authorized.read_text() + public)
    with served.asking() as asking:
        outcome = served.play(ROTATE, rotate="ssh_key")
    assert asking.errors == []
    rotated(served, outcome, old)
    # The key was generated on the home.
    new = tmp_path / "new"
    new.write_text(served.key.read_text())
    new.chmod(0o600)
    kept = served.directory / f"key_{state}"
    kept.write_text(new.read_text())
    kept.chmod(0o600)
    served.settings["sftp_private_key_file"] = str(kept)
    assert changes_nothing(passes(served.play("site.yml", "--skip-tags", "verify")))


def test_another_password_of_the_database(served: Site) -> None:
    file = served.stack / ".secrets/postgres_password"
    old = file.read_text()
    before = served.state()
    passes(served.play(ROTATE, "--check", rotate="database_password"))
    assert served.state() == before
    with served.asking() as asking:
        outcome = served.play(ROTATE, "-vvv", "--diff", rotate="database_password")
    output = passes(outcome)
    assert "the new one is accepted, the old one refused" in output
    assert file.read_text() != old
    assert old not in outcome.output
    assert file.read_text() not in outcome.output
    # While PostgreSQL begins anew, and in no other moment.
    print(f"{len(asking.errors)} of {asking.asked} failed: {asking.errors}")
    times = sorted(each.split()[0] for each in asking.errors)
    assert not times or seconds_between(times[0], times[-1]) < DATABASE_SECONDS, asking.errors
    assert changes_nothing(passes(served.play("site.yml", "--skip-tags", "verify")))
    roles = "SELECT count(*) FROM pg_roles WHERE rolname = 'mlflow_rotation'"
    shown = ("docker", "ps", "--quiet", "--filter=label=com.docker.swarm.service.name=mlflow_postgres")
    database = served.machines["n2"]
    assert database.run("docker", "exec", database.run(*shown), "psql", "-Atc", roles) == "0"


def seconds_between(first: str, last: str) -> float:
    parsed = [time.mktime(time.strptime(f"2000 {each}", "%Y %H:%M:%S")) for each in (first, last)]
    return parsed[1] - parsed[0]


def test_teardown_leaves_nothing(served: Site) -> None:
    passes(served.play("playbooks/teardown.yml", keep_data=False))
    for kind in ("service", "secret", "config"):
        assert served.listed(kind) == []
    for machine in served.machines.values():
        assert machine.run("docker", "volume", "ls", "--quiet") == ""
    assert not served.stack.exists()
