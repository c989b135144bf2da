"""Apache in front of MLflow's login, with the very docs/login/apache.conf: whom an OpenID provider vouches for gets in.

The tests of this file are steps of one story on one stack.
"""

import base64
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from tests.support.ansible import REPOSITORY, run_playbook
from tests.support.docker import apache_image, docker
from tests.support.lab import Lab
from tests.support.stack import passes

pytest.importorskip("oidc_provider_mock", reason="needs Python 3.12")
pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.sweep, pytest.mark.timeout(900)]

# What nobody but Apache is to know; no other text has it by chance.
FRONT, PIPELINE = f"front{secrets.token_hex(12)}", "pipeline-Jx2 password%"
USERS: list[dict[str, object]] = [
    {"name": "alice", "password": FRONT, "permissions": [{"experiment": "Default", "permission": "EDIT"}]},
    {"name": "pipeline", "password": PIPELINE},
]
# By the provider's number: who a person is there. It lets anybody be called anything.
PEOPLE = {"1": "alice", "2": "stranger", "3": "admin", "4": "service-experiment-service", "5": "pipeline"}
# Of this machine. A page of localhost or of 127.0.0.1 may change what it likes, as far as MLflow is concerned.
ADDRESS = "127.0.0.2"
SEARCH = "experiments/search?max_results=10"
WAIT_SECONDS = 240
# Logs the file of its first argument, and reads it back into the directory of its second.
CLIENT = """
import os, sys, mlflow
mlflow.set_experiment("nightly")
with mlflow.start_run() as run:
    mlflow.log_artifact(sys.argv[1])
name = os.path.basename(sys.argv[1])
mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=name, dst_path=sys.argv[2])
"""


@dataclass(frozen=True)
class Front:
    """A lab with a login, an Apache before it, and a provider that Apache asks."""

    lab: Lab
    directory: Path

    @property
    def certificate(self) -> Path:
        return self.directory / "server.pem"

    @property
    def origin(self) -> str:
        return f"https://{ADDRESS}:{self.lab.port + 3}"

    @property
    def provider(self) -> str:
        return f"http://127.0.0.1:{self.lab.port + 4}"

    @property
    def container(self) -> str:
        return f"{self.lab.name}-apache"

    def api(self, method: str) -> str:
        """Address of a method of MLflow's API, as its pages ask it."""
        return f"{self.origin}/ajax-api/2.0/mlflow/{method}"

    def browser(self) -> requests.Session:
        """One that trusts this Apache, and has met it never before."""
        session = requests.Session()
        # Its settings of the machine's own authorities come first otherwise.
        session.trust_env = False
        session.verify = str(self.certificate)
        session.headers["Accept"] = "text/html,*/*"
        return session

    def visit(self, number: str, page: str = "/") -> tuple[requests.Session, requests.Response]:
        """Ask for a page, say at the provider who one is, and return what comes in the end."""
        browser = self.browser()
        asked = browser.get(self.origin + page)
        assert asked.url.startswith(f"{self.provider}/oauth2/authorize?"), asked.url
        assert "code_challenge_method=S256" in asked.url
        return browser, browser.post(asked.url, data={"sub": number})

    def site(self) -> str:
        """The configuration that is shipped, with the addresses of this lab."""
        text = (REPOSITORY / "docs/login/apache.conf").read_text()
        provider = f"Define OPENID_PROVIDER {self.provider}/.well-known/openid-configuration"
        for shipped, here in {
            r"Define MLFLOW_NAME .*": f"Define MLFLOW_NAME {ADDRESS}:{self.lab.port + 3}",
            r"Define MLFLOW_ADDRESS .*": f"Define MLFLOW_ADDRESS 127.0.0.1:{self.lab.port + 1}",
            r"Define OPENID_PROVIDER .*": provider,
            r"<VirtualHost \*:443>": f"<VirtualHost *:{self.lab.port + 3}>",
        }.items():
            text, count = re.subn(f"(?m)^{shipped}$", here, text)
            assert count == 1, shipped
        return text

    def write(self) -> dict[str, str]:
        """Write what Apache reads, and return where in its container each file belongs."""
        subject = ("-subj", f"/CN={ADDRESS}", "-addext", f"subjectAltName=IP:{ADDRESS}")
        made = ("-keyout", str(self.directory / "server.key"), "-out", str(self.certificate))
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *made]
        subprocess.run(command, check=True, capture_output=True)
        (self.directory / "site.conf").write_text(self.site())
        (self.directory / "ports.conf").write_text(f"Listen {ADDRESS}:{self.lab.port + 3}\n")
        (self.directory / "secrets.conf").write_text(
            f"Define OPENID_CLIENT_SECRET of-the-client\nDefine OPENID_PASSPHRASE {secrets.token_hex(24)}\n"
            f"Define MLFLOW_PASSWORD {FRONT}\n"
        )
        (self.directory / "secrets.conf").chmod(0o600)
        return {
            "site.conf": "/etc/apache2/sites-available/mlflow.conf",
            "ports.conf": "/etc/apache2/ports.conf",
            "secrets.conf": "/etc/apache2/mlflow-secrets.conf",
            "server.pem": "/etc/ssl/mlflow.example.org.pem",
            "server.key": "/etc/ssl/mlflow.example.org.key",
        }

    @contextmanager
    def apache(self) -> Iterator[None]:
        """Run Apache in the network of this machine, as on a Docker host."""
        start = (
            "a2dissite -q 000-default && a2enmod -q auth_openidc headers proxy_http ssl && a2ensite -q mlflow"
        )
        mounts = [f"--volume={self.directory / name}:{path}:ro" for name, path in self.write().items()]
        docker("run", "--detach", f"--name={self.container}", "--network=host", *mounts, apache_image(),
               "sh", "-c", f"{start} && exec apache2ctl -D FOREGROUND")  # fmt: skip
        try:
            self.await_port(self.lab.port + 3, ADDRESS)
            yield
        finally:
            docker("rm", "--force", self.container)

    @contextmanager
    def identities(self) -> Iterator[None]:
        """Run the provider."""
        claims = (json.dumps({"sub": number, "preferred_username": name}) for number, name in PEOPLE.items())
        options = [f"--user-claims={each}" for each in claims]
        command = [sys.executable, "-m", "oidc_provider_mock", f"--port={self.lab.port + 4}", *options]
        with (
            (self.directory / "provider.log").open("w") as log,
            subprocess.Popen(command, stderr=log) as process,
        ):
            try:
                self.await_port(self.lab.port + 4)
                yield
            finally:
                process.terminate()

    def status_in_the_end(self, browser: requests.Session, url: str) -> int:
        """Of the answer once MLflow has started: until then Apache gives up, with or without a word."""
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            with suppress(requests.ConnectionError):
                answer = browser.get(url)
                if answer.status_code not in (502, 503):
                    return answer.status_code
            time.sleep(0.5)
        raise AssertionError(f"{url} is away for {WAIT_SECONDS} s")

    def await_port(self, port: int, address: str = "127.0.0.1") -> None:
        end = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                socket.create_connection((address, port), timeout=5).close()
                return
            except OSError:
                assert time.monotonic() < end, f"nothing listens on {port}"
                time.sleep(0.2)


def login(scheme: str, user: str, password: str) -> str:
    """The header of a login, with its scheme written like this."""
    return f"{scheme} {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    settings: dict[str, object] = {
        "artifact_storage": "local",
        "mlflow_stack_access": "proxied",
        "mlflow_stack_services": ["mlflow", "experiment-service"],
        "mlflow_stack_auth": "basic",
        "mlflow_stack_users": USERS,
    }
    directory = tmp_path_factory.mktemp("openid")
    front = Front(Lab("mlflow-openid", directory / "lab", 15600, settings), directory)
    passes(run_playbook(REPOSITORY / "tests/playbooks/apache_image.yml", timeout=600))
    with front.lab.cleared():
        passes(front.lab.play("site.yml"))
        with front.identities(), front.apache():
            yield front


def test_a_person_is_the_user_of_that_name(front: Front) -> None:
    browser, page = front.visit("1", "/?from=a%20link")
    assert (page.status_code, page.url) == (200, f"{front.origin}/?from=a%20link")
    assert "<title>MLflow</title>" in page.text
    (cookie,) = browser.cookies
    assert cookie.secure
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert browser.get(front.api("users/current")).json()["user"]["username"] == "alice"
    found = browser.get(front.api(SEARCH)).json()["experiments"]
    assert [each["name"] for each in found] == ["Default"]
    made = browser.post(
        front.api("runs/create"), json={"experiment_id": "0"}, headers={"Origin": front.origin}
    )
    assert made.status_code == 200, made.text
    assert FRONT not in str([page.text, page.headers, made.text, made.headers, browser.cookies.items()])


def test_a_page_elsewhere_changes_nothing_with_a_session(front: Front) -> None:
    browser, _ = front.visit("1")
    for origin in ("https://elsewhere.example", "https://localhost.elsewhere.example", "null"):
        refused = browser.post(
            front.api("runs/create"), json={"experiment_id": "0"}, headers={"Origin": origin}
        )
        assert (refused.status_code, refused.text) == (403, "Cross-origin request blocked"), origin


@pytest.mark.parametrize("number", ["2", "3", "4", "5"])
def test_the_provider_makes_nobody_a_user_who_has_a_password_of_its_own(front: Front, number: str) -> None:
    """Nor whom MLflow does not know, whatever the provider calls him."""
    browser, page = front.visit(number)
    assert (page.status_code, page.url) == (401, f"{front.origin}/")
    assert "WWW-Authenticate" not in page.headers
    assert browser.get(front.api(SEARCH)).status_code == 401


def test_nobody_gets_in_without(front: Front) -> None:
    claimed = {"X-Remote-User": "admin", "REMOTE_USER": "admin", "OIDC_CLAIM_preferred_username": "alice"}
    for path in (front.api(SEARCH), front.api(SEARCH).replace("ajax-api", "api"), f"{front.origin}/graphql"):
        for headers in ({}, claimed, {"Authorization": "Bearer x"}, {"Cookie": "mod_auth_openidc_session=x"}):
            answer = front.browser().get(path, headers=headers, allow_redirects=False)
            assert answer.status_code == 401, (path, headers)
    led = front.browser().get(f"{front.origin}/", headers=claimed, allow_redirects=False)
    assert led.status_code == 302
    assert led.headers["Location"].startswith(front.provider)


@pytest.mark.parametrize("scheme", ["Basic", "basic"])
def test_mlflow_compares_the_password_of_a_program(front: Front, scheme: str) -> None:
    right = {"Authorization": login(scheme, "pipeline", PIPELINE)}
    wrong = {"Authorization": login(scheme, "alice", "guessed-password-1")}
    assert front.browser().get(front.api(SEARCH), headers=right).status_code == 200
    refused = front.browser().get(front.api(SEARCH), headers=wrong)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Basic")
    # Beside somebody's session, too.
    browser, _ = front.visit("1")
    assert browser.get(front.api(SEARCH), headers=wrong).status_code == 401
    assert browser.get(front.api("users/current"), headers=right).json()["user"]["username"] == "pipeline"


def test_mlflows_client_stores_and_reads_artifacts(front: Front, tmp_path: Path) -> None:
    there, back = tmp_path / "ä b+c.bin", tmp_path / "back"
    there.write_bytes(bytes(range(256)) * 4096 * 8)
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": front.origin,
        "MLFLOW_TRACKING_USERNAME": "pipeline",
        "MLFLOW_TRACKING_PASSWORD": PIPELINE,
        "MLFLOW_TRACKING_SERVER_CERT_PATH": str(front.certificate),
    }
    command = [sys.executable, "-c", CLIENT, str(there), str(back)]
    subprocess.run(command, env=environment, check=True, timeout=300)
    assert (back / there.name).read_bytes() == there.read_bytes()
    browser, _ = front.visit("1")
    found = browser.get(front.api("experiments/get-by-name?experiment_name=nightly"))
    assert found.status_code == 403


def test_services_ask_no_provider(front: Front) -> None:
    code = "import mlflow; mlflow.start_run(); mlflow.log_text('a', 'a.txt'); print(mlflow.active_run().info.run_id)"
    front.lab.compose("exec", "-T", "experiment-service", "python", "-c", code)
    passes(front.lab.play("playbooks/verify.yml"))


def test_a_session_ends_when_its_owner_says_so(front: Front) -> None:
    browser, _ = front.visit("1")
    back = quote(f"{front.origin}/", safe="")
    said = browser.get(f"{front.origin}/openid/callback?logout={back}", allow_redirects=False)
    assert said.status_code == 302
    assert browser.get(front.api(SEARCH)).status_code == 401


def test_clients_are_told_to_try_again_while_mlflow_is_away(front: Front) -> None:
    browser, _ = front.visit("1")
    front.lab.compose("stop", "mlflow")
    try:
        answer = browser.get(front.api(SEARCH))
    finally:
        front.lab.compose("start", "mlflow")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    assert front.status_in_the_end(browser, front.api(SEARCH)) == 200
