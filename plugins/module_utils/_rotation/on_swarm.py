# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of a swarm's services, replaced by what the files of the stack's home hold by now."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, seen
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.served import (
    closed,
    filters,
    nodes,
    services_of,
    tasks_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.objects import Object
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.renewal import (
    Exchange,
    exchanges,
    shared,
    unneeded,
    unquiet,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.rollout import (
    Progress,
    progress_of,
    verdict,
)

# Seconds between two questions, and beside what each server may take to begin: until a swarm gives one up.
_PAUSE = 1.0
_GIVEN_UP = 240
_RUNNING = "running"


@dataclass(frozen=True)
class Server:
    """A container of a service, and the node that it runs on."""

    node: str
    container: str


class ServedSecrets:
    """The secrets that services of one stack see; whoever calls it holds the lock of the stack's cutovers."""

    def __init__(self, stack: Stack) -> None:
        if not stack.project.on_swarm:
            raise RefusedError(
                f"No swarm serves the stack of {stack.settings.directory}. Nothing was changed",
                "With Docker Compose, services see the files themselves",
            )
        self._stack = stack
        self._project = stack.project.name
        self._directory = stack.settings.directory

    def require_quiet(self, parts: Sequence[str], asked: Collection[str]) -> None:
        """Refuse to begin where a server would keep the old secret, there are too few, or the home cannot ask them.

        Args:
            parts: The services, by what follows the project in their names.
            asked: Ids of the nodes that the run can ask.
        """
        found = [
            *(f"{each} Nothing was changed." for each in closed()),
            *unquiet(nodes(), asked, [self._progress(part) for part in parts]),
        ]
        if found:
            raise RefusedError(" ".join(found))

    def require_unshared(self, parts: Sequence[str]) -> None:
        """Refuse to replace a secret for these services that another one sees as well."""
        services = services_of(self._project, self._directory)
        found = list(shared(services, [self._name(part) for part in parts]))
        if found:
            raise RefusedError(" ".join(found))

    def due(self, part: str) -> list[Exchange]:
        """Return which secrets of a service are not what the home's files hold."""
        return self._exchanges(self._spec(part)["TaskTemplate"]["ContainerSpec"], part)[0]

    def give(self, part: str, environment: Mapping[str, str] | None = None) -> bool:
        """Give a service what the home's files hold, and wait until it runs with that; return whether it lacked any.

        Args:
            part: The service, by what follows the project in its name.
            environment: Variables that it has to have, beside those that it has.

        Raises:
            CutoverError: The swarm did not keep it, or it takes too long.
        """
        present = self._spec(part)["TaskTemplate"]["ContainerSpec"]
        found, replacing = self._exchanges(present, part)
        seen.provide(self._stack, replacing)
        changes = [
            option
            for each in found
            for option in (f"--secret-rm={each.old}", f"--secret-add=source={each.new},{each.place}")
        ]
        given = [f"{name}={value}" for name, value in (environment or {}).items()]
        changes += [f"--env-add={each}" for each in given if each not in (present.get("Env") or ())]
        if changes:
            docker.run("service", "update", "--detach", "--quiet", *changes, self._name(part))
        self._wait(part, touched=bool(changes))
        return bool(changes)

    def servers(self, part: str) -> list[Server]:
        """Return where the containers of a service run."""
        running = [task for task in self._tasks(part) if task["DesiredState"] == _RUNNING]
        return [
            Server(task["NodeID"], str(task["Status"]["ContainerStatus"]["ContainerID"])) for task in running
        ]

    def prune(self) -> list[str]:
        """Remove what no service sees any more; return its names."""
        made = docker.run(
            "secret", "ls", "--format={{.Name}}", *filters(self._project, self._directory)
        ).split()
        found = unneeded(made, services_of(self._project, self._directory))
        if found:
            docker.run("secret", "rm", *found)
        return found

    def _exchanges(self, container: Mapping[str, Any], part: str) -> tuple[list[Exchange], list[Object]]:
        """Return which secrets of a service are to be exchanged, and what they are exchanged for."""
        objects = seen.objects_of_part(self._stack, part)
        found = exchanges(container, objects)
        new = {each.new for each in found}
        return found, [each for each in objects if each.name in new]

    def _name(self, part: str) -> str:
        return f"{self._project}_{part}"

    def _service(self, part: str) -> Mapping[str, Any]:
        found: list[Mapping[str, Any]] = json.loads(docker.run("service", "inspect", self._name(part)))
        return found[0]

    def _spec(self, part: str) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = self._service(part)["Spec"]
        return spec

    def _tasks(self, part: str) -> list[Mapping[str, Any]]:
        return tasks_of(self._name(part))

    def _progress(self, part: str) -> Progress:
        return progress_of(self._service(part), self._tasks(part))

    def _wait(self, part: str, *, touched: bool) -> None:
        """Wait until all containers are of the present description, and those before have ended."""
        end: float | None = None
        while True:
            tasks = self._tasks(part)
            progress = progress_of(self._service(part), tasks)
            # One after the other.
            seconds = self._stack.settings.wait_timeout * max(1, progress.desired) + _GIVEN_UP
            end = end or time.monotonic() + seconds
            said = verdict(progress, touched)
            if said == "failed":
                raise CutoverError(f"the swarm did not keep the new secret of {progress}")
            leaving = [task for task in tasks if task["DesiredState"] != _RUNNING and _runs(task)]
            if said == "settled" and not leaving:
                return
            if time.monotonic() > end:
                raise CutoverError(
                    f"after {seconds} s, not every container has the new secret: {progress}; {len(leaving)} before it "
                    "have not ended",
                    f"See `docker service ps {self._name(part)}`, and run this playbook again",
                )
            time.sleep(_PAUSE)


def _runs(task: Mapping[str, Any]) -> bool:
    return bool((task.get("Status") or {}).get("State") == _RUNNING)
