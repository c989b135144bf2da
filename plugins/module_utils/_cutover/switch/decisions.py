# SPDX-License-Identifier: GPL-3.0-or-later
"""What a switch, a prune or an audit is to do: from what is deployed, what is asked for and what was begun before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import VERSION, Record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import (
    new_id,
    require_none_interrupted,
    to_resume,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import SwitchRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store


@dataclass(frozen=True)
class Options:
    """What is asked for.

    Attributes:
        storage: ``local`` or ``sftp``.
        access: ``direct`` or ``proxied``.
        uris: Where each storage is, as the variables say.
        migrate: ``all`` or ``none``.
        experiments: Those to move; empty for all.
        resume: ``finish`` or ``undo`` an interrupted switch; empty for neither.
        undo: Whether the last switch is to be undone.
        check: Whether nothing is to be changed.
        now: The time as an id.
        on_swarm: Whether a swarm serves the stack.
    """

    storage: str
    access: str
    uris: dict[str, str]
    migrate: str = "all"
    experiments: tuple[int, ...] = ()
    resume: str = ""
    undo: bool = False
    check: bool = False
    now: str = ""
    on_swarm: bool = False

    @property
    def is_part(self) -> bool:
        """Whether something is to stay where it is."""
        return self.migrate == "none" or bool(self.experiments)


@dataclass(frozen=True)
class Decision:
    """What to do.

    Attributes:
        action: ``none``, ``start``, ``finish`` or ``rollback``.
        record: Of the switch; None where there is nothing to do.
        store: What is deployed.
        goal: The store that a record names, where the record and not the variables decide.
    """

    action: str
    record: SwitchRecord | None
    store: Store
    goal: Store | None = None

    @property
    def groups(self) -> list[str]:
        """What the host needs of the plays to come: ``move``, ``to_sftp``, ``second_account``, ``undo``."""
        if self.action == "none" or self.record is None:
            return []
        if self.action == "rollback":
            return ["undo"]
        if self.record.target.storage == "local":
            return ["move"]
        return ["move", "second_account" if self.record.second_account else "to_sftp"]

    def __str__(self) -> str:
        if self.action == "none" or self.record is None:
            return f"Nothing to do: artifacts are at {self.store.uri}, {self.store.access} access."
        verb = {"start": "Switch", "finish": "Finish the switch", "rollback": "Undo the switch"}[self.action]
        return f"{verb} from {self.record.source} to {self.record.target}."


def decide(deployed: Store, records: Sequence[Record], options: Options) -> Decision:
    """Decide what a switch does.

    Raises:
        RefusedError: Nothing can be done, or somebody has to choose first.
    """
    if not deployed.uri:
        raise RefusedError("There is no deployed stack", "Run site.yml first")
    begun = to_resume(records, SwitchRecord, options.resume, check=options.check)
    if begun is not None:
        return _resume(begun, deployed, options)
    switches = [record for record in records if isinstance(record, SwitchRecord)]
    previous = _last(switches, deployed)
    if options.undo and previous is None:
        raise RefusedError(
            f"No completed switch led to what is deployed now ({deployed.uri}, {deployed.access} access), so "
            "there is none to undo",
            "Name the store to move to: -e artifact_storage=local|sftp",
        )
    goal = previous.source if options.undo and previous is not None else None
    desired = _desired(options, goal)
    _check_engine(desired, options)
    _check_part(deployed, desired, options)
    rest = _rest(previous, deployed, desired, options)
    if deployed == desired and rest is None:
        return Decision("none", None, deployed, goal)
    record = SwitchRecord(
        id=new_id(options.now, records),
        source=rest.source if rest else deployed,
        target=desired,
        migrate=previous.migrate if goal and previous else options.migrate,
        experiments=previous.experiments if goal and previous else tuple(sorted(options.experiments)),
        undoes=previous.id if goal and previous else "",
    )
    # A copy that was interrupted goes on under its own record.
    going = [known for known in switches if known.state == "copying" and known.same_switch(record)]
    record = going[-1] if going else record
    return Decision("start", record.updated(rest=rest is not None, version=VERSION), deployed, goal)


def require_no_workers(record: SwitchRecord, services: Sequence[str]) -> None:
    """Refuse a swarm's workers of dask that would go on with the store from before.

    Args:
        record: Of the switch.
        services: Those that the swarm has of the stack.

    Raises:
        RefusedError: They reach the store themselves, before the switch or after it.
    """
    if "direct" in (record.source.access, record.target.access) and "dask-worker" in services:
        raise RefusedError(
            "With direct access, dask's workers on the swarm write artifacts themselves, and would go on with the "
            "store and the key from before. Nothing was changed",
            "Switch them off (site.yml with mlflow_stack_dask: false), switch the store, and switch them on again",
        )


def copies(records: Sequence[Record], deployed: Store) -> list[SwitchRecord]:
    """Return the switches whose old copy the deployed store proves to be superfluous, the earliest first.

    Raises:
        RefusedError: A switch is half done, or none left a copy.
    """
    require_none_interrupted(records)
    led = [
        record
        for record in records
        if isinstance(record, SwitchRecord)
        and record.state == "done"
        and record.migrate == "all"
        and record.moves_files
        and record.target.uri == deployed.uri
    ]
    if not led:
        raise RefusedError(
            f"No completed switch copied artifacts to what is deployed now ({deployed.uri}), so there is no old "
            "copy that is proved to be superfluous"
        )
    return [record for record in led if record.source.uri == led[-1].source.uri]


def _resume(begun: SwitchRecord, deployed: Store, options: Options) -> Decision:
    if options.resume == "undo":
        return Decision("rollback", begun, deployed, begun.target)
    _desired(options, begun.target)
    return Decision("finish", begun, deployed, begun.target)


def _desired(options: Options, goal: Store | None) -> Store:
    """Return the store to move to: the goal, if a record names one, which the variables must name as well."""
    if goal is None:
        return Store.at(options.storage, options.access, options.uris[options.storage])
    named = Store.at(goal.storage, goal.access, options.uris[goal.storage])
    if named != goal:
        raise RefusedError(
            f"This switch goes to {goal.uri}, but the variables name {named.uri}",
            "Give sftp_host, sftp_port, sftp_user, sftp_path and artifact_storage_local_root as they were",
        )
    return goal


def _check_engine(desired: Store, options: Options) -> None:
    if options.on_swarm and desired.storage == "local":
        raise RefusedError(
            "Local storage is a volume on one host, while a swarm starts servers on whichever of its nodes it likes. "
            "Nothing was changed",
            "Leave artifact_storage at sftp; another account or directory, and another mlflow_stack_access, can be "
            "switched to",
        )


def _check_part(deployed: Store, desired: Store, options: Options) -> None:
    if not options.is_part:
        return
    if "proxied" in (deployed.access, desired.access):
        raise RefusedError(
            "With proxied access every location is mlflow-artifacts:/ and leads to the one store that the "
            "server serves, so all artifacts move together",
            "Leave migrate and experiments out",
        )
    if "local" not in (deployed.storage, desired.storage) and deployed.account != desired.account:
        raise RefusedError(
            f"The services hold the credentials of one SFTP account, so what stays at {deployed.uri} could not "
            "be read any more",
            "Leave migrate and experiments out",
        )


def _last(records: Sequence[SwitchRecord], deployed: Store) -> SwitchRecord | None:
    done = [record for record in records if record.state == "done" and record.target == deployed]
    return done[-1] if done else None


def _rest(
    previous: SwitchRecord | None, deployed: Store, desired: Store, options: Options
) -> SwitchRecord | None:
    """Return the last switch to the deployed store if it moved a part, and the rest is to follow."""
    if previous is not None and previous.left > 0 and options.migrate == "all" and deployed == desired:
        return previous
    return None
