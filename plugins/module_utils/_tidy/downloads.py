# SPDX-License-Identifier: GPL-3.0-or-later
"""What MLflow's servers have downloaded into their temporary directories, which only the engine beside them reaches."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import Program
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.asking import Manner, of_files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.outcome import Outcome

_KIND = "downloads"
_COMMAND = "clean-downloads"
_HOURS = 24
_GONE = "it does not run"


def servers_of_swarm(project: str) -> list[str]:
    """Return the names of the containers in which this node runs a swarm's servers."""
    label = f"--filter=label=com.docker.swarm.service.name={project}_mlflow"
    return sorted(
        docker.run("container", "ls", "--filter=status=running", label, "--format={{.Names}}").split()
    )


def tidy_downloads(servers: Iterable[str], days: int, manner: Manner) -> Outcome:
    """Delete what servers have downloaded and nobody has changed for so many days; one that does not run keeps it."""
    found = {server: _tidied(server, days, manner) for server in servers}
    several = len(found) > 1
    return Outcome(
        _KIND,
        sum(each.count for each in found.values()),
        sum(each.bytes or 0 for each in found.values()),
        kept={
            f"{server}: {path}" if several and path != server else path: reason
            for server, each in found.items()
            for path, reason in each.kept.items()
        },
    )


def _tidied(server: str, days: int, manner: Manner) -> Outcome:
    if not _runs(server):
        return Outcome(_KIND, kept={server: _GONE})
    program = Program(server, [_COMMAND])
    try:
        return of_files(_KIND, manner.call(program, _COMMAND, "--hours", str(days * _HOURS)))
    except CutoverError:
        # A swarm may have replaced it meanwhile.
        if _runs(server):
            raise
        return Outcome(_KIND, kept={server: _GONE})
    finally:
        program.end()


def _runs(server: str) -> bool:
    found = docker.inspect(server)
    return found is not None and bool(found["State"]["Running"])
