"""Which secrets of a service are replaced, and when nothing may be."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import Node
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.objects import Object
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.renewal import (
    Exchange,
    exchanges,
    shared,
    unneeded,
    unquiet,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.rollout import Progress

KEY = "/run/secrets/mlflow_sftp_key/id_ed25519"


def seen(name: str, place: str = KEY) -> dict[str, Any]:
    """A secret as a service has it."""
    return {"SecretName": name, "File": {"Name": place, "UID": "10001", "GID": "10002", "Mode": 0o600}}


def held(name: str, place: str = KEY, kind: Any = "secret") -> Object:
    """What a file of the home is."""
    return Object(kind, name, f"/opt/stack/{name}", "mlflow", place, "1", "1", 0o400)


@pytest.mark.parametrize(
    ("sees", "holds", "expected"),
    [
        ([seen("key_1")], [held("key_1")], []),
        # As whom and how a service sees it stays what it was.
        (
            [seen("key_1")],
            [held("key_2")],
            [Exchange("key_1", "key_2", f"target={KEY},uid=10001,gid=10002,mode=0o600")],
        ),
        ([seen("key_1")], [held("key_2", kind="config")], []),
        ([seen("key_1")], [], []),
        ([], [held("key_2")], []),
        ([seen("key_1"), seen("pass_1", "/p")], [held("key_1"), held("pass_2", "/p")], ["pass_2"]),
    ],
)
def test_what_takes_the_place_of_what(
    sees: list[dict[str, Any]], holds: list[Object], expected: list[Any]
) -> None:
    found = exchanges({"Secrets": sees}, holds)
    assert found == expected or [each.new for each in found] == expected


def test_a_service_without_secrets() -> None:
    assert exchanges({"Secrets": None}, [held("key_2")]) == []
    assert exchanges({}, [held("key_2")]) == []


def test_only_what_no_service_sees_is_removed() -> None:
    services = [
        {"Spec": {"TaskTemplate": {"ContainerSpec": {"Secrets": [seen("a")]}}}},
        {"Spec": {"TaskTemplate": {"ContainerSpec": {}}}},
    ]
    assert unneeded(["b", "a", "c"], services) == ["b", "c"]


def service(name: str, *secrets: str) -> dict[str, Any]:
    """What the swarm tells of a service."""
    container = {"Secrets": [seen(each) for each in secrets]}
    return {"Spec": {"Name": name, "TaskTemplate": {"ContainerSpec": container}}}


@pytest.mark.parametrize(
    ("secrets", "found"),
    [
        ({"s_mlflow": ["key", "pass"], "s_gateway": ["certificate"]}, []),
        # With direct access, dask's workers log in themselves.
        ({"s_mlflow": ["key", "pass"], "s_dask-worker": ["key", "certificate"]}, ["s_dask-worker"]),
        ({"s_dask-worker": ["key"]}, []),
    ],
)
def test_who_else_sees_a_secret(secrets: dict[str, list[str]], found: list[str]) -> None:
    said = list(shared([service(name, *each) for name, each in secrets.items()], ["s_mlflow"]))
    assert [text.split()[0] for text in said] == found
    assert all("Nothing was changed." in text for text in said)


def node(identifier: str = "n1", state: str = "ready", availability: str = "active") -> Node:
    return Node(identifier, f"host-{identifier}", "worker", availability, state)


@pytest.mark.parametrize(
    ("nodes", "service", "words"),
    [
        ([node()], Progress("s", 2, 2), ""),
        ([node()], Progress("s", 2, 2, "completed"), ""),
        # What was rolled back runs as it is described.
        ([node()], Progress("s", 2, 2, "rollback_completed"), ""),
        ([node(state="down")], Progress("s", 2, 2), "The node host-n1 (n1) is down"),
        ([node("n2")], Progress("s", 2, 2), "this run cannot ask it"),
        ([node("n2", availability="pause")], Progress("s", 2, 2), "this run cannot ask it"),
        ([node("n2", availability="drain")], Progress("s", 2, 2), ""),
        ([node()], Progress("s", 1, 2, "updating"), "s is being changed"),
        ([node()], Progress("s", 1, 2, "rollback_started"), "s is being changed"),
        ([node()], Progress("s", 2, 2, "paused"), "has stopped on its way"),
        ([node()], Progress("s", 2, 2, "rollback_paused"), "has stopped on its way"),
        ([node()], Progress("s", 1, 2), "not every container runs"),
        # Scaled down by hand.
        ([node()], Progress("s", 0, 0), "not every container runs"),
    ],
)
def test_what_has_to_be_quiet(nodes: list[Node], service: Progress, words: str) -> None:
    found = list(unquiet(nodes, {"n1"}, [service]))
    assert len(found) == bool(words)
    assert not words or words in found[0]
    assert all("Nothing was changed." in each for each in found)


def test_every_reason_is_told_at_once() -> None:
    found = list(unquiet([node(state="down"), node("n2")], {"n1"}, [Progress("s", 0, 2)]))
    assert len(found) == 3
