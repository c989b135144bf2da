"""What is done on which host of a swarm, and every reason not to."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.decisions import (
    Decision,
    decide,
    probes_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import (
    LABEL,
    Host,
    Node,
    Swarm,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.ports import Reach
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.sight import Wanted, Wish

Hosts = Mapping[str, Host | None]

MANAGERS = ("10.0.0.1:2377",)
WANTED = Wanted("mlflow", ("one",), ("two", "three"), {name: Wish() for name in ("one", "two", "three")})


def host(number: int, **given: Any) -> Host:
    """A host that is in no swarm."""
    address = f"10.0.0.{number}"
    usual = Host(
        engine_id=f"engine {number}",
        version="26.1.5+dfsg1",
        architecture="x86_64",
        address=address,
        addresses=(address,),
        mtu=1500,
    )
    return replace(usual, **given)


def node(number: int, role: str = "worker", **given: Any) -> Node:
    address = f"10.0.0.{number}:2377" if role == "manager" else ""
    usual = Node(f"node{number}", f"host{number}", role, "active", "ready", address)
    return replace(usual, **given)


def swarm(number: int, **given: Any) -> Swarm:
    usual = Swarm("active", f"node{number}", f"10.0.0.{number}", managers=MANAGERS)
    return replace(usual, **given)


NODES = (node(1, "manager"), node(2), node(3))


def managing(number: int = 1, nodes: tuple[Node, ...] = NODES, labels: Any = None, **given: Any) -> Host:
    """A host that manages a swarm, ours unless `labels` say otherwise."""
    own = {LABEL: "mlflow"} if labels is None else labels
    state = swarm(number, manager=True, cluster="cluster", labels=own)
    return host(number, swarm=state, **{"nodes": nodes, "services": (), **given})


def leaderless(number: int) -> Host:
    return host(number, swarm=swarm(number, manager=True, error="The swarm does not have a leader"))


def member(number: int, **given: Any) -> Host:
    return host(number, swarm=swarm(number), **given)


FRESH: Hosts = {"one": host(1), "two": host(2), "three": host(3)}
FORMED: Hosts = {"one": managing(), "two": member(2), "three": member(3)}


def decided(
    hosts: Mapping[str, Host | None] = FRESH,
    wanted: Wanted = WANTED,
    reach: Mapping[str, Reach] | None = None,
    **given: Any,
) -> Decision:
    return decide(replace(wanted, **given), hosts, reach or {})


def wishing(**wishes: Wish) -> dict[str, Wish]:
    return {**WANTED.wishes, **wishes}


def test_the_first_manager_makes_the_swarm_and_the_others_join() -> None:
    decision = decided(managers=("one", "two"), workers=("three",))
    assert decision.findings == ()
    assert (decision.leader, decision.initialise, decision.joining) == ("one", True, ("two", "three"))
    assert decision.labels == {LABEL: "mlflow"}
    assert decision.remotes == MANAGERS
    assert decision.lines == (
        "one initialises the swarm mlflow at 10.0.0.1.",
        "two joins as a manager at 10.0.0.2.",
        "three joins as a worker at 10.0.0.3.",
    )


def test_what_nodes_get_once_they_are_there_is_told_before() -> None:
    wishes = wishing(two=Wish(labels={"gpu": "true", "disk": "ssd"}), three=Wish(availability="drain"))
    assert decided(wishes=wishes).lines[-2:] == (
        "two gets the labels disk=ssd, gpu=true.",
        "three gets the availability drain.",
    )


def test_a_swarm_that_is_as_described_is_left_as_it_is() -> None:
    wishes = wishing(two=Wish(labels={"gpu": "true"}, availability="drain"))
    nodes = (NODES[0], node(2, labels={"gpu": "true", "of": "others"}, availability="drain"), NODES[2])
    decision = decided({**FORMED, "one": managing(nodes=nodes)}, wishes=wishes)
    assert (decision.findings, decision.lines) == ((), ())
    assert (decision.joining, decision.updates, decision.forms) == ((), (), False)


def test_availability_that_nobody_wishes_stays() -> None:
    nodes = (NODES[0], node(2, availability="pause"), NODES[2])
    assert decided({**FORMED, "one": managing(nodes=nodes)}).updates == ()


def test_what_differs_at_nodes_is_changed() -> None:
    wishes = wishing(two=Wish(labels={"gpu": "true"}), three=Wish(availability="pause"))
    nodes = (NODES[0], node(2, labels={"gpu": "false"}), NODES[2])
    decision = decided({**FORMED, "one": managing(nodes=nodes)}, wishes=wishes)
    assert [(each.host, each.node, each.availability, each.labels) for each in decision.updates] == [
        ("two", "node2", "active", {"gpu": "true"}),
        ("three", "node3", "pause", {}),
    ]


def test_managers_are_made_before_others_are_demoted() -> None:
    nodes = (node(1, "manager"), node(2), node(3, "manager"))
    hosts: Hosts = {"one": managing(nodes=nodes), "two": member(2), "three": managing(3, nodes)}
    decision = decided(hosts, managers=("one", "two"), workers=("three",))
    assert [(each.host, each.role) for each in decision.updates] == [("two", "manager"), ("three", "worker")]


def test_a_new_host_joins_through_the_managers_that_are_there() -> None:
    nodes = (node(1, "manager"), node(3, "manager"))
    hosts: Hosts = {"one": managing(nodes=nodes), "two": host(2), "three": managing(3, nodes)}
    decision = decided(hosts, managers=("one", "three"), workers=("two",))
    assert (decision.joining, decision.initialise) == (("two",), False)
    assert decision.remotes == ("10.0.0.1:2377", "10.0.0.3:2377")


@pytest.mark.parametrize("labels", [{}, {LABEL: "another"}, {"of": "others"}])
def test_a_swarm_of_others_is_left_alone(labels: dict[str, str]) -> None:
    hosts: Hosts = {**FORMED, "one": managing(labels=labels, services=("shop",))}
    (finding,) = decided(hosts).findings
    assert "one manages a swarm (cluster, 3 nodes, services shop)" in finding
    assert "docker_swarm_adopt=true" in finding
    (finding,) = decided(hosts, state="absent", remove_services=True).findings
    assert "It is left alone" in finding


def test_with_consent_it_is_taken_over_and_keeps_its_labels() -> None:
    decision = decided({**FORMED, "one": managing(labels={"of": "others"})}, adopt=True)
    assert decision.labels == {"of": "others", LABEL: "mlflow"}
    assert decision.lines == ("The swarm cluster is taken over as mlflow.",)
    assert (decision.forms, decision.initialise) == (True, False)


@pytest.mark.parametrize("adopt", [False, True])
def test_a_node_of_another_swarm_never_leaves_it(adopt: bool) -> None:
    stranger = host(3, swarm=swarm(9, managers=("10.9.9.9:2377",)))
    hosts: Hosts = {"one": managing(nodes=NODES[:2]), "two": member(2), "three": stranger}
    (finding,) = decided(hosts, adopt=adopt).findings
    assert "three is a node of another swarm (managers 10.9.9.9:2377) than one (cluster)" in finding
    (finding,) = decided(hosts, adopt=adopt, state="absent").findings
    assert "`docker swarm leave` on three" in finding


def test_a_swarm_of_workers_only_is_another_one() -> None:
    (finding,) = decided({**FRESH, "three": member(3)}).findings
    assert "which no host of swarm_managers manages" in finding


def test_two_managers_of_two_swarms() -> None:
    other = replace(managing(2, (node(2, "manager"),), labels={}).swarm, cluster="second")
    hosts: Hosts = {**FORMED, "one": managing(nodes=(NODES[0], NODES[2])), "two": host(2, swarm=other)}
    (finding,) = decided(hosts, managers=("one", "two"), workers=("three",)).findings
    assert "two is a node of another swarm (second, which it manages) than one (cluster)" in finding
    assert "`docker swarm leave --force` on two" in finding


@pytest.mark.parametrize("state", ["present", "absent"])
def test_without_a_quorum_nothing_is_done(state: str) -> None:
    hosts: Hosts = {"one": leaderless(1), "two": None, "three": member(3)}
    (finding, *others) = decided(hosts, managers=("one", "two"), workers=("three",), state=state).findings
    assert "has lost its quorum: one manages it" in finding
    assert "two could not be asked" in finding
    assert "docker swarm init --force-new-cluster --advertise-addr 10.0.0.1" in finding
    # Whose a worker is, nobody can say.
    assert not [each for each in others if "three" in each]


def test_without_a_quorum_a_swarm_is_left_with_consent() -> None:
    hosts: Hosts = {"one": leaderless(1), "two": leaderless(2), "three": member(3)}
    assert decided(hosts, state="absent", adopt=True).leaving == ("two", "three", "one")


def test_a_locked_swarm() -> None:
    locked = host(1, swarm=Swarm("locked", manager=False))
    findings = decided({**FRESH, "one": locked}).findings
    assert any("`docker swarm unlock`" in each for each in findings)


def test_an_engine_that_is_not_up_in_its_swarm() -> None:
    hosts: Hosts = {"one": host(1, swarm=swarm(1, state="pending", error="deadline")), **{"two": member(2)}}
    findings = decided(hosts, workers=("two",)).findings
    assert (
        "managers 10.0.0.1:2377) whose managers do not know it, or that it does not reach: pending"
        in findings[0]
    )


def test_a_node_that_the_managers_miss_is_warned_about() -> None:
    decision = decided({**FORMED, "one": managing(nodes=(*NODES[:2], node(3, state="down")))})
    assert (decision.findings, decision.lines) == ((), ())
    assert "three answers here, but is down in the eyes of one" in decision.warnings[0]


def test_no_second_swarm_while_a_manager_is_silent() -> None:
    (finding,) = decided({**FRESH, "two": None}, managers=("one", "two"), workers=("three",)).findings
    assert "two could not be asked: the swarm may be there" in finding


def test_a_limit_without_managers() -> None:
    (finding,) = decided({"one": None, "two": None, "three": member(3)}).findings
    assert finding.startswith("three is in a swarm, and one, which may manage it, could not be asked.")


def test_a_silent_worker_is_warned_about() -> None:
    decision = decided({**FRESH, "three": None})
    assert (decision.findings, decision.joining) == ((), ("two",))
    assert "three could not be asked" in decision.warnings[0]


@pytest.mark.parametrize(
    ("given", "finding"),
    [
        ({"architecture": "aarch64"}, "two is aarch64, one is x86_64"),
        ({"version": "28.5.1"}, "two and one differ in the first number: one 26.1.5+dfsg1, two 28.5.1"),
        ({"version": "19.03.15"}, "The engine of two is 19.03.15; expected 20.10 or later"),
        ({"mtu": 9000}, "differ in the MTU: one 1500, two 9000, three 1500"),
        ({"engine_id": "engine 1"}, "one, two are one engine (engine 1)"),
        ({"address": "10.0.0.1"}, "one, two would all advertise 10.0.0.1"),
        ({"address": ""}, "two has no default route that would tell its address; it has 10.0.0.2"),
        ({"engine": "absent"}, "two has no Docker"),
        ({"engine": "silent", "said": "refused"}, "two has a Docker that does not answer (refused)"),
        (
            {"sdk": False, "python": "/opt/venv/bin/python"},
            "/opt/venv/bin/python on two lacks the Docker SDK",
        ),
    ],
)
def test_hosts_that_do_not_fit(given: dict[str, Any], finding: str) -> None:
    findings = decided({**FRESH, "two": host(2, **given)}).findings
    assert [each for each in findings if finding in each], findings


def test_versions_that_fit() -> None:
    assert decided({**FRESH, "two": host(2, version="26.0.0")}).findings == ()
    assert decided({**FRESH, "two": host(2, version="dev")}).findings == ()


def test_nodes_that_are_upgraded_one_after_the_other_are_warned_about() -> None:
    decision = decided({**FORMED, "two": member(2, version="28.5.1")})
    assert (decision.findings, decision.lines) == ((), ())
    assert "Engines of the swarm's nodes differ: one 26.1.5+dfsg1, two 28.5.1" in decision.warnings[0]


@pytest.mark.parametrize(
    ("wish", "finding"),
    [
        (
            Wish(address="10.7.7.7"),
            "docker_swarm_address of two is 10.7.7.7, which is no address of the host",
        ),
        (Wish(labels={"gpu": True}), 'write gpu: "true"'),
        (Wish(availability="off"), "docker_swarm_availability of two is off"),
    ],
)
def test_wishes_that_cannot_be_met(wish: Wish, finding: str) -> None:
    (found,) = decided(wishes=wishing(two=wish)).findings
    assert finding in found


def test_a_node_keeps_its_address() -> None:
    moved = member(2, addresses=("10.0.0.2", "10.8.8.8"), address="10.8.8.8")
    (found,) = decided({**FORMED, "two": moved}, wishes=wishing(two=Wish(address="10.8.8.8"))).findings
    assert "two advertises 10.0.0.2; docker_swarm_address says 10.8.8.8" in found


def test_a_host_in_both_groups_and_a_swarm_without_managers() -> None:
    both = decided(managers=("one", "two")).findings
    assert "two is in both swarm_managers and swarm_workers" in both[0]
    assert "swarm_managers holds no host" in decided(managers=(), workers=("one", "two", "three")).findings[0]


def test_everything_is_told_at_once() -> None:
    hosts: Hosts = {
        **FRESH,
        "two": host(2, architecture="aarch64", mtu=9000),
        "three": host(3, version="28.0.1"),
    }
    assert len(decided(hosts, wishes=wishing(three=Wish(labels={"a": 1}))).findings) == 4


def test_an_even_number_of_managers_and_a_small_mtu_are_warned_about() -> None:
    hosts = {name: host(number, mtu=1400) for number, name in enumerate(FRESH, start=1)}
    even, small = decided(hosts, managers=("one", "two"), workers=("three",)).warnings
    assert "holds 2 hosts" in even
    assert "com.docker.network.driver.mtu=1400" in small


def test_nodes_of_no_host_stay_and_are_named() -> None:
    decision = decided({**FORMED, "one": managing(nodes=(*NODES, node(4, state="down")))})
    assert decision.lines == ()
    assert "host4 (node4, down)" in decision.warnings[0]


def test_engines_that_are_to_come_are_assumed_to_be_in_no_swarm() -> None:
    hosts: Hosts = {**FRESH, "two": Host("absent", sdk=False)}
    decision = decided(hosts, engine_required=False)
    assert (decision.findings, decision.assumed, decision.joining) == ((), ("two",), ("two", "three"))
    assert "two joins as a worker at an address yet unknown." in decision.lines


def test_all_leave_the_leader_last() -> None:
    nodes = (node(1, "manager"), node(2, "manager"), node(3))
    hosts: Hosts = {"one": managing(nodes=nodes), "two": managing(2, nodes), "three": member(3)}
    decision = decided(hosts, managers=("one", "two"), workers=("three",), state="absent")
    assert (decision.leaving, decision.demoted) == (("two", "three", "one"), ("node2",))


def test_an_interrupted_removal_goes_on() -> None:
    nodes = (NODES[0], node(2, state="down"), node(3, state="down"))
    decision = decided(
        {**FORMED, "one": managing(nodes=nodes), "two": host(2), "three": host(3)}, state="absent"
    )
    assert (decision.findings, decision.leaving) == ((), ("one",))
    assert decided(FRESH, state="absent").lines == ()


@pytest.mark.parametrize(
    ("hosts", "finding"),
    [
        ({**FORMED, "three": None}, "three could not be asked, and would stay a node"),
        ({**FORMED, "one": managing(nodes=(*NODES, node(4)))}, "no hosts of the inventory: host4 (node4)"),
        ({**FORMED, "one": managing(services=("shop",))}, "The swarm has services: shop"),
    ],
)
def test_a_removal_that_would_lose_something(hosts: Hosts, finding: str) -> None:
    (found,) = decided(hosts, state="absent").findings
    assert finding in found


def test_services_go_with_consent() -> None:
    hosts: Hosts = {**FORMED, "one": managing(services=("shop",))}
    assert decided(hosts, state="absent", remove_services=True).leaving == ("two", "three", "one")


def test_a_host_without_docker_does_not_stop_a_removal() -> None:
    assert decided({**FRESH, "two": Host("absent")}, state="absent").findings == ()


def test_ports_are_tried_between_all_that_are_new() -> None:
    probes = probes_of(WANTED, FRESH)
    assert probes["one"]["listen"] == ["tcp/2377", "tcp/7946", "udp/7946", "udp/4789"]
    assert probes["two"]["listen"] == ["tcp/7946", "udp/7946", "udp/4789"]
    assert [(each["name"], each["listens"]) for each in probes["two"]["peers"]] == [
        ("one", True),
        ("three", True),
    ]


def test_of_nodes_that_are_there_only_connections_are_tried_and_they_try_the_new_ones() -> None:
    probes = probes_of(WANTED, {**FORMED, "one": managing(nodes=NODES[:2]), "three": host(3)})
    assert probes["one"] == {
        "listen": [],
        "peers": [
            {
                "name": "three",
                "address": "10.0.0.3",
                "ports": ["tcp/7946", "udp/7946", "udp/4789"],
                "listens": True,
            }
        ],
    }
    one, two = probes["three"]["peers"]
    assert (one["ports"], one["listens"]) == (["tcp/2377", "tcp/7946"], False)
    assert two["ports"] == ["tcp/7946"]


@pytest.mark.parametrize("hosts", [FORMED, {"one": host(1), "two": None, "three": None}])
def test_where_nobody_joins_another_no_port_is_tried(hosts: Hosts) -> None:
    assert probes_of(WANTED, hosts) == {}
    assert probes_of(replace(WANTED, state="absent"), FRESH) == {}


def test_ports_that_are_not_reached_are_told_by_host() -> None:
    silent = {"tcp/7946": "reached", "udp/4789": "silent"}
    reach = {
        "one": Reach(ports={"two": silent}),
        "three": Reach(ports={"two": silent}),
        "two": Reach(ports={"one": {"tcp/2377": "reached"}}),
    }
    (finding,) = decided(reach=reach).findings
    assert "two is not reached at udp/4789 (overlay networks) from one, three" in finding


def test_a_port_that_something_else_has_is_told_once() -> None:
    reach = {"two": Reach(held=("udp/4789",)), "one": Reach(ports={"two": {"udp/4789": "silent"}})}
    (finding,) = decided(reach=reach).findings
    assert "Something on two listens on udp/4789" in finding


@pytest.mark.parametrize(
    ("seconds", "words"), [(31.0, "two is 31 s ahead of"), (-45.2, "two is 45 s behind")]
)
def test_clocks_that_are_apart_are_told_once(seconds: float, words: str) -> None:
    reach = {"one": Reach(clocks={"two": seconds}), "two": Reach(clocks={"one": -seconds})}
    (finding,) = decided(reach=reach).findings
    assert words in finding
    assert decided(reach={"one": Reach(clocks={"two": 29.0})}).findings == ()
