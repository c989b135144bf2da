# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a swarm from serving the inventory's stack, every reason at once, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.addresses import bind_problem
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.passfile import secrets_left
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.readiness import (
    closed_home,
    runs_tasks,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.serving import HOMES, Serving
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.sight import MANAGERS, WORKERS, Sight


def of_serving(sight: Sight) -> Iterator[str]:
    """Yield a sentence or two for each reason; nothing where no stack is to be served."""
    serving = sight.wanted.serving
    if serving is None:
        return
    yield from _of_home(serving, sight)
    yield from _of_state(serving)
    yield from _of_parts(serving)
    yield from _of_front(serving, sight)
    yield from _of_jobs(serving, sight)
    yield from _of_strangers(sight)
    yield from _of_owners(serving, sight)
    yield from _of_ports(serving, sight)
    if serving.pins_database:
        yield from _of_database(serving, sight)


def _of_home(serving: Serving, sight: Sight) -> Iterator[str]:
    if len(serving.homes) > 1:
        yield (
            f"{HOMES} holds {', '.join(serving.homes)} with mlflow_stack_engine swarm. A swarm serves one stack, and "
            "one of its managers has the directory: leave that one in the group; the others are in the swarm's."
        )
    elif serving.homes[0] not in sight.wanted.managers:
        yield (
            f"{serving.homes[0]} has mlflow_stack_engine swarm, and is no host of {MANAGERS}: services are changed "
            f"through a manager. Add it there, or put one of {MANAGERS} into {HOMES} in its place."
        )
    else:
        (home,) = serving.homes
        node = sight.members[home].id if home in sight.members else ""
        yield from closed_home(home, _availability(sight, home), node)


def _of_state(serving: Serving) -> Iterator[str]:
    """Servers hold no state where all of it is elsewhere: only then a node may be lost, or a second one be there."""
    several = f", {serving.replicas} at once" if serving.replicas > 1 else ""
    users = ", and with it the users of MLflow's login," if serving.login != "none" else ","
    if serving.store.startswith("sqlite"):
        yield (
            f"mlflow_stack_backend_store is SQLite, a file on one node{users} while a swarm starts servers on "
            f"whichever node it likes{several}. Set it to postgresql, or to the URI of a PostgreSQL database."
        )
    if serving.storage == "local":
        yield (
            "artifact_storage is local, a volume on one node, while a swarm starts servers on whichever node it "
            f"likes{several}. Set it to sftp."
        )
    if secrets_left(serving.store):
        yield (
            "mlflow_stack_backend_store has sslpassword among its parameters, which whoever may see a service would "
            "read in its environment. Use a key without a password, in a file (sslkey)."
        )


def _of_parts(serving: Serving) -> Iterator[str]:
    others = [name for name in serving.services if name != "mlflow"]
    if others or "mlflow" not in serving.services:
        yield (
            f"mlflow_stack_services is {', '.join(serving.services) or 'empty'}; a swarm serves mlflow. Set it to "
            "[mlflow]: notebooks, experiments and training run on hosts of the group mlflow_clients, with that server."
        )
    if serving.monitor:
        yield "mlflow_stack_monitor is on, and does not run on a swarm yet. Set it to false."
    if serving.network:
        yield (
            f"mlflow_stack_network is {serving.network}, a network of one host. Leave it empty: on a swarm the stack "
            "has networks of its own, over all nodes."
        )


def _of_front(serving: Serving, sight: Sight) -> Iterator[str]:
    if not serving.gateway:
        yield (
            "mlflow_gateway_hostname is empty: on a swarm the gateway is the only way to the servers. Name the host "
            "that people and programs reach MLflow at, whose address may be that of any node."
        )
    elif not bind_problem(serving.bind) and not ip_address(serving.bind).is_unspecified:
        yield (
            f"mlflow_gateway_bind is {serving.bind}; a swarm publishes a port on all addresses of a node. Leave it at "
            "0.0.0.0, and let the firewall of the nodes say who may come."
        )
    if serving.gateway_label:
        yield from _of_places(sight, "mlflow_stack_gateway_label", serving.gateway_label, "gateway")


def _of_jobs(serving: Serving, sight: Sight) -> Iterator[str]:
    if serving.dask and serving.dask_label:
        yield from _of_places(sight, "mlflow_stack_dask_label", serving.dask_label, "worker")


def _of_places(sight: Sight, variable: str, label: str, what: str) -> Iterator[str]:
    """Require a node that has a label and may run something."""
    labelled = _labelled(sight, label)
    if not labelled:
        yield (
            f"{variable} is {label}, and no node has that label, so that no {what} would run. Give it to nodes: "
            f'docker_swarm_labels: {{{label}: "true"}}.'
        )
    elif not [name for name in labelled if name not in sight.wanted.hosts or _is_active(sight, name)]:
        yield (
            f"{variable} is {label}, and none of {', '.join(labelled)}, which have it, is active, so that no {what} "
            "would run. Set docker_swarm_availability of one to active."
        )


def _of_strangers(sight: Sight) -> Iterator[str]:
    """Nodes that nobody can bring images to."""
    known = {node.id for node in sight.members.values()}
    for node in sight.nodes.values():
        if node.id not in known and runs_tasks(node):
            unasked = (
                f" It may be one of {', '.join(sight.unasked)}, not to be asked." if sight.unasked else ""
            )
            yield (
                f"The node {node.hostname} ({node.id}) is ready and active, and is no host of {MANAGERS} or {WORKERS} "
                f"that could be asked: the swarm would start servers there, where their images are not.{unasked} Let "
                "it be in the inventory, reachable and within --limit; or take tasks away from it: `docker node update "
                f"--availability drain {node.id}` on {sight.manager}."
            )


def _of_owners(serving: Serving, sight: Sight) -> Iterator[str]:
    owners = sight.asked[sight.manager].owners if sight.manager else {}
    strange = [name for name in serving.names if owners.get(name, serving.directory) != serving.directory]
    if strange:
        yield (
            f"The swarm has services that were not made for {serving.directory}: {', '.join(strange)}. Set "
            "mlflow_stack_project to another name, or remove them."
        )


def _of_ports(serving: Serving, sight: Sight) -> Iterator[str]:
    """Ports that gateways could not have; those that are there have theirs."""
    gateway = f"{serving.project}_gateway"
    wanted = {port: variable for variable, port in serving.ports.items() if port}
    for name, host in sight.asked.items():
        labelled = not serving.gateway_label or _labels_of(sight, name).get(serving.gateway_label) == "true"
        if not (labelled and _is_active(sight, name)):
            continue
        for port, held in host.taken.items():
            if port in wanted and host.published.get(port) != gateway:
                by = f" ({held})" if held else ""
                yield (
                    f"Port {port} of {name} is taken{by}, and the gateway there could not have it. Stop what has it, "
                    f"or set {wanted[port]} to another one."
                )


def _of_database(serving: Serving, sight: Sight) -> Iterator[str]:
    label = serving.database_label
    labelled = _labelled(sight, label)
    if not labelled:
        yield (
            f"No node has the label {label}, so that nobody knows which one keeps PostgreSQL's volume. Give it to one "
            f'host of the swarm: docker_swarm_labels: {{{label}: "true"}}.'
        )
    if len(labelled) > 1:
        yield (
            f"{', '.join(labelled)} have the label {label}: PostgreSQL's volume is on one of them, and on another the "
            "database would begin empty. Leave the label on the one that has the volume (`docker node update "
            "--label-rm` takes it from another), and take it out of the inventory there."
        )
    for name in labelled:
        if name in sight.wanted.hosts and not _is_active(sight, name):
            yield (
                f"{name} has the label {label}, and is not active, so that the database would not run. Set "
                f"docker_swarm_availability of {name} to active."
            )


def _labelled(sight: Sight, label: str) -> list[str]:
    """Names of hosts, and of nodes of no host, that have a label or are to have it."""
    hosts = [name for name in sight.wanted.hosts if _labels_of(sight, name).get(label) == "true"]
    return [*hosts, *(node.hostname for node in sight.strangers if node.labels.get(label) == "true")]


def _labels_of(sight: Sight, name: str) -> dict[str, object]:
    there = sight.members[name].labels if name in sight.members else {}
    return {**there, **sight.wanted.wishes[name].labels}


def _is_active(sight: Sight, name: str) -> bool:
    return _availability(sight, name) == "active"


def _availability(sight: Sight, name: str) -> str:
    there = sight.members[name].availability if name in sight.members else "active"
    return sight.wanted.wishes[name].availability or there
