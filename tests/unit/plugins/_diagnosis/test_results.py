"""What the steps of verify.yml mean, from what was registered at the vantage points."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.filter.verify_report import (
    verify_report,
    verify_results,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.results import (
    container_results,
    key_difference,
)

Variables = dict[str, Any]

ACCOUNT = {"stages": []}
SKIPPED = {"changed": False, "skipped": True}
BROKEN = {"failed": True, "msg": "boom"}
LOST = {"unreachable": True, "msg": "no route"}
ROUND_TRIP = {"files": [{}], "times": {}, "read_back": True}
A, B = "a" * 64, "b" * 64
CONFIGURED = f"entered\n{A}  /etc/mlflow_sftp/ssh_config\n"
KEY = "/run/secrets/mlflow_sftp_key/id_ed25519"


def steps(**results: Any) -> Variables:
    """Variables of a vantage point with what its steps returned."""
    return {f"verify_step_{name}": result for name, result in results.items()}


def found(*names: str) -> Variables:
    """The variables of a Docker host that has these files."""
    return {"verify_found": {"files": [{"path": f"/stack/{name}", "checksum": A} for name in names]}}


def container(docker_host: str, service: str, **results: Any) -> Variables:
    """Variables of a service's container, as it is added to the inventory."""
    return {
        "mlflow_stack_docker_host": docker_host,
        "mlflow_stack_service": service,
        "ansible_host": f"stack-{service}-1",
        **steps(**results),
    }


def entered(text: str = "entered\n", **results: Any) -> Variables:
    """Variables of a container that was entered."""
    return container("one", "mlflow", entered={"stdout": text}, **results)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        pytest.param(entered(), [], id="entered, and nothing to check"),
        pytest.param(entered(account=SKIPPED, round_trip=SKIPPED), [], id="skipped"),
        pytest.param(
            entered(account=ACCOUNT, round_trip=ROUND_TRIP),
            [ACCOUNT, ROUND_TRIP],
            id="all is well",
        ),
        pytest.param(
            entered(account=BROKEN, round_trip=ROUND_TRIP),
            [BROKEN, ROUND_TRIP],
            id="one step breaks",
        ),
        pytest.param(
            entered(round_trip=BROKEN, purged=BROKEN),
            [BROKEN, BROKEN],
            id="round trip and purge break",
        ),
        pytest.param(
            entered(round_trip={**ROUND_TRIP, "read_back": False}, read_back={"digests": []}),
            [ROUND_TRIP],
            id="read back from the Docker host",
        ),
        pytest.param(
            entered(round_trip={**ROUND_TRIP, "read_back": False}),
            [{**ROUND_TRIP, "read_back": False}],
            id="not read back where the store is local",
        ),
        pytest.param(
            entered(round_trip=ROUND_TRIP, read_back=BROKEN, removed={"changed": True}),
            [BROKEN],
            id="other bytes on the server",
        ),
        pytest.param(
            entered(
                round_trip=ROUND_TRIP,
                read_back=BROKEN,
                removed={**BROKEN, "msg": "kept"},
            ),
            [BROKEN, {**BROKEN, "msg": "kept"}],
            id="kept run cannot be removed",
        ),
        pytest.param(
            entered(account=LOST),
            [{"failed": True, "cause": "vantage_unreachable", "msg": "no route"}],
            id="lost after it was entered",
        ),
        pytest.param(
            container("one", "mlflow"),
            [
                {
                    "failed": True,
                    "cause": "vantage_unreachable",
                    "msg": "no answer from stack-mlflow-1",
                }
            ],
            id="never reached",
        ),
        pytest.param(
            container("one", "mlflow", entered=LOST),
            [
                {
                    "failed": True,
                    "cause": "vantage_unreachable",
                    "msg": "no answer from stack-mlflow-1",
                }
            ],
            id="lost on entry",
        ),
        pytest.param(
            entered("Error response from daemon: No such container"),
            [
                {
                    "failed": True,
                    "cause": "vantage_unreachable",
                    "msg": "no answer from stack-mlflow-1",
                }
            ],
            id="no such container",
        ),
        pytest.param(
            container("one", "mlflow", started=BROKEN, entered={"stdout": ""}),
            [{**BROKEN, "cause": "vantage_unreachable"}],
            id="the training job does not start",
        ),
    ],
)
def test_steps_of_a_container(variables: Variables, expected: list[Variables]) -> None:
    assert list(container_results("one", {}, variables)) == expected


@pytest.mark.parametrize(
    ("host", "text", "seen"),
    [
        pytest.param(found("id_ed25519"), f"{CONFIGURED}{A}  {KEY}\n", None, id="the same"),
        pytest.param(
            found("id_ed25519"),
            f"{CONFIGURED}{B}  {KEY}\n",
            f"container has {B}",
            id="another",
        ),
        pytest.param(
            found("id_ed25519"),
            f"{CONFIGURED}sha256sum: {KEY}: No such file or directory\n",
            "container does not exist",
            id="none",
        ),
        pytest.param(
            found("id_ed25519"),
            f"{CONFIGURED}sha256sum: {KEY}: Permission denied\n",
            None,
            id="unreadable",
        ),
        pytest.param(
            found("id_ed25519"),
            f"entered\n{B}  {KEY}\n",
            None,
            id="a service without configuration",
        ),
        pytest.param(
            found("compose.yml"),
            f"{CONFIGURED}{B}  {KEY}\n",
            None,
            id="no key on the Docker host",
        ),
        pytest.param({}, CONFIGURED, None, id="nothing found"),
        pytest.param(
            {**found("id_rsa"), "sftp_client_container_key_dir": "/keys"},
            f"{CONFIGURED}{B}  /keys/id_rsa\n",
            "/keys/id_rsa in the container has",
            id="in another directory",
        ),
    ],
)
def test_key_in_the_container(host: Variables, text: str, seen: str | None) -> None:
    results = list(key_difference("one", host, text))
    assert [result["cause"] for result in results] == ["container_key_outdated"] * bool(seen)
    assert all(str(seen) in result["msg"] for result in results)


@pytest.mark.parametrize(
    ("compared", "seen"),
    [
        pytest.param(SKIPPED, None, id="no stack"),
        pytest.param({"actions": []}, None, id="as it should be"),
        pytest.param(
            {
                "actions": [
                    {"id": "a", "status": "Recreating"},
                    {"id": "a", "status": "Starting"},
                    {"id": "b", "status": "Starting"},
                ]
            },
            "docker compose up would act on a",
            id="one would be recreated",
        ),
        pytest.param(
            {"actions": [{"id": "b", "status": "Starting"}]},
            "docker compose up would act on b",
            id="one does not run",
        ),
        pytest.param(BROKEN, "boom", id="files that Compose refuses"),
    ],
)
def test_containers_of_the_docker_host(compared: Variables, seen: str | None) -> None:
    host = found("compose.yml") | steps(containers=compared, account=ACCOUNT)
    entries = verify_results(["one"], {"one": host}, {"docker_hosts": ["one"]}, ["one"])
    assert entries[0] == {"vantage": "Docker host", "result": ACCOUNT}
    assert [(entry["result"]["cause"], entry["result"]["msg"]) for entry in entries[1:]] == (
        [("stack_outdated", seen)] if seen else []
    )


_ONE = {
    "docker_hosts": ["one"],
    "verify_controllers": ["one-controller"],
    "mlflow_containers": ["one-mlflow"],
}
_TWO = {
    "docker_hosts": ["one", "two"],
    "mlflow_containers": ["one-mlflow", "two-mlflow"],
}
_CHECKED = steps(account=ACCOUNT)
_UNREACHED = "{} could not be reached, or failed before it could be checked"
_NOTHING = "there is nothing to verify: /stack holds no stack and no key"
_EMPTY = {"mlflow_stack_dir": "/stack", "verify_found": {"files": []}}
_LOCAL = found("compose.yml") | {"artifact_storage": "local"}


@pytest.mark.parametrize(
    ("docker_hosts", "variables", "groups", "reached", "expected"),
    [
        pytest.param(
            ["one"],
            {
                "one": _CHECKED,
                "one-controller": _CHECKED,
                "one-mlflow": entered(account=ACCOUNT),
            },
            _ONE,
            ["one"],
            [("controller", ""), ("Docker host", ""), ("mlflow", "")],
            id="everybody answered",
        ),
        pytest.param(
            ["one"],
            {"one": {}, "one-controller": {}, "one-mlflow": container("one", "mlflow")},
            _ONE,
            ["one"],
            [("mlflow", "no answer from stack-mlflow-1")],
            id="of those that returned nothing, only a container should have",
        ),
        pytest.param(
            ["one", "two"],
            {
                "one": _CHECKED,
                "two": {},
                "one-mlflow": container("one", "mlflow"),
                "two-mlflow": container("two", "mlflow", entered={"stdout": "entered"}, account=ACCOUNT),
            },
            _TWO,
            ["one"],
            [
                ("one: Docker host", ""),
                ("one: mlflow", "no answer from stack-mlflow-1"),
                ("two: mlflow", ""),
                ("two: Docker host", _UNREACHED.format("two")),
            ],
            id="two hosts, one lost on the way",
        ),
        pytest.param(
            ["two"],
            {
                "one": _CHECKED,
                "two": _CHECKED,
                "one-mlflow": container("one", "mlflow"),
                "two-mlflow": container("two", "mlflow", entered={"stdout": "entered"}, account=ACCOUNT),
            },
            _TWO,
            ["one", "two"],
            [("two: Docker host", ""), ("two: mlflow", "")],
            id="one of two is reported",
        ),
        pytest.param(
            ["one", "two"],
            {"one": _CHECKED, "two": _EMPTY},
            {"docker_hosts": ["one", "two"]},
            ["one", "two"],
            [("one: Docker host", ""), ("two: Docker host", _NOTHING)],
            id="one of two has nothing to verify",
        ),
        pytest.param(
            ["one", "gpu"],
            {
                "one": _CHECKED,
                # No account to check, and no stack that would be missing.
                "gpu": found("compose.yml") | {"mlflow_stack_server_url": "https://mlflow.example.org"},
                "gpu-train": container("gpu", "train", entered={"stdout": "entered"}, account=ACCOUNT),
            },
            {"docker_hosts": ["one"], "mlflow_clients": ["gpu"], "mlflow_containers": ["gpu-train"]},
            ["one", "gpu"],
            [("one: Docker host", ""), ("gpu: train", "")],
            id="a client host without a key",
        ),
        pytest.param(
            ["one", "gpu"],
            {
                "one": _CHECKED,
                "gpu": found("compose.yml") | {"mlflow_stack_server_url": "https://mlflow.example.org"},
            },
            {"docker_hosts": ["one"], "mlflow_clients": ["gpu"]},
            ["one", "gpu"],
            [("one: Docker host", "")],
            id="a client host at the quick level",
        ),
        pytest.param(
            ["one", "gpu"],
            {"one": _CHECKED, "gpu": _EMPTY | {"mlflow_stack_server_url": "https://mlflow.example.org"}},
            {"docker_hosts": ["one"], "mlflow_clients": ["gpu"]},
            ["one", "gpu"],
            [("one: Docker host", ""), ("gpu: Docker host", _NOTHING)],
            id="a client host that was not deployed",
        ),
        pytest.param(
            ["one", "two"],
            {"one": _LOCAL, "two": _EMPTY},
            {"docker_hosts": ["one", "two"]},
            ["one", "two"],
            [("two: Docker host", _NOTHING)],
            id="one of two has nothing to check quickly",
        ),
        pytest.param(
            ["one"],
            {"one": _LOCAL},
            {"docker_hosts": ["one"]},
            ["one"],
            [],
            id="nothing to check quickly",
        ),
        pytest.param(
            ["one"],
            {"one": _EMPTY},
            {"docker_hosts": ["one"]},
            ["one"],
            [],
            id="nothing is deployed",
        ),
        pytest.param(
            ["one"],
            {"one": {}},
            {"docker_hosts": ["one"]},
            [],
            [("Docker host", _UNREACHED.format("one"))],
            id="the only host is lost",
        ),
    ],
)
def test_results_of_all_vantage_points(
    docker_hosts: list[str],
    variables: dict[str, Variables],
    groups: dict[str, list[str]],
    reached: list[str],
    expected: list[tuple[str, str]],
) -> None:
    entries = verify_results(docker_hosts, variables, groups, reached)
    assert [(entry["vantage"], entry["result"].get("msg", "")) for entry in entries] == expected
    failed = [entry["result"]["cause"] for entry in entries if entry["result"].get("failed")]
    assert failed == ["vantage_unreachable"] * sum(bool(seen) for _, seen in expected)
    assert verify_report(entries)["ok"] is not bool(failed)


def test_a_host_that_may_be_empty() -> None:
    hosts = {"one": _CHECKED, "two": _EMPTY}
    entries = verify_results(["one", "two"], hosts, {"docker_hosts": ["one", "two"]}, ["one", "two"], True)
    assert [entry["vantage"] for entry in entries] == ["one: Docker host"]


@pytest.mark.parametrize(
    ("told", "status", "cause", "detail"),
    [
        ({"level": "ok", "lines": ["a", "b"], "findings": []}, "ok", None, "a; b"),
        ({"level": "low", "lines": ["a", "b"], "findings": ["b"]}, "warning", "space_low", "b"),
        ({"level": "full", "lines": ["a", "b"], "findings": ["a"]}, "warning", "space_reserved", "a"),
        # What nobody could ask is not known, and neither nothing nor enough.
        (BROKEN, "skipped", None, "boom"),
    ],
)
def test_space(told: Variables, status: str, cause: str | None, detail: str) -> None:
    host = {**found("compose.yml"), "__mlflow_stack_capacity": told}
    report = verify_report(verify_results(["one"], {"one": host}, {"docker_hosts": ["one"]}, ["one"]))
    (row,) = report["rows"]
    shown = dict(zip(report["columns"], row["cells"], strict=True))["space"]
    assert (shown["status"], shown["cause"], shown["detail"]) == (status, cause, detail)
    # It is no reason to roll a deployment back.
    assert report["ok"]
    assert [problem["code"] for problem in report["problems"]] == ([cause] if cause else [])


@pytest.mark.parametrize(
    ("told", "status", "cause"),
    [
        (
            {"stages": [{"name": "gateway", "status": "ok", "seconds": 0.1, "detail": "d", "cause": None}]},
            "ok",
            None,
        ),
        (BROKEN, "failed", "gateway_unreachable"),
    ],
)
def test_gateway(told: Variables, status: str, cause: str | None) -> None:
    host = {
        **found("compose.yml"),
        "__mlflow_gateway_seen": told,
        "__mlflow_stack_capacity": {"skipped": True},
    }
    report = verify_report(verify_results(["one"], {"one": host}, {"docker_hosts": ["one"]}, ["one"]))
    (row,) = report["rows"]
    shown = dict(zip(report["columns"], row["cells"], strict=True))["gateway"]
    assert (shown["status"], shown["cause"]) == (status, cause)
    assert report["ok"] == (cause is None)


def test_no_gateway_no_column() -> None:
    told: Variables = {"skipped": True}
    host = {**found("compose.yml"), "__mlflow_gateway_seen": told, "__mlflow_stack_capacity": BROKEN}
    report = verify_report(verify_results(["one"], {"one": host}, {"docker_hosts": ["one"]}, ["one"]))
    assert "gateway" not in report["columns"]
