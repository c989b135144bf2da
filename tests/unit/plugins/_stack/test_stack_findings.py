"""Every reason why a Docker host cannot take a stack is told, each with what to do."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.findings import (
    Found,
    Port,
    Wanted,
    stack_findings,
)

URI = "sftp://freegee@tajo.host.ch:2121/a"
SQLITE, SERVICE = "sqlite:////var/lib/mlflow/mlflow.db", "postgresql://postgres:5432/mlflow"
LOCAL, REMOTE = Store.at("local", "direct", "/mlruns"), Store.at("sftp", "direct", URI)
PROXIED = Store.at("sftp", "proxied", URI)
PORT = Port("mlflow_stack_port", "127.0.0.1", 5000, "nginx, process 12")
HOME = {"home": "this stack (project m)", "directory": "/opt/m"}

# What is wanted, what is there, and words of the one sentence.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "silent engine": ({}, {"engine": "silent"}, ["does not answer", "/opt/m", "ansible_become: true"]),
    "somebody else's": ({}, {"ownership": "volume m_database is theirs."}, ["volume m_database is theirs."]),
    "ids": (
        {},
        {"ids": ["daemon", "games"]},
        ["daemon and games on this host has the id", "sftp_client_uid"],
    ),
    "port": (
        {},
        {"ports": [PORT]},
        ["Port 5000 on 127.0.0.1", "not this stack (project m)", "nginx, process 12", "mlflow_stack_port"],
    ),
    "port of nobody known": ({}, {"ports": [Port("sftp_port", "::1", 22)]}, ["`ss -ltnp`", "sftp_port"]),
    "space": (
        {"min_free_mb": 100},
        {"free_mb": 99},
        ["99 MiB free", "needs 100 MiB", "mlflow_stack_min_free_mb"],
    ),
    "other store": (
        {"store": LOCAL},
        {"store": REMOTE},
        [URI, "would use /mlruns (direct access)", "storage_switch.yml", "set artifact_storage in"],
    ),
    "other access": ({"store": PROXIED}, {"store": REMOTE}, ["set mlflow_stack_access in the inventory"]),
    "other database": (
        {"database": SERVICE},
        {"database": SQLITE},
        [
            f"its runs in {SQLITE};",
            f"anew in {SERVICE},",
            "database_move.yml moves",
            "backend_store_switch=true",
        ],
    ),
    "other database on a swarm": (
        {"database": SERVICE, "served_by": "swarm", "managers": ["one"]},
        {"database": "postgresql://elsewhere/m", "served_by": "swarm"},
        [
            "No playbook moves what a swarm serves: copy the database",
            "Or set mlflow_stack_backend_store back",
        ],
    ),
    "a swarm's of another home": (
        {"served_by": "swarm", "managers": ["one"]},
        {"services": ["m_mlflow", "m_gateway"]},
        ["serves this stack (project m) of /opt/m already (m_mlflow, m_gateway)", "restore.yml"],
    ),
    "Compose's on a swarm": (
        {"served_by": "swarm", "managers": ["one"]},
        {"served_by": "compose"},
        [
            "/opt/m has a stack that Docker Compose serves, and no playbook moves one to a swarm yet",
            "teardown.yml with mlflow_stack_engine=compose",
            "set mlflow_stack_engine to compose.",
        ],
    ),
    # A database that begins empty, while the swarm goes on serving.
    "a swarm's with Compose": (
        {"served_by": "compose", "database": SERVICE},
        {"served_by": "swarm", "database": SERVICE},
        [
            "/opt/m has a stack that a swarm serves",
            "moves one to Docker Compose yet",
            "mlflow_stack_engine=swarm",
        ],
    ),
    "no managers": ({"served_by": "swarm"}, {}, ["the group swarm_managers holds no host", "to compose."]),
}
FINE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing there": (
        {"store": LOCAL, "database": SQLITE, "min_free_mb": 1},
        {"engine": "absent", "free_mb": 1},
    ),
    "an engine that the same run may start": ({"engine": False}, {"engine": "silent"}),
    "what is deployed": ({"store": PROXIED, "database": SQLITE}, {"store": PROXIED, "database": SQLITE}),
    "a swarm's": ({"served_by": "swarm", "managers": ["one"]}, {"served_by": "swarm"}),
    "a new one on a swarm": ({"served_by": "swarm", "managers": ["one"]}, {}),
    "whoever serves it": ({}, {"served_by": "swarm"}),
    "a switch": ({}, {"store": REMOTE, "database": SQLITE}),
}


@pytest.mark.parametrize("case", CASES)
def test_one_reason(case: str) -> None:
    wanted, found, words = CASES[case]
    (sentence,) = stack_findings(Wanted(**(HOME | wanted)), Found(**({"engine": "answers"} | found)))
    assert [word for word in words if word not in sentence] == [], sentence


@pytest.mark.parametrize("case", FINE)
def test_no_reason(case: str) -> None:
    wanted, found = FINE[case]
    assert stack_findings(Wanted(**(HOME | wanted)), Found(**({"engine": "answers"} | found))) == []


def test_all_reasons_are_told_at_once() -> None:
    wanted = Wanted(**HOME, min_free_mb=1, store=LOCAL, database=SERVICE)
    found = Found("silent", "x", [PORT, PORT], ["daemon"], 0, REMOTE, SQLITE)
    assert len(stack_findings(wanted, found)) == 8
