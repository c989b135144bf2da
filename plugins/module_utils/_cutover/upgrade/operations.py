# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade does."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import (
    NAMED,
    ROUND_TRIP_SECONDS,
    WORK,
    Deeds,
    require_unharmed,
    translated,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import INCOMPLETE
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.sizes import readable_size
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import UpgradeRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import LABEL

# Of the database, as each version leaves it.
BEFORE, AFTER = "database.backup", "database.after"
# What MLflow told before.
ENTITIES = "entities.json"
# Where PostgreSQL's image has the volume with the cluster.
_POSTGRES_HOME = "/var/lib/postgresql"
# Both may be repeated: while the one from before is aside, the other is the next version's.
_PUT_ASIDE = 'if [ -d "$1" ]; then rm -rf cluster cluster.new; else mv cluster "$1"; fi; sync .'
_PUT_BACK = 'if [ -d "$1" ]; then rm -rf cluster; mv "$1" cluster; fi; sync .'


class Upgrade(Deeds[UpgradeRecord]):
    """The deeds of an upgrade: `upgrade.engine.UpgradeOperations` on real containers.

    Everything that looks at the database is of the next version: it reads what earlier ones have written.
    """

    preloaded = ("schema", "migrate", "backup", "info", "entities")

    def make_directories(self) -> None:
        """Make the upgrade's directories."""
        for path in (self._settings.switches, self._directory, self.work):
            path.mkdir(mode=0o700, exist_ok=True)
        os.chown(self.work, self._settings.uid, self._settings.gid)

    def make_next_directory(self) -> None:
        """Begin the directory of the next files, with what does not come from a template."""
        following = self._directory / "next"
        shutil.rmtree(following, ignore_errors=True)
        following.mkdir(mode=0o755)
        with translated("the next files cannot be written"):
            files.complete(following, self._settings.directory, None, {})
            others = self._settings.directory / ".other_stores.json"
            (following / ".other_stores.json").write_text(
                others.read_text() if others.exists() else json.dumps([])
            )

    def start(self, name: str, *command: str, labels: Mapping[str, str] | None = None) -> None:
        """Start a container of the next version that has store, database and the upgrade's directory."""
        volumes = [
            *self._stack.credentials(self._before if self._before.exists() else None),
            f"{self.work}:{WORK}:z",
        ]
        self._stack.start_tool(name, volumes, *command, labels=labels, image=self._record.target.image)

    # What follows is `UpgradeOperations`.

    def prepare(self, record: UpgradeRecord) -> None:
        self._restart_tool()
        self._provide_maintenance()
        # What the version before says of runs, models and traces, as long as somebody can ask.
        if not (self.work / ENTITIES).exists():
            self._require_tool().call(
                "entities", f"{WORK}/{ENTITIES}", "--tracking-uri", "http://mlflow:5000"
            )

    def migrate(self, record: UpgradeRecord) -> None:
        self._require_tool().call("migrate")

    def try_candidate(self, record: UpgradeRecord) -> None:
        self._start_candidate()
        server = ("--tracking-uri", "http://localhost:5000")
        candidate = self._require_candidate()
        found = candidate.call(
            *(
                "read-back",
                record.store.root,
                "--store",
                record.store.uri,
                "--runs",
                self._settings.verify_runs,
            ),
            *server,
            accepted=(0, INCOMPLETE),
            seconds=ROUND_TRIP_SECONDS,
        )
        require_unharmed(found)
        compared = ("entities", f"{WORK}/{ENTITIES}", "--compare")
        told = candidate.call(*compared, *server, accepted=(0, INCOMPLETE), seconds=ROUND_TRIP_SECONDS)
        if told["problems"]:
            first = "; ".join(told["problems"][:NAMED])
            raise CutoverError(
                f"MLflow does not tell what it told before, {len(told['problems'])} times: {first}"
            )
        self.notes = [
            f"Read back and compared: {found['runs']} runs and {found['models']} models, {found['files']} files, "
            f"{readable_size(found['bytes'])}. "
            f"As before: {', '.join(f'{count} {kind}s' for kind, count in told['counts'].items())}."
        ]
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
        if not (self.work / BEFORE).exists():
            raise CutoverError(
                f"the backup {self.work / BEFORE} is gone", "Put it back from a backup of this host"
            )
        self._require_tool().call("restore", f"{WORK}/{BEFORE}")

    def restore_files(self, record: UpgradeRecord) -> None:
        # An upgrade changes no credentials, and since it was done others may have come.
        with translated("the files from before cannot be restored"):
            files.restore(self._directory / "before.tar", self._settings.directory, credentials=False)

    def replace_postgres(self, record: UpgradeRecord) -> None:
        self._stack.compose.run("stop", "postgres")
        self._arrange_clusters(record, _PUT_ASIDE)
        self._next_compose().run("up", "--detach", "--no-build", "--no-deps", "--wait", "postgres")
        self._require_tool().call("restore", f"{WORK}/{BEFORE}")

    def restore_postgres(self, record: UpgradeRecord) -> None:
        self._stack.compose.run("stop", "postgres")
        self._arrange_clusters(record, _PUT_BACK)

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

    def _next_compose(self) -> docker.Compose:
        """Compose on the next files, with the stack's directory as that of the project."""
        return docker.Compose(str(self._settings.directory), str(self._directory / "next"))

    def _access(self, record: UpgradeRecord) -> str:
        return record.store.access

    @property
    def _image(self) -> str:
        return self._record.target.image
