"""What keeps a swarm from serving a stack, every reason at once."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.swarm import swarm_problems
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.decisions import Decision, decide
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import (
    LABEL,
    Host,
    Node,
    Swarm,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.serving import Serving, serving_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.sight import Wanted, Wish

from tests.support.roles import ROLES

SERVING = Serving(
    ("one",), 3, "postgresql", services=("mlflow",), gateway="mlflow.example.org", database_label="db"
)
NAMES = ("one", "two", "three")
WISHES = {"one": Wish(), "two": Wish(labels={"db": "true"}), "three": Wish()}


def found(labels: dict[str, str] | None = None, strange: dict[str, str] | None = None) -> dict[str, Host]:
    """Three hosts in a swarm of ours, the third one's node with labels, and perhaps a node of no host."""
    nodes = [
        Node("n1", "h1", "manager", "active", "ready", "10.0.0.1:2377"),
        Node("n2", "h2", "worker", "active", "ready"),
        Node("n3", "h3", "worker", "active", "ready", labels=labels or {}),
    ]
    if strange is not None:
        nodes.append(Node("n4", "stray", "worker", "active", "ready", labels=strange))
    hosts = {}
    for number, name in enumerate(NAMES, start=1):
        swarm = Swarm("active", f"n{number}", f"10.0.0.{number}")
        if number == 1:
            swarm = replace(swarm, manager=True, cluster="c", labels={LABEL: "mlflow"})
        address = f"10.0.0.{number}"
        hosts[name] = Host(
            engine_id=f"e{number}",
            version="26.1.5",
            architecture="x86_64",
            address=address,
            addresses=(address,),
            mtu=1500,
            swarm=swarm,
            nodes=tuple(nodes) if number == 1 else None,
            services=() if number == 1 else None,
        )
    return hosts


def decided(
    hosts: Mapping[str, Host | None] | None = None, wishes: dict[str, Wish] | None = None, **given: Any
) -> Decision:
    serving = replace(SERVING, **given)
    wanted = Wanted("mlflow", ("one",), ("two", "three"), wishes or WISHES, serving=serving)
    return decide(wanted, hosts or found(), {})


def test_what_fits_is_served() -> None:
    assert decided().findings == ()
    assert decided(gateway_label="db").findings == ()
    assert decided(login="basic").findings == ()
    external = {"store": "postgresql://u:p@db.example.org/mlflow", "database_label": "nobody"}
    assert decided(**external).findings == ()
    assert decided(dask=True).findings == ()
    assert decided(dask=True, dask_label="db").findings == ()
    assert decided(dask_label="jobs").findings == ()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"homes": ("one", "two")}, "docker_hosts holds one, two"),
        ({"homes": ("two",)}, "two has mlflow_stack_engine swarm, and is no host of swarm_managers"),
        ({"store": "sqlite"}, "a file on one node, while a swarm starts servers on whichever node it likes, 3 at once"),
        ({"store": "sqlite:////var/lib/mlflow/other.db"}, "mlflow_stack_backend_store is SQLite"),
        ({"storage": "local"}, "artifact_storage is local"),
        ({"store": "sqlite", "login": "basic"}, "a file on one node, and with it the users of MLflow's login, while"),
        ({"services": ("mlflow", "notebook")}, "mlflow_stack_services is mlflow, notebook"),
        ({"services": ()}, "mlflow_stack_services is empty"),
        ({"monitor": True}, "mlflow_stack_monitor is on"),
        ({"network": "lab"}, "mlflow_stack_network is lab"),
        ({"gateway": ""}, "mlflow_gateway_hostname is empty"),
        ({"bind": "10.0.0.1"}, "mlflow_gateway_bind is 10.0.0.1; a swarm publishes a port on all addresses"),
        ({"gateway_label": "edge"}, "mlflow_stack_gateway_label is edge, and no node has that label"),
        ({"dask": True, "dask_label": "jobs"}, "mlflow_stack_dask_label is jobs, and no node has that label"),
        ({"database_label": "mlflow.database"}, "No node has the label mlflow.database"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(given: dict[str, Any], words: str) -> None:
    (finding,) = decided(**given).findings
    assert words in finding


def test_one_server_alone_needs_its_database_and_artifacts_elsewhere_as_well() -> None:
    (finding,) = decided(store="sqlite", replicas=1).findings
    assert "at once" not in finding
    assert "login" not in finding


def test_everything_is_told_at_once() -> None:
    findings = decided(store="sqlite", storage="local", monitor=True, gateway="", homes=("two",)).findings
    assert len(findings) == 5


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        # One of the inventory, one that the node has from elsewhere.
        (found({"db": "true"}), "two, three have the label db"),
        (found(strange={"db": "true"}), "two, stray have the label db"),
    ],
)
def test_a_database_that_may_begin_empty_elsewhere_is_told(hosts: dict[str, Host], words: str) -> None:
    assert [finding for finding in decided(hosts).findings if words in finding]


def stray(**given: str) -> dict[str, Host]:
    """The swarm with a node of no host, which is ready and active unless said otherwise."""
    hosts = found(strange={})
    *nodes, last = hosts["one"].nodes or ()
    hosts["one"] = replace(hosts["one"], nodes=(*nodes, replace(last, **given)))
    return hosts


def test_a_node_that_nobody_can_bring_images_to_is_told() -> None:
    (finding,) = decided(stray()).findings
    assert (
        "The node stray (n4) is ready and active, and is no host of swarm_managers or swarm_workers"
        in finding
    )
    assert "docker node update --availability drain n4` on one" in finding
    # A node that one of them may be: a run with --limit.
    (finding,) = decided({**found(), "three": None}).findings
    assert "The node h3 (n3) is ready and active" in finding
    assert "It may be one of three, not to be asked." in finding


@pytest.mark.parametrize("given", [{"availability": "drain"}, {"availability": "pause"}, {"state": "down"}])
def test_a_node_of_no_host_that_runs_nothing_is_no_obstacle(given: dict[str, str]) -> None:
    assert decided(stray(**given)).findings == ()


def test_services_of_others_are_told_with_all_else() -> None:
    hosts = found()
    owners = {
        "mlflow_gateway": "/opt/mlflow-stack",
        "mlflow_mlflow": "",
        "mlflow_postgres": "/other",
        "mlflow_dask-worker": "/third",
        "shop": "",
    }
    hosts["one"] = replace(hosts["one"], services=tuple(owners), owners=owners)
    (finding,) = decided(hosts).findings
    strange = "mlflow_postgres, mlflow_mlflow, mlflow_dask-worker"
    assert f"were not made for /opt/mlflow-stack: {strange}. Set mlflow_stack_project" in finding
    assert decided(hosts, project="another").findings == ()


@pytest.mark.parametrize(
    ("given", "published", "told"),
    [
        ({}, {}, True),
        # Its own gateway has it.
        ({}, {443: "mlflow_gateway"}, False),
        ({}, {443: "shop_gateway"}, True),
        # Another port than the one that its gateway has.
        ({}, {80: "mlflow_gateway"}, True),
        ({"project": "front"}, {443: "mlflow_gateway"}, True),
        ({"gateway_label": "db"}, {}, False),
        ({"ports": {"mlflow_gateway_https_port": 8443, "mlflow_gateway_http_port": 0}}, {}, False),
    ],
)
@pytest.mark.parametrize("services", [(), ("mlflow_gateway",)])
@pytest.mark.parametrize("is_node", [True, False])
def test_a_port_that_a_gateway_could_not_have_is_told(
    given: Any, published: dict[int, str], told: bool, services: tuple[str, ...], is_node: bool
) -> None:
    hosts = found()
    hosts["three"] = replace(hosts["three"], taken={443: "nginx, process 7"}, published=published)
    if not is_node:
        hosts["three"] = replace(hosts["three"], swarm=Swarm())
        hosts["one"] = replace(hosts["one"], nodes=(hosts["one"].nodes or ())[:2])
    # Whether others serve already makes no difference.
    owners = dict.fromkeys(services, "/opt/mlflow-stack")
    hosts["one"] = replace(hosts["one"], services=services, owners=owners)
    findings = decided(hosts, **given).findings
    assert len(findings) == told
    assert "Port 443 of three is taken (nginx, process 7)" in "".join(findings) or not told


def test_a_secret_that_no_file_of_passwords_holds_is_told() -> None:
    (finding,) = decided(store="postgresql://u@h/d?sslkey=/k&ssl%70assword=s").findings
    assert "sslpassword" in finding


def test_a_label_that_is_not_true_is_none() -> None:
    assert decided(found({"db": "false"})).findings == ()


def test_a_database_on_a_drained_node_is_told() -> None:
    wishes = {**WISHES, "two": Wish(labels={"db": "true"}, availability="drain")}
    (finding,) = decided(wishes=wishes).findings
    assert "two has the label db, and is not active" in finding


@pytest.mark.parametrize(
    ("given", "what"),
    [({"dask": True, "dask_label": "place"}, "worker"), ({"gateway_label": "place"}, "gateway")],
)
@pytest.mark.parametrize("availability", ["drain", "pause"])
def test_what_would_be_on_drained_nodes_alone_is_told(
    given: dict[str, Any], what: str, availability: str
) -> None:
    wishes = {**WISHES, "three": Wish(labels={"place": "true"}, availability=availability)}
    (finding,) = decided(wishes=wishes, **given).findings
    assert f"none of three, which have it, is active, so that no {what} would run" in finding
    wishes["one"] = Wish(labels={"place": "true"})
    assert decided(wishes=wishes, **given).findings == ()


def home(availability: str) -> dict[str, Host]:
    """The swarm with a home of an availability."""
    hosts = found()
    first, *nodes = hosts["one"].nodes or ()
    hosts["one"] = replace(hosts["one"], nodes=(replace(first, availability=availability), *nodes))
    return hosts


@pytest.mark.parametrize(
    ("wished", "there", "told"),
    [
        ("", "active", ""),
        ("", "drain", "its availability is drain: a swarm lets no container of that node into its networks"),
        ("", "pause", "its availability is pause"),
        ("drain", "active", "its availability is drain"),
        # The same run makes it so.
        ("active", "drain", ""),
    ],
)
def test_a_home_whose_containers_reach_nothing_is_told(wished: str, there: str, told: str) -> None:
    findings = decided(home(there), wishes={**WISHES, "one": Wish(availability=wished)}).findings
    assert len(findings) == bool(told)
    assert f"one is the stack's home, and {told}" in "".join(findings) or not told
    assert all("run `docker node update --availability active n1` on it." in each for each in findings)


def test_a_swarm_that_is_to_be_made_needs_an_active_home_as_well() -> None:
    fresh = {name: replace(each, swarm=Swarm(), nodes=None, services=None) for name, each in found().items()}
    wishes = {name: Wish(availability="drain") for name in NAMES}
    findings = decided(fresh, wishes=wishes, store="postgresql://u@h/d").findings
    (finding,) = [each for each in findings if "is the stack's home" in each]
    assert finding.endswith("Set docker_swarm_availability of the home to active.")


def test_a_lost_quorum_and_another_architecture_are_told_with_it() -> None:
    hosts = found()
    hosts["three"] = replace(hosts["three"], architecture="aarch64")
    findings = decided(hosts, store="sqlite").findings
    assert [words for words in findings if "aarch64" in words]
    assert [words for words in findings if "SQLite" in words]
    lost = replace(hosts["one"], swarm=replace(hosts["one"].swarm, cluster="", error="no leader"), nodes=None)
    findings = decided({**found(), "one": lost}, store="sqlite").findings
    assert [words for words in findings if "lost its quorum" in words]


def test_a_swarm_that_is_given_up_need_serve_nothing() -> None:
    wanted = Wanted(
        "mlflow", ("one",), ("two", "three"), WISHES, "absent", serving=replace(SERVING, store="sqlite")
    )
    assert decide(wanted, found(), {}).findings == ()


GROUPS = {"docker_hosts": ["one", "other"], "swarm_managers": ["one"]}


def test_what_the_inventory_leaves_out_is_what_the_roles_have() -> None:
    defaults = {
        name: value
        for role in ("mlflow_stack", "mlflow_gateway")
        for name, value in yaml.safe_load((ROLES / role / "defaults/main.yml").read_text()).items()
        if "{{" not in str(value)
    }
    asked = {"mlflow_stack_engine": "swarm"}
    assert serving_of(GROUPS, {"one": asked, "other": {}}) == serving_of(
        GROUPS, {"one": defaults | asked, "other": {}}
    )


def test_only_a_stack_that_asks_for_a_swarm_is_served() -> None:
    assert serving_of({}, {}) is None
    assert serving_of(GROUPS, {"one": {}, "other": {"mlflow_stack_engine": "compose"}}) is None
    given = {
        "mlflow_stack_engine": "swarm",
        "mlflow_stack_replicas": "2",
        "mlflow_stack_services": ["mlflow"],
    }
    serving = serving_of(GROUPS, {"one": given, "other": {}})
    assert serving == Serving(("one",), 2, services=("mlflow",))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ""),
        ({"mlflow_stack_replicas": 0}, "expected a number of servers, 1 or more"),
        ({"mlflow_stack_replicas": 2}, "Docker Compose runs one server"),
        ({"mlflow_stack_engine": "swarm", "mlflow_stack_replicas": 2}, ""),
        ({"mlflow_stack_engine": "swarm", "mlflow_stack_dask": "yes"}, ""),
        ({"mlflow_stack_engine": "swarm", "mlflow_stack_dask_label": "a == b"}, "_dask_label is 'a == b'"),
        ({"mlflow_stack_engine": "swarm", "mlflow_gateway_tls": "acme"}, "cannot order one certificate yet"),
        ({"mlflow_stack_dask": True, "mlflow_gateway_tls": "acme"}, ""),
        ({"mlflow_stack_engine": "swarm", "mlflow_stack_gateway_label": "a == b"}, "_gateway_label is 'a == b'"),
        ({"mlflow_stack_engine": "swarm", "mlflow_stack_project": "x" * 25}, "25 characters; on a swarm, expected 24"),
        (
            {
                "mlflow_stack_engine": "swarm",
                "mlflow_stack_backend_store": "postgresql",
                "mlflow_stack_database_label": "",
            },
            "mlflow_stack_database_label is ''",
        ),
    ],
)  # fmt: skip
def test_values_that_cannot_be_used_are_told(given: dict[str, Any], words: str) -> None:
    problems = list(swarm_problems(given))
    assert len(problems) == bool(words)
    assert words in "".join(problems)
