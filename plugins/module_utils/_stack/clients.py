# SPDX-License-Identifier: GPL-3.0-or-later
"""Client hosts: Docker hosts that run services against the server of another host, through its front door."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.addresses import (
    gateway_bind,
    is_reached,
)

Variables = Mapping[str, Any]

CLIENTS = "mlflow_clients"
SERVERS = "docker_hosts"
# Services that need no server beside them.
CLIENT_SERVICES = ("notebook", "experiment-service", "train")
_ACCOUNT = ("sftp_host", "sftp_port", "sftp_user", "sftp_path")


@dataclass(frozen=True)
class Client:
    """What a client host takes over from its server.

    Attributes:
        server: Name of the server's host in the inventory; empty where findings say why there is none.
        url: Origin of the server's front door, ``https://name[:port]``.
        ca_file: On the controller, the certificates that vouch for the front door; empty for what everybody knows.
        services: Services that the client runs.
        storage: ``local`` or ``sftp``.
        access: ``direct`` or ``proxied``.
        login: What the server asks of its users: ``none`` or ``basic``.
        findings: Why the host cannot be a client, a sentence or two each.
    """

    server: str = ""
    url: str = ""
    ca_file: str = ""
    services: tuple[str, ...] = ()
    storage: str = "sftp"
    access: str = "direct"
    login: str = "none"
    findings: tuple[str, ...] = ()

    @property
    def holds_key(self) -> bool:
        """Whether its services talk to the SFTP account themselves."""
        return self.storage == "sftp" and self.access == "direct"


def client_of(name: str, groups: Mapping[str, Sequence[str]], variables: Mapping[str, Variables]) -> Client:
    """Return what a client host takes over from its server, or why it cannot be one.

    Args:
        name: The client host.
        groups: Names of hosts by group of the inventory.
        variables: Variables by host.
    """
    servers = groups.get(SERVERS, ())
    if name in servers:
        both = (
            f"{name} is in both {SERVERS} and {CLIENTS}. A host that runs a server runs its own services beside it; "
            f"take the host out of {CLIENTS}."
        )
        return Client(findings=(both,))
    own = variables[name]
    named = str(own.get("mlflow_stack_server_host") or "")
    if not named and len(servers) != 1:
        return Client(findings=(_no_server(name, servers),))
    server = named or servers[0]
    if server not in servers:
        stranger = f"mlflow_stack_server_host of {name} is {server}, which is none of {SERVERS}: {', '.join(servers)}."
        return Client(findings=(stranger,))
    return _of_server(name, own, server, variables[server])


def keys_of(groups: Mapping[str, Sequence[str]], variables: Mapping[str, Variables]) -> list[str]:
    """Return the hosts whose keys the SFTP account must know, whichever of them a run is for."""
    clients = groups.get(CLIENTS, ())
    return [
        *groups.get(SERVERS, ()),
        *(name for name in clients if client_of(name, groups, variables).holds_key),
    ]


def clients_of(
    server: str, groups: Mapping[str, Sequence[str]], variables: Mapping[str, Variables]
) -> list[str]:
    """Return the client hosts of a server's host, and those of which nobody can tell whose they are."""
    clients = groups.get(CLIENTS, ())
    return [name for name in clients if client_of(name, groups, variables).server in (server, "")]


def running_on(variables: Variables) -> list[str] | None:
    """Return the stack's containers that run on a host, from what mlflow_stack_info said; None where it could not."""
    told = variables.get("__mlflow_stack_host") or {}
    return None if told.get("engine", "silent") == "silent" else list(told["running"])


def switch_findings(storage: str, access: str, running: Mapping[str, Collection[str] | None]) -> list[str]:
    """Return why a storage switch must not begin while there are client hosts.

    Args:
        storage: Where artifacts would go.
        access: How the services would reach them.
        running: By client host of the server, the containers that run there; None where nobody could tell.
    """
    return [*_of_goal(storage, access, running), *_of_running(running)]


def _no_server(name: str, servers: Sequence[str]) -> str:
    if not servers:
        return f"{name} is in {CLIENTS}, but no host is in {SERVERS} that could have its server. Add the server's host."
    return (
        f"{SERVERS} holds {', '.join(servers)}; mlflow_stack_server_host has to say which of them has the server for "
        f"{name}."
    )


def _of_server(name: str, own: Variables, server: str, its: Variables) -> Client:
    port = int(its.get("mlflow_gateway_https_port", 443))
    hostname = str(its.get("mlflow_gateway_hostname") or "").lower()
    given = own.get("mlflow_stack_services", CLIENT_SERVICES)
    client = Client(
        server,
        f"https://{hostname}{'' if port == 443 else f':{port}'}",
        _ca_file(own, its),
        # An inventory says it for all hosts at once.
        tuple(each for each in given if each != "mlflow"),
        str(its.get("artifact_storage", "sftp")),
        str(its.get("mlflow_stack_access", "direct")),
        str(its.get("mlflow_stack_auth", "none")),
    )
    findings = [
        *_of_front_door(name, server, its),
        *_of_services(name, client),
        *_of_goal(client.storage, client.access, [name]),
    ]
    if client.holds_key:
        findings += _of_account(name, own, server, its)
    return Client(**{**vars(client), "findings": tuple(findings)})


def _ca_file(own: Variables, its: Variables) -> str:
    if given := own.get("mlflow_stack_server_ca_file"):
        return str(given)
    own_authority = its.get("mlflow_gateway_tls", "own") == "self"
    return f"{its.get('mlflow_gateway_authority_dir')}/ca.crt" if own_authority else ""


def _of_front_door(name: str, server: str, its: Variables) -> Iterator[str]:
    if "mlflow" not in its.get("mlflow_stack_services", ("mlflow",)):
        yield f"{server} is the server's host for {name}, but mlflow_stack_services has no mlflow there."
    if not its.get("mlflow_gateway_hostname"):
        yield (
            f"{name} is in {CLIENTS}, but {server} has no front door: without TLS nothing leaves that host. Set "
            "mlflow_gateway_hostname to a name of it that the client hosts know."
        )
        return
    bind = gateway_bind(its)
    if not is_reached(bind):
        yield (
            f"{name} cannot reach the front door of {server}: mlflow_gateway_bind is {bind}, for that host alone. Set "
            "it to an address that the client hosts reach."
        )


def _of_services(name: str, client: Client) -> Iterator[str]:
    if not client.services:
        yield (
            f"{name} is in {CLIENTS}, but mlflow_stack_services leaves it nothing to run: expected some of "
            f"{', '.join(CLIENT_SERVICES)}."
        )


def _of_goal(storage: str, access: str, clients: Collection[str]) -> Iterator[str]:
    if clients and (storage, access) == ("local", "direct"):
        yield (
            f"Local storage with direct access is a volume of the server's host, which {', '.join(clients)} cannot "
            "see. Set mlflow_stack_access to proxied, or artifact_storage to sftp."
        )


def _of_account(name: str, own: Variables, server: str, its: Variables) -> Iterator[str]:
    different = [each for each in _ACCOUNT if str(own.get(each)) != str(its.get(each))]
    if different:
        yield (
            f"{name} has another {' and another '.join(different)} than {server}, whose runs say where the artifacts "
            "are. Set them once, for all hosts."
        )


def _of_running(running: Mapping[str, Collection[str] | None]) -> Iterator[str]:
    unknown = [name for name, containers in running.items() if containers is None]
    if unknown:
        yield (
            f"Nobody could ask {', '.join(unknown)} what runs there, and a job would go on writing to the old store. "
            "Let the client hosts be reachable and within --limit, or take those that are gone out of the inventory."
        )
    # What a job writes between the last copy and the opening would be missing in the new store.
    for name, containers in running.items():
        if containers:
            yield (
                f"{name} runs {', '.join(sorted(containers))}, which would go on writing to the old store. Stop them "
                "(docker compose stop in the stack's directory there), switch, and run site.yml: it gives the client "
                "hosts what the new store needs and starts them."
            )
