"""A stack behind its gateway: what people and programs get through it, also while something is changed under it.

The tests of this file are steps of one story, on one stack.
"""

import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.admission import command

from tests.support.docker import docker
from tests.support.front import SEARCH, Answer, Front, make_certificate
from tests.support.lab import Lab
from tests.support.stack import SWITCH, fails, passes

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(1200)]

NAME = "mlflow.gate.example"
GATEWAY = "mlflow-gate-gateway-1"
MEBIBYTES = 200


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    settings = {
        "artifact_storage": "local",
        "mlflow_stack_access": "proxied",
        "mlflow_gateway_hostname": NAME,
        "mlflow_gateway_bind": "0.0.0.0",
        # No login.
        "mlflow_stack_insecure": True,
        "mlflow_gateway_https_port": 14153,
        "mlflow_gateway_http_port": 14154,
    }
    lab = Lab("mlflow-gate", tmp_path_factory.mktemp("gate") / "lab", 14150, settings)
    with lab.cleared():
        passes(lab.play("site.yml", "--check", "--skip-tags", "verify"))
        assert not lab.stack.exists()
        output = passes(lab.play("site.yml"))
        assert f"{lab.directory}/gateway/ca.crt" in output
        yield Front(lab, NAME)


def test_mlflow_answers_with_a_certificate_that_its_authority_vouches_for(front: Front) -> None:
    answer = front.ask(SEARCH)
    assert answer.status == 200
    assert json.loads(answer.body)["experiments"]
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert ("DNS", NAME) in answer.certificate["subjectAltName"]
    with pytest.raises(ssl.SSLCertVerificationError):
        front.ask(SEARCH, context=ssl.create_default_context())
    # Of pages at the gateway's own address, and at no other.
    write = ("/ajax-api/2.0/mlflow/experiments/search", "POST", b'{"max_results": 1}')
    kind = {"Content_Type": "application/json"}
    assert front.ask(*write, Origin=f"https://{NAME}:{front.port}", **kind).status == 200
    assert front.ask(*write, Origin="https://elsewhere.example", **kind).status == 403
    assert front.ask(SEARCH, Host="elsewhere.example").status == 421


def test_http_leads_to_https(front: Front) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.port + 1, timeout=10)
    connection.request("GET", "/x?y=z", headers={"Host": NAME})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Location")) == (308, f"https://{NAME}:{front.port}/x?y=z")


@pytest.mark.parametrize(
    ("options", "welcome"),
    [
        (("-tls1_3",), True),
        (("-tls1_2",), True),
        (("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), False),
        (("-tls1", "-cipher", "ALL:@SECLEVEL=0"), False),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), True),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"), False),
        (("-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0"), False),
    ],
)
def test_protocols_and_ciphers(front: Front, options: tuple[str, ...], welcome: bool) -> None:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{front.port}", "-servername", NAME, *options]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=30
    )
    assert ("Cipher is (NONE)" not in done.stdout and done.returncode == 0) == welcome, done.stdout


def test_a_scanner_finds_nothing_weak(front: Front) -> None:
    command = ["sslscan", "--xml=-", f"--sni-name={NAME}", f"127.0.0.1:{front.port}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found = ElementTree.fromstring(done.stdout)
    enabled = {
        f"{each.get('type')} {each.get('version')}"
        for each in found.iter("protocol")
        if each.get("enabled") == "1"
    }
    assert enabled == {"tls 1.2", "tls 1.3"}
    ciphers = [(str(each.get("cipher")), each.get("strength")) for each in found.iter("cipher")]
    assert len(ciphers) >= 4
    # Forward secrecy, and authenticated encryption.
    weak = [
        name
        for name, strength in ciphers
        if strength not in ("strong", "acceptable")
        or not name.startswith(("ECDHE-", "TLS_"))
        or not any(mode in name for mode in ("GCM", "CHACHA20"))
    ]
    assert weak == []
    assert [each.attrib for each in found.iter("heartbleed") if each.get("vulnerable") != "0"] == []
    (renegotiation,) = found.iter("renegotiation")
    assert renegotiation.get("supported") == "0"


def test_notebook_opens_websockets(front: Front) -> None:
    allowed = {"Authorization": f"token {front.token()}"}
    assert front.ask("/notebook/api/kernels").status == 403
    kernel = json.loads(front.ask("/notebook/api/kernels", "POST", b"{}", **allowed).body)["id"]
    answer = front.ask(
        f"/notebook/api/kernels/{kernel}/channels",
        Upgrade="websocket",
        Connection="Upgrade",
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        Sec_WebSocket_Version="13",
        Origin=f"https://{NAME}:{front.port}",
        **allowed,
    )
    assert answer.status == 101
    front.ask(f"/notebook/api/kernels/{kernel}", "DELETE", **allowed)
    # Nothing of what a client says of itself is written down but the path.
    front.ask(f"/notebook/lab?token={front.token()}")
    assert front.token() not in docker("logs", GATEWAY)


def test_large_artifacts_pass_as_they_are(front: Front, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        for _ in range(MEBIBYTES):
            file.write(os.urandom(1 << 20))
    with path.open("rb") as file:
        sent = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        stored = front.ask(
            "/api/2.0/mlflow-artifacts/artifacts/large", "PUT", file, Content_Length=str(path.stat().st_size)
        )
    assert stored.status == 200, stored.body
    received = front.ask("/api/2.0/mlflow-artifacts/artifacts/large")
    assert hashlib.sha256(received.body).hexdigest() == sent
    assert 0 < most_memory() < MEBIBYTES << 19, "the gateway has kept what it passed on"


def most_memory() -> int:
    """Return the most bytes that the processes of the gateway have ever held."""
    statuses = docker("exec", GATEWAY, "bash", "-c", "cat /proc/[0-9]*/status")
    return sum(int(line.split()[1]) << 10 for line in statuses.splitlines() if line.startswith("VmHWM:"))


def test_nothing_of_the_gateway_is_roots_or_secret(front: Front) -> None:
    (shown,) = json.loads(docker("inspect", GATEWAY))
    key = front.lab.stack / ".secrets/gateway/certificate.pem"
    assert shown["Config"]["User"] == "10003:10003"
    assert shown["HostConfig"]["ReadonlyRootfs"]
    assert shown["HostConfig"]["CapDrop"] == ["ALL"]
    assert (key.stat().st_uid, key.stat().st_mode & 0o777) == (10003, 0o600)
    text = json.dumps(shown)
    assert front.token() not in text
    assert "PRIVATE KEY" not in text
    # What others reach is the gateway alone.
    published = {
        name: {binding["HostIp"] for bindings in ports.values() for binding in bindings or []}
        for name, ports in (
            (each, json.loads(docker("inspect", "--format={{json .NetworkSettings.Ports}}", each)))
            for each in docker("ps", "--format={{.Names}}", "--filter=name=^mlflow-gate-").splitlines()
        )
        if name != "mlflow-gate-sftp"
    }
    assert {name for name, addresses in published.items() if addresses - {"127.0.0.1"}} == {GATEWAY}


@pytest.mark.sweep  # In full, test_users.py has one of a stack behind a gateway.
@pytest.mark.parametrize("options", [(), ("--check", "--diff")])
def test_second_run_changes_nothing(front: Front, options: tuple[str, ...]) -> None:
    output = passes(front.lab.play("site.yml", *options, artifact_storage=front.storage))
    assert "changed=0" in output.rpartition("docker-host ")[2], output[-3000:]


def test_a_new_certificate_fails_no_request(front: Front) -> None:
    before = front.ask(SEARCH).certificate["serialNumber"]
    containers = front.lab.containers()
    for name in (f"{NAME}.key", f"{NAME}.crt"):
        (front.lab.directory / "gateway" / name).unlink()
    # Half sent when the certificate changes, and none the worse for it.
    with front.asking() as asking:
        output = passes(front.lab.play("site.yml", "--skip-tags", "verify"))
        time.sleep(2)
    assert "Reload the gateway" in output
    assert asking.errors == []
    assert [answer for answer in asking.answers if answer.status != 200] == []
    serials = [answer.certificate["serialNumber"] for answer in asking.answers]
    assert {serials[0], serials[-1]} == {before, front.ask(SEARCH).certificate["serialNumber"]}
    assert before != serials[-1]
    assert front.lab.containers() == containers


def test_a_switch_is_a_time_to_wait_and_nothing_else(front: Front) -> None:
    gateway = front.lab.containers()["gateway"]
    kept = os.urandom(MEBIBYTES << 20)
    assert front.ask("/api/2.0/mlflow-artifacts/artifacts/kept", "PUT", kept).status == 200
    with front.asking() as asking:
        passes(front.lab.play(SWITCH, artifact_storage="sftp"))
        time.sleep(2)
    assert asking.errors == []
    closed = [answer for answer in asking.answers if answer.status != 200]
    assert {(answer.status, answer.headers.get("retry-after")) for answer in closed} == {(503, "30")}
    assert asking.answers[-1].status == 200
    assert front.lab.containers()["gateway"] == gateway
    assert front.ask("/api/2.0/mlflow-artifacts/artifacts/kept").body == kept


def test_page_for_people_and_a_whole_answer_to_an_upload_while_mlflow_is_closed(front: Front) -> None:
    front.lab.compose("stop", "mlflow")
    try:
        page = wait_for(lambda: front.ask("/", Accept="text/html,*/*"), 503, "Closed for a moment")
        assert page.headers["retry-after"] == "30"
        # Somebody who has begun to send is told as well.
        sent = front.ask("/api/2.0/mlflow-artifacts/artifacts/late", "PUT", b"0" * (8 << 20))
        assert (sent.status, sent.headers["retry-after"]) == (503, "30")
    finally:
        front.lab.compose("start", "mlflow")
    wait_for(lambda: front.ask(SEARCH), 200)


def test_requests_wait_when_the_gateway_is_told_so(front: Front) -> None:
    docker("exec", GATEWAY, *command("maint"))
    waiting = front.ask("/api/2.0/mlflow/experiments/search", "POST", b'{"max_results": 1}')
    assert (waiting.status, waiting.headers["retry-after"]) == (503, "30")
    docker("exec", GATEWAY, *command("ready"))
    assert front.ask(SEARCH).status == 200


def test_what_haproxy_cannot_do_is_said(front: Front) -> None:
    unknown = [word.replace("mlflow/mlflow1", "mlflow/nobody") for word in command("ready")]
    done = subprocess.run(["docker", "exec", GATEWAY, *unknown], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (1, "HAProxy: No such server.")


def wait_for(ask: Callable[[], Answer], status: int, text: str = "") -> Answer:
    end = time.monotonic() + 60
    while (answer := ask()).status != status or text not in answer.body.decode():
        assert time.monotonic() < end, answer
        time.sleep(0.2)
    return answer


def test_verification_tells_of_a_gateway_that_does_not_answer(front: Front) -> None:
    docker("stop", GATEWAY)
    output = fails(front.lab.play("playbooks/verify.yml", artifact_storage=front.storage))
    assert "The gateway does not answer" in output
    report = json.loads((front.lab.directory / "report/report.json").read_text())
    assert report["columns"][-1] == "gateway"
    docker("start", GATEWAY)


def test_bad_input_is_refused_all_at_once(front: Front, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_certificate(tmp_path, name, f"{name}.example")
    (tmp_path / "b.key").chmod(0o644)
    with socket.create_server(("127.0.0.1", 14156)):
        output = fails(
            front.lab.play(
                "site.yml",
                mlflow_gateway_tls="own",
                mlflow_gateway_certificate_file=str(tmp_path / "a.crt"),
                mlflow_gateway_key_file=str(tmp_path / "b.key"),
                mlflow_gateway_notebook="/api",
            )
        )
        taken = fails(front.lab.play("playbooks/preflight.yml", mlflow_gateway_http_port=14156))
    flat = " ".join(output.split())
    assert "MLflow itself serves /api" in flat
    assert "has mode 0644" in flat
    assert f"is for a.example, not for {NAME}" in flat
    assert "is not the certificate's" in flat
    assert "Nothing has been changed" in flat
    assert "Port 14156 on 0.0.0.0 is taken" in " ".join(taken.split())
    assert front.ask(SEARCH).status == 200


@pytest.mark.sweep
def test_an_image_with_an_old_haproxy_is_refused(front: Front) -> None:
    before = front.lab.containers()
    tag = f"{front.lab.name}-old-haproxy:1"
    (shown,) = json.loads(docker("inspect", front.lab.containers()["gateway"]))
    said = "HAProxy version 2.6.12-1+deb12u2 2025/04/25 - https://haproxy.org/"
    recipe = f"FROM {shown['Config']['Image']}\n"
    recipe += f"RUN rm /usr/sbin/haproxy && printf '#!/bin/sh\\necho {said}\\n' >/usr/sbin/haproxy"
    recipe += " && chmod 755 /usr/sbin/haproxy\n"
    subprocess.run(["docker", "build", "--quiet", "--tag", tag, "-"], input=recipe.encode(), check=True)
    try:
        output = fails(front.lab.play("site.yml", mlflow_gateway_image=tag, artifact_storage=front.storage))
    finally:
        docker("image", "rm", tag)
    flat = " ".join(output.split())
    assert f"{tag}: its HAProxy is 2.6.12-1+deb12u2, and a gateway needs 3.0 or newer" in flat
    assert front.lab.containers() == before
    assert tag not in (front.lab.stack / "compose.yml").read_text()


@pytest.mark.sweep
def test_a_certificate_of_ones_own_is_served_and_replaced(front: Front, tmp_path: Path) -> None:
    containers = front.lab.containers()
    own = {
        "artifact_storage": front.storage,
        "mlflow_gateway_tls": "own",
        "mlflow_gateway_certificate_file": str(tmp_path / "own.crt"),
        "mlflow_gateway_key_file": str(tmp_path / "own.key"),
    }
    trusting = [front.context()]
    serials = [front.ask(SEARCH).certificate["serialNumber"]]
    # The second time as a hook of whoever renews it does.
    for options in (("--skip-tags", "verify"), ("--tags", "stack")):
        trusting.append(make_certificate(tmp_path, "own", NAME))
        with pytest.raises(ssl.SSLCertVerificationError):
            front.ask(SEARCH, context=trusting[-1])
        output = passes(front.lab.play("site.yml", *options, **own))
        assert (tmp_path / "own.key").read_text().splitlines()[1] not in output
        answer = front.ask(SEARCH, context=trusting[-1])
        assert answer.status == 200
        serials.append(answer.certificate["serialNumber"])
        # The one before it is served no more.
        with pytest.raises(ssl.SSLCertVerificationError):
            front.ask(SEARCH, context=trusting[-2])
    assert len(set(serials)) == 3
    assert front.lab.containers() == containers


@pytest.mark.sweep
def test_switched_off(front: Front) -> None:
    passes(
        front.lab.play(
            "site.yml", "--skip-tags", "verify", mlflow_gateway_hostname="", artifact_storage=front.storage
        )
    )
    assert "gateway" not in front.lab.containers()
    assert not (front.lab.stack / "gateway").exists()
    assert not (front.lab.stack / ".secrets/gateway").exists()
