"""What hosts of the group mlflow_clients take over from their server, and what is refused."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.clients import (
    client_of,
    clients_of,
    keys_of,
    running_on,
    switch_findings,
)

SERVER = {
    "mlflow_gateway_hostname": "MLflow.example.org",
    "sftp_host": "h",
    "sftp_port": 22,
    "sftp_user": "u",
    "sftp_path": "/a",
}
ACCOUNT = {name: value for name, value in SERVER.items() if name.startswith("sftp_")}
GROUPS = {"docker_hosts": ["server"], "mlflow_clients": ["gpu"]}


def variables(server: dict[str, Any] | None = None, **client: Any) -> dict[str, dict[str, Any]]:
    return {"server": SERVER | (server or {}), "gpu": ACCOUNT | client}


def test_a_client_uses_the_front_door_of_the_only_server() -> None:
    client = client_of("gpu", GROUPS, variables())
    assert client.findings == ()
    assert (client.server, client.url, client.ca_file) == ("server", "https://mlflow.example.org", "")
    assert client.services == ("notebook", "experiment-service", "train")
    assert (client.storage, client.access, client.login) == ("sftp", "direct", "none")


@pytest.mark.parametrize(
    ("server", "client", "url", "ca_file"),
    [
        ({"mlflow_gateway_https_port": "8443"}, {}, "https://mlflow.example.org:8443", ""),
        (
            {"mlflow_gateway_tls": "self", "mlflow_gateway_authority_dir": "/ca"},
            {},
            "https://mlflow.example.org",
            "/ca/ca.crt",
        ),
        (
            {"mlflow_gateway_tls": "self", "mlflow_gateway_authority_dir": "/ca"},
            {"mlflow_stack_server_ca_file": "/other.pem"},
            "https://mlflow.example.org",
            "/other.pem",
        ),
    ],
)
def test_the_front_door_and_what_vouches_for_it(
    server: dict[str, Any], client: dict[str, Any], url: str, ca_file: str
) -> None:
    found = client_of("gpu", GROUPS, variables(server, **client))
    assert (found.findings, found.url, found.ca_file) == ((), url, ca_file)


@pytest.mark.parametrize(
    ("storage", "access", "holds_key"),
    [("sftp", "direct", True), ("sftp", "proxied", False), ("local", "proxied", False)],
)
def test_only_direct_access_takes_a_key(storage: str, access: str, holds_key: bool) -> None:
    # The client's own inventory may say otherwise: the server decides.
    there = variables(
        {"artifact_storage": storage, "mlflow_stack_access": access}, mlflow_stack_access="direct"
    )
    assert client_of("gpu", GROUPS, there).holds_key is holds_key
    assert keys_of(GROUPS, there) == (["server", "gpu"] if holds_key else ["server"])


def test_services_are_the_inventorys_without_the_server() -> None:
    there = variables(mlflow_stack_services=["mlflow", "train"])
    assert client_of("gpu", GROUPS, there).services == ("train",)


def test_without_clients_the_docker_hosts_have_the_keys() -> None:
    assert keys_of({"docker_hosts": ["one", "two"]}, {}) == ["one", "two"]


@pytest.mark.parametrize(
    ("server", "client", "finding"),
    [
        ({"mlflow_gateway_hostname": ""}, {}, "server has no front door"),
        ({"mlflow_gateway_bind": "127.0.0.1"}, {}, "mlflow_gateway_bind is 127.0.0.1, for that host alone"),
        ({"mlflow_stack_services": ["notebook"]}, {}, "has no mlflow there"),
        ({}, {"mlflow_stack_services": ["mlflow"]}, "leaves it nothing to run"),
        ({"artifact_storage": "local"}, {}, "which gpu cannot see"),
        ({}, {"sftp_path": "/b", "sftp_user": "v"}, "another sftp_user and another sftp_path than server"),
        ({}, {"mlflow_stack_server_host": "gone"}, "is gone, which is none of docker_hosts: server."),
    ],
)
def test_clients_that_are_refused(server: dict[str, Any], client: dict[str, Any], finding: str) -> None:
    (found,) = client_of("gpu", GROUPS, variables(server, **client)).findings
    assert finding in found


def test_all_is_said_at_once() -> None:
    there = variables({"mlflow_gateway_hostname": "", "artifact_storage": "local"}, mlflow_stack_services=[])
    assert len(client_of("gpu", GROUPS, there).findings) == 3


@pytest.mark.parametrize(
    ("servers", "finding"),
    [
        (["gpu"], "gpu is in both docker_hosts and mlflow_clients"),
        ([], "no host is in docker_hosts"),
        (["one", "two"], "mlflow_stack_server_host has to say which"),
    ],
)
def test_hosts_without_one_server(servers: list[str], finding: str) -> None:
    client = client_of("gpu", {"docker_hosts": servers, "mlflow_clients": ["gpu"]}, {"gpu": {}})
    assert finding in client.findings[0]
    assert client.server == ""


def test_the_server_of_several_is_named() -> None:
    groups = {"docker_hosts": ["one", "two"], "mlflow_clients": ["gpu", "cpu"]}
    there = {
        "one": SERVER,
        "two": SERVER | {"mlflow_gateway_hostname": "two.example.org"},
        "gpu": ACCOUNT | {"mlflow_stack_server_host": "two"},
        "cpu": ACCOUNT | {"mlflow_stack_server_host": "one"},
    }
    assert client_of("gpu", groups, there).url == "https://two.example.org"
    assert clients_of("two", groups, there) == ["gpu"]


def test_what_runs_on_a_client_is_known_or_not() -> None:
    assert running_on({"__mlflow_stack_host": {"engine": "answers", "running": ["mlflow-notebook-1"]}}) == [
        "mlflow-notebook-1"
    ]
    assert running_on({"__mlflow_stack_host": {"engine": "absent", "running": []}}) == []
    assert running_on({"__mlflow_stack_host": {"engine": "silent", "running": []}}) is None
    assert running_on({"__mlflow_stack_host": {"unreachable": True}}) is None
    assert running_on({}) is None


@pytest.mark.parametrize(
    ("storage", "access", "running", "finding"),
    [
        ("local", "direct", {"gpu": []}, "which gpu cannot see"),
        ("sftp", "direct", {"gpu": ["mlflow-train-1"]}, "gpu runs mlflow-train-1"),
        ("sftp", "proxied", {"gpu": None}, "Nobody could ask gpu"),
    ],
)
def test_a_switch_that_would_leave_clients_with_the_wrong_store(
    storage: str, access: str, running: dict[str, list[str] | None], finding: str
) -> None:
    (found,) = switch_findings(storage, access, running)
    assert finding in found


def test_a_switch_goes_on_without_clients_and_beside_stopped_ones() -> None:
    assert switch_findings("local", "direct", {}) == []
    assert switch_findings("sftp", "direct", {"gpu": []}) == []
