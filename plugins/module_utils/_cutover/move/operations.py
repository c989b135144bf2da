# SPDX-License-Identifier: GPL-3.0-or-later
"""What a move of the database does."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.operations import (
    DatabaseDeeds,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import WORK, translated
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import MoveRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import INCOMPLETE
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import environment_of

_URI = "MLFLOW_BACKEND_STORE_URI"
# The ``.env`` that the move gives the stack, for a way back from what has other files by then.
_AFTER = "after.env"
# What the stack's directory holds for its PostgreSQL besides the files that are rendered for each deployment.
_CONFIGURATION, _PASSWORD = "postgres", ".secrets/postgres_password"


class Move(DatabaseDeeds[MoveRecord]):
    """The deeds of a move: `move.engine.MoveOperations` on real containers.

    The tool's database is the target; the source is named in the one question that reads it.
    """

    preloaded = ("copy-database", "schema", "info", "entities")

    def start(self, name: str, *command: str, labels: Mapping[str, str] | None = None) -> None:
        """Start a container that has the store, the target, the file of SQLite's and the move's directory."""
        volumes = [*self._stack.credentials(), self._stack.database_volume, f"{self.work}:{WORK}:z"]
        networks = [*self._stack.project.networks, self._stack.database_network]
        self._stack.start_tool(
            name,
            volumes,
            *command,
            labels=labels,
            networks=[each for each in dict.fromkeys(networks) if docker.has("network", each)],
            database=uri_after(self._directory),
        )

    def require_way_back(self, record: MoveRecord) -> None:
        self.require_images(record)
        if record.source.is_service:
            there = docker.has("volume", self._stack.postgres_volume)
        else:
            there = self._state_of("--database", uri_before(self._directory)) != "empty"
        if not there:
            raise RefusedError(
                f"The database from before the move, {record.source}, is gone. Nothing was changed",
                "Restore it from a backup, or stay",
            )

    # What follows is `MoveOperations`.

    def lacks_volume(self, record: MoveRecord) -> bool:
        volume = self._stack.postgres_volume
        if record.target.is_service and docker.has("volume", volume):
            raise CutoverError(
                f"the volume {volume} is there already, and this move has not made it",
                f"If nobody needs what it holds, remove it: docker volume rm {volume}",
            )
        return bool(record.target.is_service)

    def save_files(self, record: MoveRecord) -> None:
        super().save_files(record)
        with translated("the next files cannot be kept"):
            files.install_file(self._directory / "next" / ".env", self._directory / _AFTER)

    def prepare(self, record: MoveRecord) -> None:
        self._end_candidate()
        if record.target.is_service:
            self._provide_postgres()
        self._restart_tool()
        self._provide_maintenance()
        if not record.interrupted:
            self._require_empty(record)
            self._tell_before()

    def empty_target(self, record: MoveRecord) -> None:
        self._require_tool().call("empty-database")

    def copy(self, record: MoveRecord) -> int:
        return int(self._require_tool().call("copy-database", *self._both())["rows"])

    def retire_source(self, record: MoveRecord) -> None:
        if record.source.is_service:
            self._retire_postgres()

    def retire_target(self, record: MoveRecord) -> None:
        if record.target.is_service:
            self._retire_postgres()

    def remove_target(self, record: MoveRecord) -> str:
        try:
            self._remove_target(record)
        except CutoverError as error:
            return (
                f"What was begun of {record.target} could not be removed: {error.seen.rstrip('.')}. "
                "playbooks/database_prune.yml removes it"
            )
        return ""

    def restore_files(self, record: MoveRecord) -> None:
        super().restore_files(record)
        if record.target.is_service and not record.opened:
            remove_postgres_files(self._settings.directory)

    def tidy(self, record: MoveRecord) -> None:
        super().tidy(record)
        if record.state == "planned":
            (self._directory / _AFTER).unlink(missing_ok=True)
            self._try_to_give_up(record)
        retired = record.source if record.state == "done" else record.target
        if retired.is_service and not record.interrupted:
            remove_network(self._stack)

    def _provide_postgres(self) -> None:
        """Start the stack's next PostgreSQL beside what serves."""
        following = self._directory / "next"
        with translated("PostgreSQL's files cannot be installed"):
            files.install_directory(following / _CONFIGURATION, self._settings.directory / _CONFIGURATION)
        self._start_postgres(following)

    def _require_empty(self, record: MoveRecord) -> None:
        found = self._require_tool().call("empty-database", "--check")
        if found["tables"] or found["others"]:
            raise CutoverError(
                f"{record.target} is not empty, and no move has left what it holds",
                "Name an empty database, or remove by hand what nobody needs",
            )

    def _state_of(self, *database: str) -> str:
        return str(self._require_tool().call("schema", *database)["state"])

    def _both(self) -> tuple[str, ...]:
        """The databases, which the program reads from its standard input: no process list shows a password."""
        return (
            *("--database", uri_before(self._directory)),
            *("--target-database", uri_after(self._directory)),
        )

    def _remove_target(self, record: MoveRecord) -> None:
        if record.target.is_service:
            docker.remove(self._stack.postgres)
            remove_volume(self._stack)
        elif self._state_of() == "empty":
            if record.target.is_sqlite:
                # A killed copy left what it had under another name.
                self._require_tool().call("empty-database")
        elif self._is_of_this_move(record):
            self._require_tool().call("empty-database")

    def _is_of_this_move(self, record: MoveRecord) -> bool:
        """Whether the target holds what this move has brought; raises CutoverError where somebody else was there."""
        if record.tried:
            return True
        # Killed between the copy and the record of it: then it is a copy, which the question compares.
        found = self._require_tool().call("copy-database", "--check", *self._both(), accepted=(0, INCOMPLETE))
        return not found["changed"]

    def _retire_postgres(self) -> None:
        if docker.inspect(self._stack.postgres) is not None:
            docker.run("container", "stop", self._stack.postgres)
        docker.remove(self._stack.postgres)

    def _try_to_give_up(self, record: MoveRecord) -> None:
        """Remove what was made of the target before MLflow was closed, or note why it is still there."""
        if not record.made_volume:
            return
        given_up = record.updated(made_volume=False, left_behind="")
        try:
            docker.remove(self._stack.postgres)
            remove_volume(self._stack)
            remove_postgres_files(self._settings.directory)
        except CutoverError as error:
            behind = f"The volume {self._stack.postgres_volume} could not be removed: {error.seen}"
            given_up = record.updated(left_behind=behind)
        with contextlib.suppress(CutoverError):
            self.write(given_up)


def uri_before(directory: Path) -> str:
    """Return the database of a stack's files from before a move, whose directory this is; it may hold a password.

    Raises:
        CutoverError: The files cannot be read.
    """
    with translated("the files from before cannot be read"):
        return environment_of(files.text_of(directory / "before.tar", ".env"))[_URI]


def uri_after(directory: Path) -> str:
    """Return the database of a stack's files from after a move, likewise."""
    with translated("the move's files cannot be read"):
        return environment_of((directory / _AFTER).read_text())[_URI]


def remove_volume(stack: Stack) -> None:
    """Remove the volume of the stack's own PostgreSQL; raises CutoverError where somebody uses it."""
    if docker.has("volume", stack.postgres_volume):
        docker.run("volume", "rm", stack.postgres_volume)


def remove_network(stack: Stack) -> None:
    """Remove the network of the stack's own PostgreSQL, unless somebody uses it."""
    if docker.has("network", stack.database_network):
        with contextlib.suppress(CutoverError):
            docker.run("network", "rm", stack.database_network)


def remove_postgres_files(directory: Path) -> None:
    """Remove configuration and password of a PostgreSQL that the stack does not have."""
    shutil.rmtree(directory / _CONFIGURATION, ignore_errors=True)
    (directory / _PASSWORD).unlink(missing_ok=True)
