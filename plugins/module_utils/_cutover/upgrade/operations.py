# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, files
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
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import INCOMPLETE, Program
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import UpgradeRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import LABEL
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store, images_of

# Of the database, as each version leaves it.
BEFORE, AFTER = "database.backup", "database.after"
# What MLflow told before.
ENTITIES = "entities.json"
# Where PostgreSQL's image has the volume with the cluster.
_POSTGRES_HOME = "/var/lib/postgresql"
# Both may be repeated: while the one from before is aside, the other is the next version's.
_PUT_ASIDE = 'if [ -d "$1" ]; then rm -rf cluster cluster.new; else mv cluster "$1"; fi; sync .'
_REQUIRE_ASIDE = '[ -d "$1" ]'
_PUT_BACK = 'if [ -d "$1" ]; then rm -rf cluster; mv "$1" cluster; fi; sync .'


class Upgrade(Deeds[UpgradeRecord]):
    """The deeds of an upgrade: `upgrade.engine.UpgradeOperations` on real containers.

    Everything that looks at the database is of the next version: it reads what earlier ones have written.
    """

    preloaded = ("schema", "migrate", "backup", "info", "entities")

    def make_next_directory(self) -> None:
        """Begin the directory of the next files, with what does not come from a template."""
        following = self._make_next()
        with translated("the next files cannot be written"):
            files.complete(following, self._settings.directory, None, {})
            others = self._settings.directory / ".other_stores.json"
            (following / ".other_stores.json").write_text(
                others.read_text() if others.exists() else json.dumps([])
            )

    def start(self, name: str, *command: str, labels: Mapping[str, str] | None = None) -> None:
        """Start a container of the next version that has store, database and the upgrade's directory."""
        volumes = [*self._stack.credentials(), f"{self.work}:{WORK}:z"]
        self._stack.start_tool(name, volumes, *command, labels=labels, image=self._record.target.image)

    def require_way_back(self, record: UpgradeRecord) -> None:
        """Require what an undo needs that somebody may have removed since.

        Raises:
            RefusedError: Something is gone.
        """
        with translated("the files from before cannot be read"):
            before = files.text_of(self._archive, "compose.yml")
        gone = [image for image in images_of(before) if not docker.has_image(image)]
        if gone:
            raise RefusedError(
                f"The images from before the upgrade are gone: {', '.join(gone)}. Nothing was changed",
                "Build them with the version of the collection that made them",
            )
        if not (self.work / BEFORE).exists():
            raise RefusedError(
                f"The backup {self.work / BEFORE} is gone. Nothing was changed", "Put it back from a backup"
            )
        if record.replaces_cluster:
            try:
                self._arrange_clusters(record, _REQUIRE_ASIDE)
            except CutoverError as error:
                raise RefusedError(
                    "PostgreSQL's cluster from before the upgrade is not in the volume any more. Nothing was changed"
                ) from error

    # What follows is `UpgradeOperations`.

    def prepare(self, record: UpgradeRecord) -> None:
        self._end_candidate()
        self._restart_tool()
        self._provide_maintenance()
        # What the version before says of runs, models and traces, as long as somebody can ask.
        if not (self.work / BEFORE).exists():
            self._require_tool().call(
                "entities", f"{WORK}/{ENTITIES}", "--tracking-uri", "http://mlflow:5000"
            )

    def prepare_rollback(self, record: UpgradeRecord) -> None:
        # The next MLflow would migrate what is restored.
        self._end_candidate()
        super().prepare_rollback(record)
        if not self._before.exists():
            with translated("the files from before cannot be read"):
                self._extract_before()

    def migrate(self, record: UpgradeRecord) -> None:
        self._require_tool().call("migrate")

    def try_candidate(self, record: UpgradeRecord) -> None:
        self._start_candidate()
        server = ("--tracking-uri", "http://localhost:5000")
        candidate = self._require_candidate()
        self._read_back(candidate, record, self.runs_while_closed, *server)
        compared = ("entities", f"{WORK}/{ENTITIES}", "--compare")
        told = candidate.call(*compared, *server, accepted=(0, INCOMPLETE), seconds=ROUND_TRIP_SECONDS)
        if told["problems"]:
            first = "; ".join(told["problems"][:NAMED])
            raise CutoverError(
                f"MLflow does not tell what it told before, {len(told['problems'])} times: {first}"
            )
        counts = ", ".join(f"{count} {kind}s" for kind, count in told["counts"].items())
        self.notes.append(f"Told as before: {counts}.")
        # In an experiment of its own, which goes with it.
        candidate.call("roundtrip", "--access", record.store.access, *server, seconds=ROUND_TRIP_SECONDS)

    def count(self, record: UpgradeRecord) -> Mapping[str, int]:
        found: Mapping[str, int] = self._require_tool().call("info")["database"]["of_users"]
        return found

    def back_up_after(self, record: UpgradeRecord) -> None:
        # A rollback that was interrupted finds the one from before its first change.
        if not (self.work / AFTER).exists():
            self._require_tool().call("backup", f"{WORK}/{AFTER}")

    def restore_database(self, record: UpgradeRecord) -> None:
        if record.source.revision != record.target.revision:
            found = self._require_tool().call("schema")
            # It was not changed: a migration is all or nothing, and no server is started before.
            if found["database"] == record.source.revision.split(", "):
                return
        self._require_tool().call("restore", f"{WORK}/{BEFORE}")

    def restore_files(self, record: UpgradeRecord) -> None:
        # An upgrade changes no credentials, and since it was done others may have come.
        with translated("the files from before cannot be restored"):
            files.restore(self._archive, self._settings.directory, credentials=False)

    def installed(self, record: UpgradeRecord) -> str:
        with translated("the stack's files cannot be read"):
            return files.digest(self._settings.directory)

    def replace_postgres(self, record: UpgradeRecord) -> None:
        if record.replaces_cluster:
            self._stack.compose.run("stop", "postgres")
            self._arrange_clusters(record, _PUT_ASIDE)
        self._start_postgres(self._directory / "next")
        if record.replaces_cluster:
            self._require_tool().call("restore", f"{WORK}/{BEFORE}")

    def restore_postgres(self, record: UpgradeRecord) -> None:
        if record.replaces_cluster:
            self._stack.compose.run("stop", "postgres")
            self._arrange_clusters(record, _PUT_BACK)
        self._start_postgres(self._before)

    def tidy(self, record: UpgradeRecord) -> None:
        super().tidy(record)
        # Nobody goes on with it: the next run plans anew.
        if record.state == "planned":
            for path in (self._directory / "next", self._before):
                shutil.rmtree(path, ignore_errors=True)
            self._archive.unlink(missing_ok=True)

    def _end_candidate(self) -> None:
        if self._candidate is not None:
            self._candidate.end()
            self._candidate = None
        docker.remove(self._stack.candidate)

    def _verify_meanwhile(self, record: UpgradeRecord) -> None:
        if self._settings.verify_runs != self.runs_while_closed:
            self._read_back(self._require_tool(), record, self._settings.verify_runs)

    def _read_back(self, program: Program, record: UpgradeRecord, runs: str, *server: str) -> None:
        place = ("read-back", record.store.root, "--store", record.store.uri, "--runs", runs)
        self.read_back(program, [*place, *server], ROUND_TRIP_SECONDS if server else None)

    def _start_postgres(self, directory: Path) -> None:
        """Start PostgreSQL as the files of a directory say, in the stack's project, and wait until it is healthy."""
        compose = docker.Compose(str(self._settings.directory), str(directory))
        limit = f"--wait-timeout={self._settings.wait_timeout}"
        with docker.complaining(f"{self._stack.project.name}-postgres-1"):
            compose.run("up", "--detach", "--no-build", "--no-deps", "--wait", limit, "postgres")

    def _arrange_clusters(self, record: UpgradeRecord, script: str) -> None:
        """Run a shell script on the volume of PostgreSQL's clusters; its argument names the one from before."""
        docker.run(
            *("container", "run", "--rm", "--pull=never", "--network=none", "--user=postgres"),
            *docker.RESTRICTED,
            f"--label={LABEL}={self._settings.directory}",
            f"--volume={self._stack.project.name}_postgres:{_POSTGRES_HOME}",
            f"--workdir={_POSTGRES_HOME}",
            *("--entrypoint=sh", record.target.postgres_image, "-euc", script),
            *("sh", f"cluster-{record.source.postgres}-{record.id}"),
        )

    def _store(self, record: UpgradeRecord) -> Store:
        return record.store

    @property
    def _image(self) -> str:
        return self._record.target.image
