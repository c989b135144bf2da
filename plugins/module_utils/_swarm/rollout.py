# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a service of a swarm runs as it was asked for, is on its way, or was rolled back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["settled", "waiting", "failed"]

_RUNNING = "running"
_MOVING = ("updating", "rollback_started")
_STUCK = ("paused", "rollback_paused")
# What of a task decides whether it is of the present description.
_DECIDING = ("ContainerSpec", "ForceUpdate", "LogDriver", "Networks", "Placement", "Resources")


@dataclass(frozen=True)
class Progress:
    """How far a service is.

    Attributes:
        service: Its name.
        current: Tasks that run, healthy where that is asked, as the service is described now.
        desired: How many there should be.
        update: State of the last update: ``updating``, ``paused``, ``completed``, ``rollback_started``,
            ``rollback_paused``, ``rollback_completed``; empty for none.
        said: What the swarm says of that update.
        errors: What tasks ended with, the newest first.
        kept: Ids of paused nodes whose task is of an earlier description, which the swarm leaves there.
    """

    service: str
    current: int
    desired: int
    update: str = ""
    said: str = ""
    errors: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def __str__(self) -> str:
        update = f", update {self.update}" if self.update else ""
        text = f"{self.service}: {self.current} of {self.desired} run{update}"
        details = [*([self.said] if self.said else []), *self.errors]
        return f"{text} ({'; '.join(details)})" if details else text


def progress_of(
    service: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], paused: Collection[str] = ()
) -> Progress:
    """Return how far a service is.

    Args:
        service: What ``docker service inspect`` shows of it.
        tasks: What ``docker inspect --type task`` shows of its tasks.
        paused: Ids of the nodes that are paused; for a global service.
    """
    spec = service["Spec"]
    wanted = [task for task in tasks if task.get("DesiredState") == _RUNNING]
    template = spec["TaskTemplate"]
    replicated = (spec.get("Mode") or {}).get("Replicated")
    # Tasks of a global service stay on a paused node as they are, and their update ends without them.
    kept = [
        task
        for task in wanted
        if not replicated and task.get("NodeID") in paused and not _is_of(task, template)
    ]
    wanted = [task for task in wanted if task not in kept]
    current = [task for task in wanted if _runs(task) and _is_of(task, template)]
    status = service.get("UpdateStatus") or {}
    return Progress(
        spec["Name"],
        len(current),
        # A global service has a task for each node that may have one.
        int(replicated.get("Replicas", 1)) if replicated else len(wanted),
        status.get("State") or "",
        status.get("Message") or "",
        tuple(_errors(tasks)),
        tuple(str(task["NodeID"]) for task in kept),
    )


def verdict(progress: Progress, touched: bool) -> Verdict:
    """Say whether a service is as it was asked for.

    Args:
        progress: How far it is.
        touched: Whether it was changed just now, or was seen to change: otherwise a way back is an old one.
    """
    if progress.update in _STUCK or (touched and progress.update == "rollback_completed"):
        return "failed"
    full = progress.desired > 0 and progress.current == progress.desired
    return "settled" if full and not is_moving(progress) else "waiting"


def is_moving(progress: Progress) -> bool:
    """Whether an update, or the way back from it, is going on."""
    return progress.update in _MOVING


def _runs(task: Mapping[str, Any]) -> bool:
    return bool((task.get("Status") or {}).get("State") == _RUNNING)


def _is_of(task: Mapping[str, Any], template: Mapping[str, Any]) -> bool:
    own = task.get("Spec") or {}
    return all(_decides(own, key) == _decides(template, key) for key in _DECIDING)


def _decides(template: Mapping[str, Any], key: str) -> Any:
    value = template.get(key)
    if key == "Placement":
        # A swarm leaves a task where it is as long as its node fits, and the task has the constraints it was made with.
        value = {name: each for name, each in (value or {}).items() if name != "Constraints"}
    # What is not described at all, and what is described as nothing, are the same.
    return _meant(value) or None


def _meant(value: Any) -> Any:
    """What a description says, without what it says nothing of: a service may have that, where a task has nothing."""
    if not isinstance(value, Mapping):
        return value
    return {key: meant for key, each in value.items() if (meant := _meant(each)) not in (None, "", [], {})}


def _errors(tasks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The last few different ones."""
    newest = sorted(tasks, key=lambda task: str((task.get("Status") or {}).get("Timestamp")), reverse=True)
    said = [str(status["Err"]) for task in newest if (status := task.get("Status") or {}).get("Err")]
    yield from list(dict.fromkeys(said))[:3]
