"""What docker and ip say of a host, and what an inventory says of a swarm."""

from dataclasses import asdict
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.filter.mlflow_swarm import mlflow_swarm_ports
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import (
    LABEL,
    OWNER,
    Host,
    Node,
    Swarm,
    addresses_of,
    endpoint,
    host_of,
    interface_of,
    node_of,
    owners_of,
    swarm_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.inventory import (
    found_of,
    reach_found,
    wanted_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.sight import Wish

# Of Docker 20.10, shortened.
MANAGER: dict[str, Any] = {
    "NodeID": "abc",
    "NodeAddr": "10.0.0.1",
    "LocalNodeState": "active",
    "ControlAvailable": True,
    "Error": "",
    "RemoteManagers": [
        {"NodeID": "b", "Addr": "10.0.0.2:2377"},
        {"NodeID": "abc", "Addr": "10.0.0.1:2377"},
    ],
    "Cluster": {"ID": "cluster", "Spec": {"Name": "default", "Labels": {LABEL: "mlflow"}}},
}
INTERFACES: list[dict[str, Any]] = [
    {"ifname": "lo", "mtu": 65536, "addr_info": [{"local": "127.0.0.1", "scope": "host"}]},
    {
        "ifname": "eth0",
        "mtu": 1450,
        "addr_info": [
            {"local": "10.0.0.1", "scope": "global"},
            {"local": "fe80::1", "scope": "link"},
            {"local": "2001:db8::1", "scope": "global"},
        ],
    },
]


@pytest.mark.parametrize(
    ("shown", "swarm"),
    [
        ({}, Swarm()),
        ({"LocalNodeState": "inactive", "NodeID": "", "RemoteManagers": None}, Swarm()),
        (
            MANAGER,
            Swarm(
                "active",
                "abc",
                "10.0.0.1",
                True,
                ("10.0.0.1:2377", "10.0.0.2:2377"),
                cluster="cluster",
                labels={LABEL: "mlflow"},
            ),
        ),
        (
            {
                **MANAGER,
                "Error": "no leader",
                "RemoteManagers": None,
                "Cluster": {"ID": "", "Spec": {"Labels": None}},
            },
            Swarm("active", "abc", "10.0.0.1", True, error="no leader"),
        ),
    ],
)
def test_what_an_engine_says_of_its_swarm(shown: dict[str, Any], swarm: Swarm) -> None:
    assert swarm_of({"Swarm": shown} if shown else {}) == swarm


def test_what_managers_say_of_a_node() -> None:
    shown = {
        "ID": "abc",
        "Spec": {"Labels": {"gpu": "true"}, "Role": "manager", "Availability": "drain"},
        "Description": {"Hostname": "one"},
        "Status": {"State": "ready", "Addr": "10.0.0.1"},
        "ManagerStatus": {"Leader": True, "Reachability": "reachable", "Addr": "10.0.0.1:2377"},
    }
    assert node_of(shown) == Node("abc", "one", "manager", "drain", "ready", "10.0.0.1:2377", {"gpu": "true"})
    bare = {"ID": "abc", "Spec": {"Role": "worker", "Availability": "active"}}
    assert node_of(bare) == Node("abc", "", "worker", "active", "unknown")


def test_what_the_module_says_is_the_host() -> None:
    swarm, node = swarm_of({"Swarm": MANAGER}), Node("abc", "one", "manager", "active", "ready")
    host = Host(swarm=swarm, nodes=(node,), services=("shop",), addresses=("10.0.0.1",), mtu=1450)
    told = {**asdict(host), "changed": False, "endpoint": "10.0.0.1:2377"}
    assert host_of(told) == host
    assert host_of({**told, "nodes": None, "services": None}).nodes is None  # type: ignore[union-attr]


@pytest.mark.parametrize("told", [None, {}, {"unreachable": True}, {"failed": True, "msg": "no"}])
def test_who_said_nothing_is_no_host(told: dict[str, Any] | None) -> None:
    assert host_of(told) is None


def test_addresses_are_those_that_others_reach() -> None:
    assert addresses_of(INTERFACES) == ["10.0.0.1", "2001:db8::1"]
    assert interface_of("10.0.0.1", INTERFACES) == INTERFACES[1]
    assert interface_of("127.0.0.1", INTERFACES) is None


def test_an_address_of_either_family_takes_a_port() -> None:
    assert endpoint("10.0.0.1", 2377) == "10.0.0.1:2377"
    assert endpoint("2001:db8::1", 2377) == "[2001:db8::1]:2377"


def test_an_inventory_is_read() -> None:
    groups = {"swarm_managers": ["one"], "swarm_workers": ["two"], "all": ["one", "two", "three"]}
    variables: dict[str, dict[str, Any]] = {
        "one": {"docker_swarm_labels": {"a": "b"}, "docker_swarm_address": "10.0.0.1"},
        "two": {
            "docker_swarm_availability": "drain",
            "__docker_swarm_host": {"engine": "absent"},
            "__docker_swarm_reach": {"held": [], "peers": {"one": {"ports": {}, "clock": None}}},
        },
    }
    options = {
        "name": "mlflow",
        "state": "absent",
        "adopt": "yes",
        "remove_services": False,
        "engine_required": True,
    }
    wanted = wanted_of(groups, variables, options)
    assert (wanted.managers, wanted.workers, wanted.hosts) == (("one",), ("two",), ("one", "two"))
    assert wanted.wishes == {"one": Wish("10.0.0.1", "", {"a": "b"}), "two": Wish(availability="drain")}
    assert (wanted.state, wanted.adopt, wanted.remove_services) == ("absent", True, False)
    found = found_of(variables, wanted.hosts)
    assert found["one"] is None
    assert found["two"] == Host("absent")
    assert list(reach_found(variables, wanted.hosts)) == ["two"]


def test_services_say_whose_they_are() -> None:
    shown = [
        {"Spec": {"Name": "mlflow_mlflow", "Labels": {OWNER: "/opt/mlflow-stack"}}},
        {"Spec": {"Name": "shop", "Labels": None}},
    ]
    assert owners_of(shown) == {"mlflow_mlflow": "/opt/mlflow-stack", "shop": ""}


def test_a_host_says_which_ports_are_taken_and_whose_services_are() -> None:
    ports = {"taken": {"443": "nginx"}, "published": {"80": "a"}}
    host = host_of({"engine": "answers", "owners": {"a": "/b"}, **ports})
    assert host == Host(owners={"a": "/b"}, taken={443: "nginx"}, published={80: "a"})
    assert host_of({"engine": "answers", "owners": None}) == Host()


@pytest.mark.parametrize(
    ("given", "ports"),
    [
        ({}, [80, 443]),
        ({"mlflow_gateway_https_port": "8443", "mlflow_gateway_http_port": 0}, [8443]),
        ({"mlflow_stack_engine": "compose"}, []),
    ],
)
def test_ports_of_gateways_are_asked_about_where_there_will_be_some(given: Any, ports: list[int]) -> None:
    variables = {"one": {"mlflow_stack_engine": "swarm", **given}}
    assert mlflow_swarm_ports({"docker_hosts": ["one"]}, variables) == ports
