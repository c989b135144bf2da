"""MLflow's own login on a swarm of two machines: the same users for all servers, also while something is changed.

The tests of this file are steps of one story, on one swarm. The second machine has the database.
"""

import json
import os
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPResponse
from typing import Any

import pytest

from tests.e2e.test_swarm_keep import (
    ANSWER_SECONDS,
    API,
    ASKED_A_SECOND,
    BACKUP,
    DATABASE_SECONDS,
    NAME,
    PASSWORD,
    PORT,
    ROTATE,
    STARTED_SECONDS,
    Site,
    changes_nothing,
    last_good,
    seconds_between,
)
from tests.e2e.test_users import (
    ADMIN,
    ALICE,
    AS_ADMIN,
    AS_ALICE,
    AS_BOB,
    BOB,
    REMEMBERED,
    USERS,
    WRONG,
    basic,
)
from tests.support.front import SEARCH, Asking, connect
from tests.support.lab import Lab
from tests.support.machines import machines
from tests.support.monitor import eventually
from tests.support.stack import fails, passes
from tests.support.swarm import Account

pytestmark = [
    pytest.mark.docker,
    pytest.mark.sweep,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes other machines out of namespaces"),
]

SERVERS = "mlflow_mlflow"
# Enough that each server is asked, through each machine.
OFTEN = 6
OFF: dict[str, object] = {
    "mlflow_stack_auth": "none",
    "mlflow_stack_users": [],
    "mlflow_stack_insecure": True,
}
CAROL = ("carol", "carol-Yt5-password")
Who = tuple[str, str] | None


class LoginSite(Site):
    """A swarm of two servers that ask who somebody is."""

    churn: str = ""
    run: str = ""

    def _variables(self) -> dict[str, object]:
        return {
            **super()._variables(),
            "mlflow_stack_insecure": False,
            "mlflow_stack_auth": "basic",
            "mlflow_stack_auth_admin_password": ADMIN,
            "mlflow_stack_auth_cache_ttl": REMEMBERED,
            "mlflow_stack_users": USERS,
        }

    @contextmanager
    def answer(
        self, machine: str, method: str, path: str, body: bytes | None = None, who: Who = AS_ADMIN
    ) -> Iterator[HTTPResponse]:
        context = ssl.create_default_context(cafile=str(self.directory / "gateway/ca.crt"))
        address = self.machines[machine].host
        connection = connect(NAME, PORT, context, timeout=ANSWER_SECONDS, address=address)
        try:
            headers = {"Host": f"{NAME}:{PORT}", "Content-Type": "application/json"}
            connection.request(
                method, path, body, headers | ({"Authorization": basic(who)} if who is not None else {})
            )
            yield connection.getresponse()
        finally:
            connection.close()

    def status(self, machine: str, path: str, who: Who, body: Any = None) -> int:
        text = json.dumps(body).encode() if body else None
        with self.answer(machine, "POST" if body else "GET", path, text, who) as answer:
            answer.read()
            return answer.status

    def statuses(self, path: str, who: Who) -> set[int]:
        """What each machine's gateway answers, asked so often that each server was."""
        return {self.status(name, path, who) for name in self.machines for _ in range(OFTEN)}

    def asking_as(self, who: Who, *accepted: int) -> Asking[int]:
        """Ask through both machines many times a second; what is not accepted is an error."""

        def question(machine: str) -> int:
            status = self.status(machine, SEARCH, who)
            assert status in accepted, status
            return status

        return Asking([(name, partial(question, name)) for name in self.machines], ASKED_A_SECOND)

    def secrets(self) -> set[str]:
        """Every secret of the login and of the database, as it is and as it is written down."""
        directory = self.stack / ".secrets"
        server = json.loads((directory / "mlflow_login/server.json").read_text())
        texts = {user["password"] for user in server["users"]} | {server["secret_key"], ALICE, BOB, ADMIN}
        texts |= {
            (directory / name).read_text().strip() for name in ("mlflow_login_secret", "postgres_password")
        }
        return texts | {json.dumps(text)[1:-1] for text in texts}

    def files_of(self, service: str) -> set[str]:
        """Where the containers of a service see secrets."""
        shown = json.loads(self.home.run("docker", "service", "inspect", service))[0]
        return {each["File"]["Name"] for each in shown["Spec"]["TaskTemplate"]["ContainerSpec"]["Secrets"]}

    def tasks(self) -> list[str]:
        """Ids of the servers' tasks."""
        shown = ("docker", "service", "ps", "--filter=desired-state=running", "--quiet", SERVERS)
        return sorted(self.home.run(*shown).split())


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the images that the swarm, its jobs and its backups run, on this machine's engine."""
    lab = Lab("mlflow-swarmlogin", tmp_path_factory.mktemp("images") / "lab", 15760)
    names: list[str] = []
    for playbook in ("server_image", "restic_image"):
        output = passes(
            lab.play(f"tests/playbooks/{playbook}.yml", mlflow_stack_dask=playbook == "server_image")
        )
        (found,) = re.findall(r"images=([^\"]+)\"", output)
        names += str(found).split()
    return names


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, images: list[str]) -> Iterator[LoginSite]:
    directory = tmp_path_factory.mktemp("login")
    with machines("mlflow-login", "10.93.0", "n1", "n2") as made:
        for machine in made:
            machine.load(*images)
        with Account(directory / "account", made[0].gateway) as account:
            yield LoginSite(directory, {each.name: each for each in made}, account)


def has_login(site: LoginSite) -> bool:
    return site.statuses(SEARCH, None) == {401} and site.statuses(SEARCH, AS_ALICE) == {200}


@pytest.fixture
def served(site: LoginSite) -> LoginSite:
    """What each step begins with: servers that ask who somebody is, and a run in the experiment churn, alice's."""
    if not site.is_served() or not (site.stack / ".secrets/mlflow_login").exists():
        passes(site.play("site.yml", "--skip-tags", "verify"))
    eventually(lambda: reached(site), STARTED_SECONDS)
    if not site.churn:
        made = site.ask("n1", "POST", f"{API}/experiments/create", {"name": "churn"})
        site.churn = made["experiment_id"]
        run = site.ask("n2", "POST", f"{API}/runs/create", {"experiment_id": site.churn})
        site.run = run["run"]["info"]["run_id"]
        passes(site.play("site.yml", "--skip-tags", "verify"))
    return site


def reached(site: LoginSite) -> bool:
    try:
        return site.statuses(SEARCH, AS_ADMIN) == {200}
    except OSError:
        return False


def test_check_mode_on_fresh_machines_says_what_would_be_done(site: LoginSite) -> None:
    output = passes(site.play("site.yml", "--check", "--diff", "--skip-tags", "verify"))
    assert "Would serve mlflow, gateway, postgres on the swarm, 2 servers" in output
    assert not site.stack.exists()


def test_users_of_a_file_on_one_node_are_refused(site: LoginSite) -> None:
    output = fails(site.play("site.yml", mlflow_stack_backend_store="sqlite"))
    assert (
        "a file on one node, and with it the users of MLflow's login, while a swarm starts servers" in output
    )
    assert "2 at once" in output
    output = fails(site.play("site.yml", **{**OFF, "mlflow_stack_insecure": False}))
    assert "where others reach MLflow without a login" in output
    assert not site.stack.exists()


def test_two_servers_begin_with_one_login_and_nobody_is_told_a_secret(site: LoginSite) -> None:
    outcome = site.play("site.yml", "-vvv", "--diff")
    output = passes(outcome)
    # It is not there yet.
    assert "alice is granted nothing on the experiment churn" in output
    assert not [secret for secret in site.secrets() if secret in outcome.output]
    shown = site.home.run("docker", "service", "inspect", *site.listed("service"))
    shown += site.home.run("docker", "config", "inspect", *site.listed("config"))
    for machine in site.machines.values():
        for container in machine.run("docker", "ps", "--quiet").split():
            shown += machine.run("docker", "inspect", container)
            shown += machine.run("docker", "top", container, "-eo", "pid,args")
    assert not [secret for secret in site.secrets() if secret in shown]
    assert "/run/secrets/mlflow_login.json" in site.files_of(SERVERS)
    assert not [path for path in site.files_of("mlflow_gateway") if "login" in path]
    for path in (site.stack / ".secrets/mlflow_login").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    # What provided the users, and whatever looked at the database, is gone.
    left = site.home.run(
        "docker", "ps", "--all", "--filter=label=freegee.mlflow_sftp.owner", "--format={{.Names}}"
    )
    assert {name.partition(".")[0] for name in left.split()} <= set(site.listed("service"))
    assert site.statuses("/health", None) == {200}


def test_a_second_run_changes_nothing(served: LoginSite) -> None:
    assert changes_nothing(passes(served.play("site.yml")))
    assert changes_nothing(passes(served.play("site.yml", "--check", "--diff", "--skip-tags", "verify")))


@pytest.mark.parametrize("machine", ["n1", "n2"])
def test_who_gets_in_through_each_machine(served: LoginSite, machine: str) -> None:
    run = f"{API}/runs/get?run_id={served.run}"
    parameter = {"run_id": served.run, "key": f"by-{machine}", "value": "alice"}
    experiment = {"experiment_id": served.churn}
    for who, path, body, status in (
        (None, "/", None, 401),
        (None, SEARCH, None, 401),
        (None, run, None, 401),
        (WRONG, SEARCH, None, 401),
        (("", ""), SEARCH, None, 401),
        (AS_ALICE, run, None, 200),
        (AS_ALICE, f"{API}/runs/log-parameter", parameter, 200),
        (AS_ALICE, f"{API}/experiments/delete", experiment, 403),
        (AS_ALICE, f"{API}/users/create", {"username": "eve", "password": "twelve chars"}, 403),
        (AS_BOB, SEARCH, None, 200),
        (AS_BOB, run, None, 403),
        (AS_BOB, f"{API}/runs/log-parameter", parameter, 403),
        (AS_ADMIN, run, None, 200),
    ):
        for _ in range(OFTEN // 2):
            assert served.status(machine, path, who, body) == status, (who, path)


def test_users_are_changed_for_all_servers(served: LoginSite) -> None:
    changed: dict[str, object] = {
        "mlflow_stack_users": [
            {"name": "alice", "password": ALICE + "2"},
            {"name": "bob", "state": "absent"},
            {"name": CAROL[0], "password": CAROL[1], "admin": True},
        ]
    }
    run = f"{API}/runs/get?run_id={served.run}"
    # What each server remembers.
    assert (served.statuses(run, AS_ALICE), served.statuses(SEARCH, AS_BOB)) == ({200}, {200})
    foretold = served.play("site.yml", "--skip-tags", "verify", "--check", "--diff", **changed)
    passes(foretold)
    assert f"-EDIT on experiment {served.churn}" in foretold.output
    assert served.statuses(run, AS_ALICE) == {200}
    tasks = served.tasks()
    passes(served.play("site.yml", "--skip-tags", "verify", **changed))
    assert served.tasks() == tasks
    time.sleep(REMEMBERED)
    assert served.statuses(run, AS_ALICE) == {401}
    assert served.statuses(run, ("alice", ALICE + "2")) == {403}
    assert served.statuses(SEARCH, AS_BOB) == {401}
    assert served.statuses(run, CAROL) == {200}
    back = [*USERS, {"name": CAROL[0], "state": "absent"}]
    passes(served.play("site.yml", "--skip-tags", "verify", mlflow_stack_users=back))
    time.sleep(REMEMBERED)
    assert served.statuses(run, AS_ALICE) == {200}
    assert served.statuses(SEARCH, CAROL) == {401}


def test_another_password_of_the_administrator(served: LoginSite) -> None:
    """One that somebody has set in MLflow is told; a server that starts puts the stack's back."""
    given = {"username": "admin", "password": "somebody has set", "current_password": ADMIN}
    with served.answer("n1", "PATCH", f"{API}/users/update-password", json.dumps(given).encode()) as answer:
        assert answer.status == 200, answer.read()
    output = fails(served.play("site.yml", "--skip-tags", "verify"))
    assert "does not accept the password of its administrator" in output
    other = ADMIN + "2"
    passes(served.play("site.yml", "--skip-tags", "verify", mlflow_stack_auth_admin_password=other))
    time.sleep(REMEMBERED)
    assert served.statuses(SEARCH, ("admin", other)) == {200}
    assert served.statuses(SEARCH, AS_ADMIN) == {401}
    passes(served.play("site.yml", "--skip-tags", "verify"))
    assert served.statuses(SEARCH, AS_ADMIN) == {200}


def test_servers_without_a_database_are_left_out_and_live_on(served: LoginSite) -> None:
    """Whom nobody knows, a server refuses without having asked the database: that says nothing of it."""
    tasks = served.tasks()
    served.home.run("docker", "service", "scale", "--detach", "mlflow_postgres=0")
    try:
        eventually(lambda: served.statuses(SEARCH, None) == {503}, STARTED_SECONDS)
        time.sleep(10)
        assert served.statuses(SEARCH, None) == {503}
    finally:
        served.home.run("docker", "service", "scale", "mlflow_postgres=1")
    eventually(lambda: served.statuses(SEARCH, None) == {401}, STARTED_SECONDS)
    assert served.tasks() == tasks
    assert served.statuses(SEARCH, AS_ALICE) == {200}


def test_verification_logs_in(served: LoginSite) -> None:
    passes(served.play("playbooks/verify.yml"))
    report = json.loads((served.directory / "report/report.json").read_text())
    assert all(row["ok"] for row in report["rows"])


def test_another_password_of_the_database(served: LoginSite) -> None:
    file = served.stack / ".secrets/postgres_password"
    old = file.read_text()
    with served.asking_as(AS_ALICE, 200) as asking:
        outcome = served.play(ROTATE, "-vvv", "--diff", rotate="database_password")
    output = passes(outcome)
    assert "the new one is accepted, the old one refused" in output
    assert file.read_text() != old
    assert not [secret for secret in {old, *served.secrets()} if secret in outcome.output]
    print(f"{len(asking.errors)} of {asking.asked} failed: {asking.errors}")
    times = sorted(each.split()[0] for each in asking.errors)
    assert not times or seconds_between(times[0], times[-1]) < DATABASE_SECONDS, asking.errors
    assert changes_nothing(passes(served.play("site.yml", "--skip-tags", "verify")))


def test_a_new_key_without_a_failed_request(served: LoginSite) -> None:
    with served.asking_as(AS_ALICE, 200) as asking:
        passes(served.play(ROTATE, rotate="ssh_key"))
    assert asking.errors == []
    kept = served.directory / "key_rotated"
    kept.write_text(served.key.read_text())
    kept.chmod(0o600)
    served.settings["sftp_private_key_file"] = str(kept)
    assert changes_nothing(passes(served.play("site.yml", "--skip-tags", "verify")))


def test_a_backup_has_the_users_and_a_drill_logs_in(served: LoginSite) -> None:
    served.log()
    passes(served.play(BACKUP))
    outcome = served.play(BACKUP, "-v", drill=True)
    output = passes(outcome)
    # Not the runs without an artifact.
    assert f"knew {last_good(served)['runs'][1]} runs" in output
    assert re.search(r"read back and compared: [1-9]\d* runs", output)
    assert not [secret for secret in {*served.secrets(), PASSWORD} if secret in outcome.output]


def test_another_image_takes_over_without_a_failed_request(served: LoginSite, images: list[str]) -> None:
    """The next server, which is tried before, logs in, and whoever reads runs back."""
    name = "freegee/mlflow-server:next"
    text = f"FROM {images[1]}\nLABEL of.the.tests=next\n"
    served.home.run("docker", "build", "--quiet", "--tag", name, "-", text=text)
    served.settings["__mlflow_stack_server_image"] = name
    with served.asking_as(AS_ALICE, 200) as asking:
        output = passes(served.play("playbooks/upgrade.yml"))
    assert asking.errors == []
    assert "Read back and compared" in output
    assert changes_nothing(passes(served.play("site.yml", "--skip-tags", "verify")))


def test_off_and_on_again(served: LoginSite) -> None:
    output = fails(
        served.play("site.yml", "--skip-tags", "verify", **{**OFF, "mlflow_stack_insecure": False})
    )
    assert "where others reach MLflow without a login" in output
    assert has_login(served)
    with served.asking_as(AS_ALICE, 200) as asking:
        passes(served.play("site.yml", **OFF))
    assert asking.errors == []
    assert served.statuses(SEARCH, None) == {200}
    assert not [name for name in served.listed("secret") if "login" in name]
    assert not (served.stack / ".secrets/mlflow_login").exists()
    assert changes_nothing(passes(served.play("site.yml", "--skip-tags", "verify", **OFF)))
    # Who says who he is gets in, whichever server he meets.
    foretold = passes(served.play("site.yml", "--skip-tags", "verify", "--check", "--diff"))
    assert "Would provide the users alice, bob" in foretold
    with served.asking_as(AS_ALICE, 200) as asking:
        passes(served.play("site.yml", "--skip-tags", "verify"))
    assert asking.errors == []
    assert has_login(served)
    assert served.statuses(f"{API}/runs/get?run_id={served.run}", AS_ALICE) == {200}


LOG = (
    "import mlflow; mlflow.set_experiment('{0}'); run = mlflow.start_run(); mlflow.log_param('by', '{0}');"
    "mlflow.end_run(); print('run', run.info.run_id, mlflow.get_run(run.info.run_id).info.user_id)"
)
ON_WORKER = (
    "import runpy; from distributed import Client; client = Client();"
    "found = client.submit(exec, {0!r}, dict()).result(); print('done')"
)


def experiments(site: LoginSite, who: Who) -> set[str]:
    with site.answer("n1", "GET", f"{API}/experiments/search?max_results=100", None, who) as answer:
        return {each["name"] for each in json.loads(answer.read()).get("experiments", [])}


def test_jobs_and_workers_log_in_as_train(served: LoginSite) -> None:
    dask: dict[str, object] = {
        "mlflow_stack_dask": True,
        "mlflow_stack_dask_workers": 1,
        "mlflow_stack_dask_authority_dir": str(served.directory / "dask"),
    }
    passes(served.play("site.yml", "--skip-tags", "verify", **dask))
    assert "/home/mlflow/.mlflow/credentials" in served.files_of("mlflow_dask-worker")
    assert not [path for path in served.files_of("mlflow_dask-scheduler") if "mlflow_login" in path]
    options = (
        "--project-directory",
        str(served.stack / "jobs"),
        "run",
        "--rm",
        "-T",
        "train",
        "python",
        "-c",
    )
    served.home.run("docker", "compose", *options, LOG.format("by-job"))
    served.home.run("docker", "compose", *options, ON_WORKER.format(LOG.format("by-worker")))
    assert {"by-job", "by-worker"} <= experiments(served, AS_ADMIN)
    assert not {"by-job", "by-worker"} & experiments(served, AS_BOB)
    passes(served.play("site.yml", "--skip-tags", "verify"))
    # Its password would be right for ever.
    assert served.status("n1", f"{API}/users/get?username=service-train", AS_ADMIN) == 404


def test_teardown_leaves_nothing(served: LoginSite) -> None:
    passes(served.play("playbooks/teardown.yml", keep_data=False))
    for kind in ("service", "secret", "config"):
        assert served.listed(kind) == []
    for machine in served.machines.values():
        assert machine.run("docker", "volume", "ls", "--quiet") == ""
    assert not served.stack.exists()
