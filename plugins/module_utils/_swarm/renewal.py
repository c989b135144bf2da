# SPDX-License-Identifier: GPL-3.0-or-later
"""Other secrets for a service of a swarm that goes on serving: which take whose place, and whether it may begin."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import Node
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.objects import Object
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.rollout import Progress, is_moving

_UNCHANGED = "Nothing was changed."


@dataclass(frozen=True)
class Exchange:
    """A secret of a service that another one takes the place of, at the same path.

    Attributes:
        old: Its name.
        new: The other one's name.
        place: Where the service sees it, as ``docker service update --secret-add`` takes it.
    """

    old: str
    new: str
    place: str


def exchanges(container: Mapping[str, Any], objects: Iterable[Object]) -> list[Exchange]:
    """Return which secrets of a service are not what the stack's files hold now.

    Args:
        container: What the service says of its containers.
        objects: What the stack's files are as secrets and configs.
    """
    wanted = {each.filename: each for each in objects if each.kind == "secret"}
    return [
        Exchange(
            seen["SecretName"],
            wanted[file["Name"]].name,
            f"target={file['Name']},uid={file['UID']},gid={file['GID']},mode={file['Mode']:#o}",
        )
        for seen in container.get("Secrets") or ()
        if (file := seen["File"])["Name"] in wanted and wanted[file["Name"]].name != seen["SecretName"]
    ]


def unneeded(secrets: Iterable[str], services: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return which secrets no service sees.

    Args:
        secrets: Names of those that were made for the stack.
        services: What ``docker service inspect`` tells of the stack's services.
    """
    seen = {
        each["SecretName"]
        for service in services
        for each in service["Spec"]["TaskTemplate"]["ContainerSpec"].get("Secrets") or ()
    }
    return sorted(set(secrets) - seen)


def shared(services: Sequence[Mapping[str, Any]], names: Collection[str]) -> Iterator[str]:
    """Say which other services see a secret that some see, a sentence or two for each.

    Args:
        services: What ``docker service inspect`` tells of the stack's services.
        names: Of those whose secrets are to be replaced.
    """
    seen = {
        service["Spec"]["Name"]: {
            each["SecretName"]
            for each in service["Spec"]["TaskTemplate"]["ContainerSpec"].get("Secrets") or ()
        }
        for service in services
    }
    replaced = {secret for name in names for secret in seen.get(name, ())}
    for name in sorted(seen):
        if name not in names and seen[name] & replaced:
            yield (
                f"{name} has the same secret, and would go on with the one before, which is then refused. Remove that "
                "service before, and have it made again afterwards: dask's workers by site.yml with "
                f"mlflow_stack_dask: false, then true. {_UNCHANGED}"
            )


def unquiet(nodes: Sequence[Node], asked: Collection[str], services: Sequence[Progress]) -> Iterator[str]:
    """Say why no secret may be replaced now, a sentence or two for each reason.

    Args:
        nodes: As the managers see them.
        asked: Ids of those that this run can ask.
        services: How far those are that see the secret.
    """
    for node in nodes:
        if node.state != "ready":
            yield (
                f"The node {node.hostname} ({node.id}) is {node.state}. Servers that ran there would begin with the "
                "old secret when it is back, before a manager can tell it otherwise. Bring it back, or take it out of "
                f"the swarm: `docker node rm {node.id}` on a manager. {_UNCHANGED}"
            )
        elif node.id not in asked and node.availability != "drain":
            yield (
                f"The node {node.hostname} ({node.id}) may run servers, and this run cannot ask it, so that nobody "
                "could prove the new secret there. Let it be a host of swarm_managers or swarm_workers, reachable and "
                "within --limit; or take servers away from it: "
                f"`docker node update --availability drain {node.id}`. {_UNCHANGED}"
            )
    for service in services:
        if is_moving(service):
            yield f"{service.service} is being changed ({service}). Wait until that is over. {_UNCHANGED}"
        elif service.update in ("paused", "rollback_paused"):
            yield f"A change of {service.service} has stopped on its way ({service}). Run site.yml first. {_UNCHANGED}"
        elif not service.desired or service.current < service.desired:
            yield (
                f"Of {service.service}, not every container runs ({service}), and the one before has to serve while "
                f"the next one begins. See `docker service ps {service.service}`, and run site.yml. {_UNCHANGED}"
            )
