# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a Docker host cannot take a stack or a lab: every reason at once, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

_SERVERS = {"compose": "Docker Compose", "swarm": "a swarm"}


@dataclass(frozen=True)
class Port:
    """A port of the Docker host that is taken, the variable that chooses it, and who holds it, if that can be told."""

    variable: str
    address: str
    number: int
    holder: str = ""


@dataclass(frozen=True)
class Wanted:
    """What is to be deployed.

    Attributes:
        home: What it is, for messages: ``this stack (project mlflow)``.
        directory: Where its files are, or will be.
        engine: Whether an engine must answer by now; otherwise the same run may start one.
        min_free_mb: MiB that the engine's disk must have free; None for any.
        store: Where artifacts go; None for wherever they go already.
        database: Scheme and place of MLflow's database; None for the deployed one.
        served_by: ``compose`` or ``swarm``; empty for whichever serves it already.
        managers: Hosts of the inventory that manage the swarm.
    """

    home: str
    directory: str
    engine: bool = True
    min_free_mb: int | None = None
    store: Store | None = None
    database: str | None = None
    served_by: str = ""
    managers: Sequence[str] = ()


@dataclass(frozen=True)
class Found:
    """What there is.

    Attributes:
        engine: ``absent``, ``silent`` or ``answers``.
        ownership: Why names or the directory are somebody else's; empty for no reason.
        ports: Those of the wanted ports that somebody else holds.
        ids: Names of users and groups that have the containers' ids on the host.
        free_mb: MiB free on the disk of the engine.
        store: Where the deployed stack keeps its artifacts; its `uri` is empty where there is none.
        database: Scheme and place of the deployed database; empty for none.
        served_by: ``compose`` or ``swarm``; empty for no stack.
        services: Of the stack, that a swarm has, where the directory holds nothing of it.
    """

    engine: str
    ownership: str = ""
    ports: Sequence[Port] = ()
    ids: Sequence[str] = ()
    free_mb: int = 0
    store: Store = field(default_factory=lambda: Store.from_environment({}))
    database: str = ""
    served_by: str = ""
    services: Sequence[str] = ()


def stack_findings(wanted: Wanted, found: Found) -> list[str]:
    """Return a sentence or two for each reason that is against it."""
    return [
        *_of_engine(wanted, found),
        *([found.ownership] if found.ownership else []),
        *_of_ids(found),
        *(_of_port(port, wanted.home) for port in found.ports),
        *_of_space(wanted, found),
        *_of_store(wanted, found),
        *_of_database(wanted, found),
        *_of_swarm(wanted, found),
    ]


def _of_engine(wanted: Wanted, found: Found) -> Iterator[str]:
    if wanted.engine and found.engine == "silent":
        yield (
            'Docker is installed, but does not answer ("docker version" says why), so that nothing can be said or '
            f"done about {wanted.home} in {wanted.directory}. Start it, or, if this user may not use it, set "
            "ansible_become: true, and run this again."
        )


def _of_ids(found: Found) -> Iterator[str]:
    if found.ids:
        yield (
            f"{' and '.join(found.ids)} on this host has the id that the containers run with, and could read the "
            "private key. Set mlflow_stack_uid, mlflow_stack_gid, sftp_client_uid and sftp_client_gid to a number "
            "that is free."
        )


def _of_port(port: Port, home: str) -> str:
    held = f" It is held by {port.holder}." if port.holder else " `ss -ltnp` shows who listens."
    return (
        f"Port {port.number} on {port.address} is taken by something that is not {home}.{held} Stop it, or set "
        f"{port.variable} to another port."
    )


def _of_space(wanted: Wanted, found: Found) -> Iterator[str]:
    if wanted.min_free_mb is not None and found.free_mb < wanted.min_free_mb:
        yield (
            f"Docker's directory has {found.free_mb} MiB free; building the images needs {wanted.min_free_mb} MiB "
            "(mlflow_stack_min_free_mb). `docker system df` shows what can be removed."
        )


def _of_store(wanted: Wanted, found: Found) -> Iterator[str]:
    if wanted.store is None or not found.store.uri or found.store == wanted.store:
        return
    variable = "mlflow_stack_access" if found.store.uri == wanted.store.uri else "artifact_storage"
    # A changed .env alone would leave every old run's artifacts behind.
    yield (
        f"The deployed stack keeps its artifacts at {found.store}; this run would use {wanted.store} and leave the old "
        "ones behind. playbooks/storage_switch.yml moves them: the same variables, and nothing is lost. If they have "
        f"been moved already, set {variable} in the inventory to what is deployed."
    )


def _of_database(wanted: Wanted, found: Found) -> Iterator[str]:
    if wanted.database is None or found.database in ("", wanted.database):
        return
    way = (
        "No playbook moves what a swarm serves: copy the database with PostgreSQL's own programs while nobody logs."
        if wanted.served_by == "swarm"
        else "playbooks/database_move.yml moves them: the same variables, and nothing is lost."
    )
    # MLflow would begin with an empty database.
    yield (
        f"The deployed stack keeps its runs in {found.database}; this run would begin anew in {wanted.database}, where "
        f"they are not. {way} Or set mlflow_stack_backend_store back; or, if the runs have been moved there or are not "
        "needed, allow it with -e mlflow_stack_backend_store_switch=true."
    )


def _of_swarm(wanted: Wanted, found: Found) -> Iterator[str]:
    if wanted.served_by == "swarm" and not wanted.managers:
        yield (
            "mlflow_stack_engine is swarm, and the group swarm_managers holds no host. Put this host there, and the "
            "swarm's further hosts into swarm_managers and swarm_workers; or set mlflow_stack_engine to compose."
        )
    if wanted.served_by == "swarm" and found.services:
        # With passwords and keys that are made anew, nothing of it would go on.
        yield (
            f"The swarm serves {wanted.home} of {wanted.directory} already ({', '.join(found.services)}), and this "
            "host has nothing of it there: another host is its home, or this one has lost the directory. Put the host "
            "that has it into docker_hosts in this one's place; let playbooks/restore.yml bring it back from a backup; "
            "or, for a stack beside it, set mlflow_stack_project to another name. Services that nobody needs, "
            "`docker service rm` removes."
        )
    if not wanted.served_by or found.served_by in ("", wanted.served_by):
        return
    # Neither takes over what the other has, a database least of all.
    there, other = _SERVERS[found.served_by], _SERVERS[wanted.served_by]
    yield (
        f"{wanted.directory} has a stack that {there} serves, and no playbook moves one to {other} yet. Remove that "
        f"stack (playbooks/teardown.yml with mlflow_stack_engine={found.served_by}; with keep_data=false also its data "
        f"and the directory), name another mlflow_stack_dir, or set mlflow_stack_engine to {found.served_by}."
    )
