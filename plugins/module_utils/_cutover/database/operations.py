# SPDX-License-Identifier: GPL-3.0-or-later
"""What cutovers do in common after which MLflow goes on with another database."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.record import DatabaseKind
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import (
    NAMED,
    ROUND_TRIP_SECONDS,
    WORK,
    Deeds,
    translated,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import INCOMPLETE, Program
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

# What MLflow told before.
_ENTITIES = "entities.json"


class DatabaseDeeds(Deeds[DatabaseKind]):
    """The deeds of such cutovers: `database.engine.DatabaseOperations` on real containers.

    The tool's database is the one that MLflow has after the cutover.
    """

    def keep_plan(self, record: DatabaseKind) -> None:
        """Make the cutover's directories, and in them the next files, as far as they are known, and the record."""
        self.make_directories(record)
        with locked(self._settings.switches):
            self.make_next_directory()
            self.write(record)

    def make_next_directory(self) -> None:
        """Begin the directory of the next files, with what does not come from a template."""
        following = self._make_next()
        with translated("the next files cannot be written"):
            files.complete(following, self._settings.directory, None, {})
            others = self._settings.directory / ".other_stores.json"
            (following / ".other_stores.json").write_text(
                others.read_text() if others.exists() else json.dumps([])
            )

    def require_images(self, record: DatabaseKind) -> None:
        """Require the images from before, which somebody may have removed since.

        Raises:
            RefusedError: Some are gone.
        """
        with translated("the files from before cannot be read"):
            before = self._driver.images(self._archive)
        gone = [image for image in before if not docker.has_image(image)]
        if gone:
            raise RefusedError(
                f"The images from before the {record.NAME} are gone: {', '.join(gone)}. Nothing was changed",
                "Build them with the version of the collection that made them",
            )

    def require_way_back(self, record: DatabaseKind) -> None:
        """Require what an undo needs that somebody may have removed since.

        Raises:
            RefusedError: Something is gone.
        """
        raise NotImplementedError

    # What follows is `DatabaseOperations`.

    def prepare_rollback(self, record: DatabaseKind) -> None:
        # The next MLflow would write to what is given up.
        self._end_candidate()
        super().prepare_rollback(record)
        if not self._before.exists():
            with translated("the files from before cannot be read"):
                self._extract_before()

    def try_candidate(self, record: DatabaseKind) -> None:
        self._start_candidate()
        server = ("--tracking-uri", "http://localhost:5000")
        candidate = self._require_candidate()
        self._read_back(candidate, record, self.runs_while_closed, *server)
        self._require_told_as_before(candidate, *server)
        # In an experiment of its own, which goes with it.
        candidate.call("roundtrip", "--access", record.store.access, *server, seconds=ROUND_TRIP_SECONDS)

    def count(self, record: DatabaseKind) -> Mapping[str, int]:
        found: Mapping[str, int] = self._require_tool().call("info", "--rows")["database"]["rows"]
        return found

    def restore_files(self, record: DatabaseKind) -> None:
        # Such a cutover changes no credentials, and since it was done others may have come.
        with translated("the files from before cannot be restored"):
            self._driver.restore(self._archive, credentials=False)

    def installed(self, record: DatabaseKind) -> str:
        with translated("the stack's files cannot be read"):
            return self._driver.digest()

    def tidy(self, record: DatabaseKind) -> None:
        super().tidy(record)
        # Nobody goes on with it: the next run plans anew.
        if record.state == "planned":
            for path in (self._directory / "next", self._before):
                shutil.rmtree(path, ignore_errors=True)
            self._archive.unlink(missing_ok=True)

    def _tell_before(self) -> None:
        """Write down what MLflow says of runs, models and traces, as long as somebody can ask."""
        self._require_tool().call("entities", f"{WORK}/{_ENTITIES}", "--tracking-uri", "http://mlflow:5000")

    def _require_told_as_before(self, candidate: Program, *server: str) -> None:
        """Require that MLflow tells of runs, models and traces what `_tell_before` has written down."""
        compared = ("entities", f"{WORK}/{_ENTITIES}", "--compare")
        told = candidate.call(*compared, *server, accepted=(0, INCOMPLETE), seconds=ROUND_TRIP_SECONDS)
        if told["problems"]:
            first = "; ".join(told["problems"][:NAMED])
            raise CutoverError(
                f"MLflow does not tell what it told before, {len(told['problems'])} times: {first}"
            )
        counts = ", ".join(f"{count} {kind}s" for kind, count in told["counts"].items())
        self.notes.append(f"Told as before: {counts}.")

    def _end_candidate(self) -> None:
        if self._candidate is not None:
            self._candidate.end()
            self._candidate = None
        docker.remove(self._stack.candidate)

    def _start_postgres(self, directory: Path) -> None:
        """Start PostgreSQL as the files of a directory say, in the stack's project, and wait until it is healthy."""
        compose = docker.Compose(str(self._settings.directory), str(directory))
        limit = f"--wait-timeout={self._settings.wait_timeout}"
        with docker.complaining(self._stack.postgres):
            compose.run("up", "--detach", "--no-build", "--no-deps", "--wait", limit, "postgres")

    def _verify_meanwhile(self, record: DatabaseKind) -> None:
        if self._settings.verify_runs != self.runs_while_closed:
            self._read_back(self._require_tool(), record, self._settings.verify_runs)

    def _read_back(self, program: Program, record: DatabaseKind, runs: str, *server: str) -> None:
        place = ("read-back", record.store.root, "--store", record.store.uri, "--runs", runs)
        self.read_back(program, [*place, *server], ROUND_TRIP_SECONDS if server else None)

    def _store(self, record: DatabaseKind) -> Store:
        return record.store
