"""MLflow with its own login, behind a gateway: who gets in where, and that everything of the stack's own does.

The tests of this file are steps of one story on one stack; each but the first brings what it begins with.
"""

import base64
import http.client
import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.support.docker import docker
from tests.support.front import connect, trusted
from tests.support.lab import Lab
from tests.support.server import keygen
from tests.support.stack import SWITCH, fails, passes

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(900)]

# No other text of the stack has them by chance.
ALICE, BOB, ADMIN = "alice-Kx7 password%", "bob-Qz3-password-1", "admin-Wv9-password-1"
# Seconds for which a password that was right is not compared again.
REMEMBERED = 5
NAME = "mlflow.users.example"
PORT = 14131
USERS: list[dict[str, object]] = [
    {"name": "alice", "password": ALICE, "permissions": [{"experiment": "churn", "permission": "EDIT"}]},
    {"name": "bob", "password": BOB, "permissions": [{"registered_model": "*", "permission": "READ"}]},
]
SETTINGS: dict[str, object] = {
    "artifact_storage": "local",
    "mlflow_stack_services": ["mlflow", "notebook", "experiment-service"],
    "mlflow_stack_auth": "basic",
    "mlflow_stack_auth_admin_password": ADMIN,
    "mlflow_stack_auth_cache_ttl": REMEMBERED,
    "mlflow_stack_users": USERS,
    "mlflow_gateway_hostname": NAME,
    "mlflow_gateway_bind": "127.0.0.1",
}


def lab_with_users(name: str, directory: Path, port: int, **further: object) -> Lab:
    """A lab whose gateway answers at the two ports after its own three."""
    ports = {"mlflow_gateway_https_port": port + 3, "mlflow_gateway_http_port": port + 4}
    return Lab(name, directory, port, {**SETTINGS, **ports, **further})


def change_password(lab: Lab, user: str, password: str, **further: str) -> None:
    """Change a password as the administrator, in MLflow."""
    given = {"username": user, "password": password, **further}
    headers = {"Content-Type": "application/json"}
    headers["Authorization"] = "Basic " + base64.b64encode(f"admin:{ADMIN}".encode()).decode()
    url = f"http://127.0.0.1:{lab.port + 1}{api('users/update-password')}"
    urlopen(Request(url, json.dumps(given).encode(), headers, method="PATCH")).close()


@dataclass(frozen=True)
class Site:
    """The lab, all that its deployment printed, and a run in the experiment churn."""

    lab: Lab
    output: str
    experiment: str
    run: str

    def secrets(self) -> set[str]:
        """Every secret of the login, as it is and as it is written down."""
        files = (self.lab.stack / ".secrets").glob("mlflow_*")
        texts = {path.read_text().strip() for path in files if path.is_file()}
        server = json.loads((self.lab.stack / ".secrets/mlflow_login/server.json").read_text())
        texts |= {user["password"] for user in server["users"]} | {server["secret_key"], ALICE, BOB, ADMIN}
        return texts | {json.dumps(text)[1:-1] for text in texts}


def ask(
    lab: Lab, path: str, login: tuple[str, str] | None = None, body: dict[str, object] | None = None
) -> tuple[int, dict[str, object]]:
    """Status and answer of a request at the published port."""
    headers = {"Content-Type": "application/json"}
    if login is not None:
        headers["Authorization"] = basic(login)
    data = json.dumps(body).encode() if body is not None else None
    try:
        with urlopen(Request(f"http://127.0.0.1:{lab.port + 1}{path}", data, headers)) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text.startswith(b"{") else {}
    except HTTPError as error:
        return error.code, {}


def basic(login: tuple[str, str]) -> str:
    """The header of a login."""
    return "Basic " + base64.b64encode(":".join(login).encode()).decode()


def answered(request: Request) -> int:
    """Status of the answer to a request."""
    try:
        with urlopen(request) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def api(method: str) -> str:
    return f"/api/2.0/mlflow/{method}"


def made(lab: Lab) -> tuple[str, str]:
    """An experiment of the experiment service's, and a run in it; their ids."""
    code = (
        "import mlflow; mlflow.set_experiment('churn'); run = mlflow.start_run(); mlflow.log_text('a', 'a.txt');"
        "mlflow.end_run(); print(run.info.experiment_id, run.info.run_id)"
    )
    printed = lab.compose("exec", "-T", "experiment-service", "python", "-c", code)
    experiment, run = printed.splitlines()[-1].split()
    return experiment, run


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    lab = lab_with_users("mlflow-users", tmp_path_factory.mktemp("users") / "lab", PORT)
    with lab.cleared():
        deployed = lab.play("site.yml", "-vvv", "--diff")
        output = passes(deployed)
        # It is not there yet.
        assert "alice is granted nothing on the experiment churn" in output
        experiment, run = made(lab)
        passes(lab.play("site.yml", "--skip-tags", "verify"))
        yield Site(lab, deployed.output, experiment, run)


def test_nobody_was_told_a_secret(site: Site) -> None:
    assert not [secret for secret in site.secrets() if secret in site.output]
    for service, container in site.lab.containers().items():
        shown = docker("container", "inspect", container)
        processes = docker("top", container, "-eo", "pid,args")
        assert not [secret for secret in site.secrets() if secret in shown + processes], service
    for path in (site.lab.stack / ".secrets/mlflow_login").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_service_has_its_own_password_only(site: Site) -> None:
    """The server alone knows those of the others."""
    mounts = {
        service: json.loads(docker("container", "inspect", "--format={{json .HostConfig.Binds}}", container))
        for service, container in site.lab.containers().items()
    }
    named = {
        service: set(re.findall(r"mlflow_login/([\w.-]+)", " ".join(binds)))
        for service, binds in mounts.items()
    }
    assert named == {
        "mlflow": {"mlflow", "server.json"},
        "notebook": {"notebook"},
        "experiment-service": {"experiment-service"},
        "gateway": set(),
    }


NOBODY, WRONG = None, ("alice", "wrong password")
AS_ALICE, AS_BOB, AS_ADMIN = ("alice", ALICE), ("bob", BOB), ("admin", ADMIN)
SEARCH = api("experiments/search?max_results=1")


@pytest.mark.parametrize(
    ("who", "path", "body", "status"),
    [
        (NOBODY, "/health", None, 200),
        (NOBODY, "/", None, 401),
        (NOBODY, SEARCH, None, 401),
        (NOBODY, api("runs/get?run_id=RUN"), None, 401),
        (NOBODY, api("users/create"), {"username": "eve", "password": "twelve chars"}, 401),
        (WRONG, SEARCH, None, 401),
        (("eve", ALICE), SEARCH, None, 401),
        (AS_ALICE, SEARCH, None, 200),
        (AS_ALICE, api("runs/get?run_id=RUN"), None, 200),
        (AS_ALICE, api("runs/log-parameter"), {"run_id": "RUN", "key": "by", "value": "alice"}, 200),
        (AS_ALICE, api("experiments/delete"), {"experiment_id": "EXPERIMENT"}, 403),
        (AS_ALICE, api("users/create"), {"username": "eve", "password": "twelve chars"}, 403),
        (AS_BOB, SEARCH, None, 200),
        (AS_BOB, api("runs/get?run_id=RUN"), None, 403),
        (AS_BOB, api("runs/log-parameter"), {"run_id": "RUN", "key": "by", "value": "bob"}, 403),
        (AS_ADMIN, api("runs/get?run_id=RUN"), None, 200),
    ],
)
def test_who_gets_in(
    site: Site, who: tuple[str, str] | None, path: str, body: dict[str, object] | None, status: int
) -> None:
    names = {"RUN": site.run, "EXPERIMENT": site.experiment}
    path = path.replace("RUN", site.run)
    filled = {key: names.get(str(value), value) for key, value in body.items()} if body else None
    assert ask(site.lab, path, who, filled)[0] == status


@dataclass(frozen=True)
class Door:
    """A published port, by the service and the port of its container, and the status of the answer to each who asks.

    Attributes:
        path: What is asked for, with the run of others in place of RUN.
        nobody: Without credentials.
        wrong: With a user's name and another password, or a wrong token.
        right: With a user's name and his password, or the token.
        others: As somebody who may log in, but not see that.
    """

    service: str
    port: int
    path: str
    nobody: int
    wrong: int
    right: int
    others: int

    @property
    def wants_token(self) -> bool:
        return self.path.endswith("/api/kernels")


RUN = api("runs/get?run_id=RUN")
DOORS = [
    Door("mlflow", 5000, RUN, 401, 401, 200, 403),
    Door("gateway", 8443, RUN, 401, 401, 200, 403),
    # MLflow's passwords open nothing there.
    Door("notebook", 8888, "/notebook/api/kernels", 403, 403, 200, 403),
    Door("gateway", 8443, "/notebook/api/kernels", 403, 403, 200, 403),
    # Whoever asks is led to the other one.
    Door("gateway", 8080, RUN, 308, 308, 308, 308),
]
WHO = ("nobody", "wrong", "right", "others")
# By service and port of its container, where this machine answers.
Published = dict[tuple[str, int], tuple[str, int]]


def published_by(lab: Lab) -> Published:
    """What of a lab is published, as Docker tells it."""
    found = {}
    for container in docker("ps", "--format={{.Names}}", f"--filter=name=^{lab.name}-").splitlines():
        service = container.removeprefix(f"{lab.name}-").removesuffix("-1")
        ports = docker("container", "inspect", "--format={{json .NetworkSettings.Ports}}", container)
        for port, bindings in json.loads(ports).items():
            for binding in bindings or []:
                found[service, int(port.partition("/")[0])] = (binding["HostIp"], int(binding["HostPort"]))
    return found


def in_the_table(lab: Lab) -> set[tuple[str, int]]:
    """All ports that were thought of; at the lab's SFTP server nothing is asked for in HTTP."""
    return {(door.service, door.port) for door in DOORS} | {("sftp", lab.port)}


def answered_at(site: Site, port: int, door: Door, who: str) -> int:
    """Status of the answer to somebody at a door that this machine has at a port."""
    token = (site.lab.stack / ".secrets/notebook_token").read_text()
    right = f"token {token}" if door.wants_token else basic(AS_ALICE)
    wrong = "token wrong" if door.wants_token else basic(WRONG)
    login = {"nobody": "", "wrong": wrong, "right": right, "others": basic(AS_BOB)}[who]
    connection = (
        connect(NAME, port, trusted(site.lab))
        if door.port == 8443
        else http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    )
    headers = {"Authorization": login} if login else {}
    connection.request("GET", door.path.replace("RUN", site.run), headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


@pytest.fixture(scope="module")
def published(site: Site) -> Published:
    return published_by(site.lab)


def test_every_published_port_is_in_the_table(site: Site, published: Published) -> None:
    assert set(published) == in_the_table(site.lab)
    assert {address for address, _ in published.values()} == {"127.0.0.1"}


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("door", DOORS, ids=lambda door: f"{door.service}-{door.port}-{door.path}")
def test_who_gets_in_at_each_published_port(site: Site, published: Published, door: Door, who: str) -> None:
    _, port = published[door.service, door.port]
    assert answered_at(site, port, door, who) == getattr(door, who)


def test_the_administrator_opens_no_notebook(site: Site) -> None:
    request = Request(f"http://127.0.0.1:{PORT + 2}/notebook/api/kernels")
    request.add_header("Authorization", basic(AS_ADMIN))
    assert answered(request) == 403


def test_who_gets_into_the_account(site: Site, published: Published, tmp_path: Path) -> None:
    """Neither without a key nor with another's; it takes no passwords. With its own, the switch below does."""
    address, port = published["sftp", site.lab.port]
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "IdentitiesOnly=yes",
    ]
    keys: tuple[list[str], ...] = ([], ["-i", str(keygen(tmp_path / "wrong", "ed25519"))])
    for key in keys:
        command = ["ssh", "-F", "none", *(f"-o{each}" for each in options), *key, "-p", str(port)]
        done = subprocess.run(
            [*command, f"freegee@{address}", "true"], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 255
        assert "Permission denied (publickey)." in done.stderr


def test_what_is_nobody_s_business_is_not_found(site: Site) -> None:
    _, found = ask(site.lab, api("experiments/search?max_results=100"), AS_BOB)
    assert found.get("experiments", []) == []


def test_the_training_image_s_client_says_who_it_is(site: Site) -> None:
    """Outside of the stack, as the documentation says."""
    code = "import mlflow; print(len(mlflow.search_experiments()))"
    settings = ("--env=MLFLOW_TRACKING_USERNAME=alice", f"--env=MLFLOW_TRACKING_PASSWORD={ALICE}")
    command = ["docker", "compose", "exec", "-T", *settings, "notebook", "python", "-c", code]
    done = subprocess.run(command, cwd=site.lab.stack, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) == 1


def test_a_second_run_changes_nothing(site: Site) -> None:
    output = passes(site.lab.play("site.yml"))
    assert set(re.findall(r"changed=(\d+)", output)) == {"0"}


@pytest.mark.sweep  # Which users are retired, tests/unit decide.
def test_a_service_that_is_off_has_no_user(site: Site) -> None:
    """Its password, which somebody may have kept, would be right for ever; the check tells it and does nothing."""
    left = {"username": "service-train", "password": "of an earlier deployment"}
    as_left = (left["username"], left["password"])
    assert ask(site.lab, api("users/create"), AS_ADMIN, dict(left))[0] == 200
    foretold = passes(site.lab.play("site.yml", "--skip-tags", "verify", "--check"))
    assert set(re.findall(r"changed=(\d+)", foretold)) == {"0", "1"}
    assert ask(site.lab, SEARCH, as_left)[0] == 200
    passes(site.lab.play("site.yml", "--skip-tags", "verify"))
    assert ask(site.lab, api("users/get?username=service-train"), AS_ADMIN)[0] == 404


@pytest.mark.sweep
def test_a_switch_that_closes_nothing_changes_no_user(site: Site) -> None:
    """Not even a service's, whom a start of the server gives the stack's password again."""
    change_password(site.lab, "service-notebook", "somebody has set")
    job = site.lab.compose("run", "--detach", "--no-deps", "experiment-service", "sleep", "600").split()[-1]
    try:
        assert "Jobs are running" in fails(site.lab.play(SWITCH, artifact_storage="sftp"))
    finally:
        docker("container", "rm", "--force", job)
    assert ask(site.lab, SEARCH, ("service-notebook", "somebody has set"))[0] == 200


@pytest.mark.sweep  # Seven minutes of CI. What a candidate does about users, tests/unit say.
def test_a_switch_and_back(site: Site) -> None:
    """The candidate, what is read back, and the round trips of all services."""
    for storage in ("sftp", "local"):
        passes(site.lab.play(SWITCH, artifact_storage=storage, verify_runs="all"))
        _, found = ask(site.lab, api(f"artifacts/list?run_id={site.run}"), AS_ALICE)
        assert [file["path"] for file in found["files"]] == ["a.txt"]  # type: ignore[attr-defined]


def test_users_are_changed_as_declared(site: Site) -> None:
    """A permission taken back, a password changed, a user deleted; the check tells it and does nothing."""
    changed: dict[str, object] = {
        "mlflow_stack_users": [
            {"name": "alice", "password": ALICE + "2"},
            {"name": "bob", "state": "absent"},
            {"name": "carol", "password": "carol-Yt5-password", "admin": True},
        ]
    }
    run = api(f"runs/get?run_id={site.run}")
    foretold = site.lab.play("site.yml", "--skip-tags", "verify", "--check", "--diff", **changed)
    passes(foretold)
    assert f"-EDIT on experiment {site.experiment}" in foretold.output
    assert ask(site.lab, run, AS_ALICE)[0] == 200

    passes(site.lab.play("site.yml", "--skip-tags", "verify", **changed))
    # What a server remembers is over then.
    time.sleep(REMEMBERED)
    assert ask(site.lab, run, AS_ALICE)[0] == 401
    assert ask(site.lab, run, ("alice", ALICE + "2"))[0] == 403
    assert ask(site.lab, SEARCH, AS_BOB)[0] == 401
    assert ask(site.lab, run, ("carol", "carol-Yt5-password"))[0] == 200


@pytest.mark.sweep
def test_another_password_of_the_administrator(site: Site) -> None:
    """Also one that somebody has set in MLflow meanwhile."""
    change_password(site.lab, "admin", "somebody has set", current_password=ADMIN)
    passes(site.lab.play("site.yml", mlflow_stack_auth_admin_password=ADMIN + "2"))
    assert ask(site.lab, SEARCH, ("admin", ADMIN + "2"))[0] == 200
    assert ask(site.lab, SEARCH, ("admin", "somebody has set"))[0] == 401


def test_bad_users_are_refused_all_at_once(site: Site) -> None:
    before = site.lab.containers()
    users = [{"name": "alice", "password": "short"}, {"name": "alice", "password": ALICE}, {"name": ""}]
    output = fails(site.lab.play("site.yml", mlflow_stack_users=users, mlflow_stack_bind="0.0.0.0"))
    for part in (
        "alice has a password of 5 characters",
        "alice is declared 2 times",
        "entry 3 has no name",
        "mlflow_stack_bind is 0.0.0.0, where others reach MLflow without TLS",
    ):
        assert part in output
    assert site.lab.containers() == before


@pytest.mark.sweep
def test_off_and_on_again(site: Site) -> None:
    passes(
        site.lab.play("site.yml", "--skip-tags", "verify", mlflow_stack_auth="none", mlflow_stack_users=[])
    )
    assert ask(site.lab, SEARCH)[0] == 200
    assert not (site.lab.stack / ".secrets/mlflow_login").exists()
    passes(site.lab.play("site.yml", "--skip-tags", "verify"))
    assert ask(site.lab, SEARCH)[0] == 401
    assert ask(site.lab, api(f"runs/get?run_id={site.run}"), AS_ALICE)[0] == 200


@pytest.mark.sweep
def test_a_restore_lets_nobody_in_whom_the_inventory_has_deleted(site: Site, tmp_path: Path) -> None:
    """Nor an old password; whom the inventory does not name, the result does."""
    backup = {
        "mlflow_backup_repository": str(tmp_path / "repository"),
        "mlflow_backup_password": "a-password-that-nobody-may-see",
    }
    eve = {"username": "eve", "password": "eve-Ju3-password"}
    assert ask(site.lab, api("users/create"), AS_ADMIN, dict(eve))[0] == 200
    passes(site.lab.play("playbooks/backup.yml", **backup))
    changed = {
        "mlflow_stack_users": [
            {"name": "alice", "password": ALICE + "3"},
            {"name": "bob", "state": "absent"},
            {"name": "eve", "state": "absent"},
        ]
    }
    passes(site.lab.play("site.yml", "--skip-tags", "verify", **changed))
    # The inventory forgets her, as somebody who deletes a user in MLflow never names him.
    changed["mlflow_stack_users"].pop()
    output = passes(site.lab.play("playbooks/restore.yml", **backup, **changed))
    assert "were not there before: bob, eve." in output
    time.sleep(REMEMBERED)
    found = [ask(site.lab, SEARCH, who)[0] for who in (AS_ALICE, ("alice", ALICE + "3"), AS_BOB)]
    assert found == [401, 200, 401]
    # Users are nothing that came in.
    passes(site.lab.play("playbooks/restore.yml", undo=True, **backup, **changed))
    assert ask(site.lab, SEARCH, (eve["username"], eve["password"]))[0] == 401


@pytest.mark.sweep
def test_users_in_postgresql(tmp_path: Path) -> None:
    """Where the login's tables are beside MLflow's in another database."""
    lab = lab_with_users(
        "mlflow-userspg", tmp_path / "lab", PORT + 20, mlflow_stack_backend_store="postgresql"
    )
    with lab.cleared():
        passes(lab.play("site.yml", "--skip-tags", "verify"))
        experiment, run = made(lab)
        passes(lab.play("site.yml", "--skip-tags", "verify"))
        site, published = Site(lab, "", experiment, run), published_by(lab)
        assert set(published) == in_the_table(lab)
        seen = {
            (door, who): answered_at(site, published[door.service, door.port][1], door, who)
            for door in DOORS
            for who in WHO
        }
        assert seen == {(door, who): getattr(door, who) for door, who in seen}
        output = passes(lab.play("site.yml"))
        assert set(re.findall(r"changed=(\d+)", output)) == {"0"}
