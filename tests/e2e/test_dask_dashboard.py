"""A stack with dask's dashboard behind its gateway: who looks at it, at what, and what goes on under it.

The tests of this file are steps of one story, on one stack.
"""

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from http.client import HTTPSConnection

import pytest

from tests.e2e.test_dask import ENTRYPOINT, STRANGER, address_of, states, trials
from tests.support.docker import docker
from tests.support.front import SEARCH, Front, connect
from tests.support.lab import Lab
from tests.support.monitor import eventually
from tests.support.stack import SWITCH, fails, passes
from tests.support.websocket import WebSocket

pytestmark = [pytest.mark.lab, pytest.mark.sweep, pytest.mark.timeout(1500)]

NAME = "mlflow.board.example"
ADMIN = "password-of-the-administrator"
GIVEN = "password-of-who-looks"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    settings: dict[str, object] = {
        "mlflow_stack_services": ["mlflow", "experiment-service", "train"],
        "mlflow_stack_dask": True,
        "mlflow_stack_dask_workers": 1,
        "mlflow_stack_dask_dashboard": True,
        "mlflow_stack_auth": "basic",
        "mlflow_stack_auth_admin_password": ADMIN,
        "mlflow_gateway_hostname": NAME,
        "mlflow_gateway_https_port": 14714,
        "mlflow_gateway_http_port": 0,
    }
    lab = Lab("mlflow-board", tmp_path_factory.mktemp("board") / "lab", 14711, settings)
    with lab.cleared():
        passes(lab.play("site.yml", "--skip-tags", "verify", mlflow_stack_dask_dashboard=False))
        yield Front(lab, NAME)


def require_no_secret(lab: Lab, output: str) -> None:
    users = (lab.stack / ".secrets/gateway/dask_users.cfg").read_text()
    hidden = [password(lab), users.split()[-1], "PRIVATE KEY"]
    assert [word for word in hidden if word in output] == []


def password(lab: Lab) -> str:
    return (lab.stack / ".secrets/dask_dashboard_password").read_text()


def basic(user: str, word: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{word}".encode()).decode()


def looking(front: Front) -> dict[str, str]:
    """Headers of whoever may look at the dashboard."""
    return {"Authorization": basic("dask", password(front.lab))}


def opened(front: Front, **headers: str) -> WebSocket:
    """Open the websocket of the first page, as the page does that has just been loaded."""
    shown = front.ask("/dask/status", **looking(front)).body.decode()
    token = re.findall(r'"token":"([^"]+)"', shown)[0]
    asked = {"Origin": f"https://{NAME}:{front.port}", **looking(front), **headers}
    return WebSocket(connection(front), "/dask/status/ws", ("bokeh", token), **asked)


def connection(front: Front) -> HTTPSConnection:
    return connect(front.name, front.port, front.context(), timeout=30)


def message(websocket: WebSocket) -> tuple[str, str]:
    """Return kind and content of the next message of Bokeh's: a header, what else there is to know, and the content."""
    header, _, content = (websocket.receive().decode() for _ in range(3))
    about = json.loads(header)
    for _ in range(2 * about.get("num_buffers", 0)):
        websocket.receive()
    return about["msgtype"], content


def document(front: Front) -> str:
    """Return what the first page shows at the moment, as its websocket tells."""
    with opened(front) as websocket:
        assert message(websocket)[0] == "ACK"
        for part in ('{"msgid": "1", "msgtype": "PULL-DOC-REQ"}', "{}", "{}"):
            websocket.send(part)
        while (said := message(websocket))[0] != "PULL-DOC-REPLY":
            pass
        return said[1]


def test_what_is_asked_for_is_there_beside_what_was(front: Front) -> None:
    lab = front.lab
    before = (lab.stack / "compose.yml").read_text()
    assert "dask_users" not in before
    passes(lab.play("site.yml", "--check", "--diff", "--skip-tags", "verify"))
    assert (lab.stack / "compose.yml").read_text() == before
    output = passes(lab.play("site.yml", "--skip-tags", "verify", "--diff", "-vvv"))
    require_no_secret(lab, output)
    assert "bokeh" in lab.compose("exec", "-T", "dask-scheduler", "pip", "list")
    names = ("dask-scheduler-1", "dask-worker-1", "gateway-1")
    assert {name: state for name, state in states(lab).items() if name in names} == dict.fromkeys(
        names, "healthy"
    )


def test_nobody_looks_without_the_password(front: Front) -> None:
    assert (front.lab.stack / ".secrets/dask_dashboard_password").stat().st_mode & 0o777 == 0o600
    assert (front.lab.stack / ".secrets/gateway/dask_users.cfg").stat().st_mode & 0o777 == 0o600
    for path in ("/dask", "/dask/", "/dask/status", "/dask/hardware", "/dask/static/js/bokeh.min.js"):
        answer = front.ask(path)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Basic realm="dask"')
        assert b"Dask" not in answer.body
    for user, word in (
        ("dask", "another"),
        ("dask", ADMIN),
        ("admin", ADMIN),
        ("admin", password(front.lab)),
    ):
        assert front.ask("/dask/status", Authorization=basic(user, word)).status == 401
    with WebSocket(connection(front), "/dask/status/ws", ("bokeh", "token")) as websocket:
        assert websocket.status == 401
    shown = front.ask("/dask/status", **looking(front))
    assert (shown.status, b"<title>Dask Diagnostic UI</title>" in shown.body) == (200, True)
    # And with this password, nobody gets into MLflow.
    assert front.ask(SEARCH, Authorization=basic("admin", ADMIN)).status == 200
    assert front.ask(SEARCH, **looking(front)).status == 401


def test_every_page_is_there_with_what_it_loads(front: Front) -> None:
    moved = front.ask("/dask", **looking(front))
    assert (moved.status, moved.headers["location"]) == (302, f"https://{NAME}:{front.port}/dask/status")
    shown = front.ask("/dask/status", **looking(front)).body.decode()
    linked = {each for each in re.findall(r'(?:href|src)="([^":]+)"', shown) if each}
    assert {"workers", "graph", "statics/css/base.css"} < linked
    answers = {
        each: front.ask(each if each.startswith("/") else f"/dask/{each}", **looking(front))
        for each in linked
    }
    # This one has the workers measure their disks.
    assert {each for each, answer in answers.items() if answer.status not in (200, 302)} == {"hardware"}
    workers = front.ask("/dask/info/main/workers.html", **looking(front))
    # Without a button for what the scheduler's API would do, if it had one.
    assert (workers.status, b"tls://" in workers.body, b"<button" in workers.body) == (200, True, False)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "hardware",
            "hardware/ws",
            "json/identity.json",
            "metrics",
            "sitemap.json",
            "eventstream",
            "health",
        ),
        *("api/v1", "api/v1/retire_workers", "proxy/8787/127.0.0.1/status", "jupyter", "status/../hardware"),
    ],
)
def test_what_is_more_than_looking_is_not_there(front: Front, path: str) -> None:
    assert front.ask(f"/dask/{path}", **looking(front)).status == 404


@pytest.mark.parametrize("path", ["static/../hardware", "info/../hardware", "static/%2e%2e/hardware"])
def test_there_is_no_way_round(front: Front, path: str) -> None:
    answer = front.ask(f"/dask/{path}", **looking(front))
    assert answer.status in (403, 404)
    assert b"Hardware" not in answer.body


def test_nothing_is_sent_to_the_scheduler(front: Front) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        for path in ("status", "api/v1/retire_workers", "info/main/workers.html"):
            assert front.ask(f"/dask/{path}", method, b"{}", **looking(front)).status == 404
    scheduler = ("exec", "-T", "dask-scheduler", "python", "-c")
    # Nor does it offer that to whoever comes another way.
    code = (
        "import ssl; from urllib.error import HTTPError; from urllib.request import urlopen\n"
        "context = ssl.create_default_context(cafile='/run/secrets/mlflow_dask/authority.pem')\n"
        "for path in ('status', 'api/v1/retire_workers', 'json/identity.json', 'metrics', 'proxy/1/a/b'):\n"
        "    try: print(path, urlopen(f'https://localhost:8787/dask/{path}', context=context).status)\n"
        "    except HTTPError as error: print(path, error.code)\n"
    )
    told = dict(line.split() for line in front.lab.compose(*scheduler, code).splitlines())
    assert told.pop("status") == "200"
    assert set(told.values()) == {"404"}


def test_the_dashboard_is_reached_through_the_gateway_alone(front: Front) -> None:
    lab = front.lab
    for name in ("dask-scheduler", "dask-worker"):
        assert docker("container", "port", f"{lab.name}-{name}-1") == ""
    network = json.loads(docker("network", "inspect", f"{lab.name}_dashboard"))[0]
    assert network["Internal"] is True
    assert sorted(each["Name"] for each in network["Containers"].values()) == [
        f"{lab.name}-dask-scheduler-1",
        f"{lab.name}-gateway-1",
    ]
    # Whoever takes over the gateway has no certificate with which workers do as they are told.
    assert docker("exec", f"{lab.name}-gateway-1", "sh", "-c", "ls /run/secrets").split() == [
        "mlflow_gateway"
    ]
    image = docker("container", "inspect", "--format={{.Config.Image}}", f"{lab.name}-dask-scheduler-1")
    said = {
        name: docker("run", "--rm", f"--network={name}", image, "python", "-c", STRANGER, address)
        for name, address in (
            (f"{lab.name}_dashboard", address_of(lab, "dask-scheduler", f"{lab.name}_dashboard")),
            (lab.name, address_of(lab, "dask-scheduler", f"{lab.name}_dashboard")),
        )
    }
    assert said[f"{lab.name}_dashboard"].startswith("refused: TLSV13_ALERT_CERTIFICATE_REQUIRED")
    assert said[lab.name].startswith("no way:")


def test_a_second_run_changes_nothing(front: Front) -> None:
    before = front.lab.containers()
    for options in ((), ("--check", "--diff")):
        output = passes(front.lab.play("site.yml", "--skip-tags", "verify", *options))
        assert "changed=0" in output.rpartition("docker-host ")[2], output[-3000:]
    assert front.lab.containers() == before


def test_pages_of_others_open_no_websocket(front: Front) -> None:
    for origin in (
        "https://elsewhere.example",
        f"https://{NAME}:{front.port}.elsewhere.example",
        f"https://{NAME}",
    ):
        with opened(front, Origin=origin) as websocket:
            assert websocket.status == 403


def test_who_looks_sees_a_sweep(front: Front) -> None:
    arguments = ("--engine", "dask", "--json", "--trials", "2", "--epochs", "100")
    sweep = subprocess.Popen(
        ["docker", "compose", "run", "--rm", "-T", "train", *ENTRYPOINT, *arguments],
        cwd=front.lab.stack,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: "run_trial" in document(front), 300)
        with opened(front) as websocket:
            assert (websocket.status, websocket.protocol) == (101, "bokeh")
            assert message(websocket)[0] == "ACK"
            # What changes comes by itself.
            assert message(websocket)[0] == "PATCH-DOC"
    finally:
        out, err = sweep.communicate(timeout=600)
    assert sweep.returncode == 0, err
    assert len(json.loads(out)["trials"]) == 2
    assert trials(front.lab) == ["FINISHED"] * 2


def test_another_password_ends_no_websocket(front: Front) -> None:
    before, old = front.lab.containers(), looking(front)
    with opened(front) as websocket:
        assert message(websocket)[0] == "ACK"
        output = passes(
            front.lab.play(
                "site.yml",
                "--skip-tags",
                "verify",
                "--diff",
                "-vvv",
                mlflow_stack_dask_dashboard_password=GIVEN,
            )
        )
        require_no_secret(front.lab, output)
        assert message(websocket)[0]
    assert password(front.lab) == GIVEN
    assert front.ask("/dask/status", **looking(front)).status == 200
    assert front.ask("/dask/status", **old).status == 401
    assert front.lab.containers() == before


def test_a_switch_closes_mlflow_and_leaves_the_dashboard_open(front: Front) -> None:
    seen: list[int] = []

    def look() -> None:
        seen.extend(
            (
                front.ask(SEARCH, Authorization=basic("admin", ADMIN)).status,
                front.ask("/dask/status", **looking(front)).status,
            )
        )

    with opened(front) as websocket:
        assert message(websocket)[0] == "ACK"
        closed = front.lab.play_until("Try the next server", SWITCH, act=look, mlflow_stack_access="proxied")
        passes(closed)
        assert message(websocket)[0]
    assert seen == [503, 200]
    passes(front.lab.play("site.yml", "--skip-tags", "verify", mlflow_stack_access="proxied"))
    assert front.ask("/dask/status", **looking(front)).status == 200


def test_a_switch_asks_for_the_dashboard_that_is_deployed(front: Front) -> None:
    output = fails(front.lab.play(SWITCH, mlflow_stack_dask_dashboard=False))
    assert "mlflow_stack_dask_dashboard is false, deployed is true" in " ".join(output.split())


def test_what_is_switched_off_goes(front: Front) -> None:
    lab = front.lab
    passes(
        lab.play(
            "site.yml",
            "--skip-tags",
            "verify",
            mlflow_stack_access="proxied",
            mlflow_stack_dask_dashboard=False,
        )
    )
    assert front.ask("/dask/status", **{"Authorization": basic("dask", GIVEN)}).status == 401
    assert front.ask("/dask/status", Authorization=basic("admin", ADMIN)).status == 404
    for name in (".secrets/dask_dashboard_password", ".secrets/gateway/dask_users.cfg", "gateway/dask.pem"):
        assert not (lab.stack / name).exists()
    assert "dask_users" not in (lab.stack / "compose.yml").read_text()
    assert states(lab)["dask-worker-1"] == "healthy"
    assert "bokeh" not in lab.compose("exec", "-T", "dask-scheduler", "pip", "list")
