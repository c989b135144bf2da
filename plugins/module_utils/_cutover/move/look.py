# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database that is yet to be filled would say to the rows of the present one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import Database
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import (
    INCOMPLETE,
    running_program,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import LABEL
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.database import (
    SERVICE_PLACE,
    database_place,
)

# Of each problem, rows that are named.
_KEYS = "3"
_START_SECONDS = 60
# Nobody else is in its network: neither password nor disk is needed.
_START = """
for bin in /usr/lib/postgresql/*/bin; do :; done
"$bin/initdb" --pgdata=/trial/cluster --username=mlflow --encoding=UTF8 --locale=C.UTF-8 --auth=trust --no-instructions
exec "$bin/postgres" -D /trial/cluster -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp -c fsync=off
"""
_ANSWERS = "for bin in /usr/lib/postgresql/*/bin; do :; done; $bin/pg_isready --quiet --host=127.0.0.1"
_TRIAL_URI = "postgresql+psycopg://mlflow@127.0.0.1:5432/postgres"


def database_of(stack: Stack) -> Database:
    """Return a stack's database; one of the user's own may be where the stack's own would be."""
    place = database_place(stack.database)
    return Database(place, place == SERVICE_PLACE and "postgres" in stack.project.services)


def would_copy(stack: Stack, target: Database, uri: str, postgres_image: str) -> Mapping[str, Any] | None:
    """Return what ``copy-database --check`` answers; nothing stays at the target.

    Args:
        stack: Whose database is copied.
        target: The database that it would be copied to.
        uri: Of that one; the stack's own PostgreSQL needs none.
        postgres_image: Of the stack's own PostgreSQL, of which one without any data is asked.

    Returns:
        The answer; None where the image is not there.

    Raises:
        CutoverError: The database cannot be copied, or the target is not empty.
    """
    if not target.is_service:
        return _check(stack, uri, None)
    if not docker.has_image(postgres_image):
        return None
    with _trial_postgres(stack, postgres_image) as network:
        return _check(stack, _TRIAL_URI, (network,))


def _check(stack: Stack, uri: str, networks: Sequence[str] | None) -> Mapping[str, Any]:
    stack.start_tool(stack.planner, [stack.database_volume], networks=networks)
    with running_program(stack.planner, "copy-database") as program:
        return program.call(
            *("copy-database", "--check", "--keys", _KEYS, "--target-database", uri), accepted=(0, INCOMPLETE)
        )


@contextlib.contextmanager
def _trial_postgres(stack: Stack, image: str) -> Iterator[str]:
    """A PostgreSQL in memory, while the block runs; yields its network, which nobody else is in."""
    docker.remove(stack.trial)
    docker.run(
        *("container", "run", "--detach", f"--name={stack.trial}", "--pull=never", "--network=none"),
        *docker.RESTRICTED,
        *docker.NO_PROXIES,
        f"--label={LABEL}={stack.settings.directory}",
        *("--user=postgres", "--tmpfs=/trial:mode=1777", "--shm-size=64m"),
        *(f"--health-cmd={_ANSWERS}", "--health-interval=1s", "--health-retries=60"),
        *("--entrypoint=sh", image, "-euc", _START),
    )
    try:
        docker.wait_until_healthy(stack.trial, _START_SECONDS)
        yield f"container:{stack.trial}"
    finally:
        with contextlib.suppress(CutoverError):
            docker.remove(stack.trial)
