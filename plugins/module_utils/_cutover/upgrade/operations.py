# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade does."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import WORK, translated
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.in_place.operations import (
    BEFORE,
    InPlaceDeeds,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import UpgradeRecord

# Both may be repeated: while the one from before is aside, the other is the next version's.
_PUT_ASIDE = 'if [ -d "$1" ]; then rm -rf cluster cluster.new; else mv cluster "$1"; fi; sync .'
_REQUIRE_ASIDE = '[ -d "$1" ]'
_PUT_BACK = 'if [ -d "$1" ]; then rm -rf cluster; mv "$1" cluster; fi; sync .'


class Upgrade(InPlaceDeeds[UpgradeRecord]):
    """The deeds of an upgrade: `upgrade.engine.UpgradeOperations` on real containers.

    Everything that looks at the database is of the next version: it reads what earlier ones have written.
    """

    preloaded = ("schema", "migrate", "backup", "info", "entities")

    def start(self, name: str, *command: str, labels: Mapping[str, str] | None = None) -> None:
        """Start a container of the next version that has store, database and the upgrade's directory."""
        volumes = [*self._stack.credentials(), f"{self.work}:{WORK}:z"]
        self._stack.start_tool(name, volumes, *command, labels=labels, image=self._record.target.image)

    def rolls(self, record: UpgradeRecord) -> bool:
        """Whether servers of both versions may serve beside each other, on one database."""
        return self._driver.rolls and not record.changes_schema and not record.changes_postgres

    def require_steady(self, record: UpgradeRecord, replicas: int) -> None:
        """Require services that nobody else is changing, of so many servers; 0 where nobody has said how many.

        Raises:
            RefusedError: It is not the time to begin.
        """
        self._driver.require_steady(replicas, closes=not self.rolls(record))

    def require_way_back(self, record: UpgradeRecord) -> None:
        self.require_steady(record, 0)
        if self.rolls(record):
            self.require_images(record)
            return
        super().require_way_back(record)
        if record.replaces_cluster:
            try:
                self._arrange_clusters(record, _REQUIRE_ASIDE)
            except CutoverError as error:
                raise RefusedError(
                    "PostgreSQL's cluster from before the upgrade is not in the volume any more. Nothing was changed"
                ) from error

    # What follows is `UpgradeOperations`.

    def save_files(self, record: UpgradeRecord) -> None:
        super().save_files(record)
        with translated("the next servers cannot be described"):
            self._driver.describe(self._directory / "next", record.target.image)

    def prepare(self, record: UpgradeRecord) -> None:
        self._end_candidate()
        self._restart_tool()
        self._provide_maintenance()
        # Of one that is resumed, that was told before MLflow was closed.
        if not record.interrupted:
            self._tell_before()

    def migrate(self, record: UpgradeRecord) -> None:
        self._require_tool().call("migrate")

    def restore_database(self, record: UpgradeRecord) -> None:
        if record.source.revision != record.target.revision:
            found = self._require_tool().call("schema")
            # It was not changed: a migration is all or nothing, and no server is started before.
            if found["database"] == record.source.revision.split(", "):
                return
        super().restore_database(record)

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

    def _arrange_clusters(self, record: UpgradeRecord, script: str) -> None:
        """Run a shell script on the volume of PostgreSQL's clusters; its argument names the one from before."""
        name = f"cluster-{record.source.postgres}-{record.id}"
        self._stack.in_clusters(record.target.postgres_image, script, name)

    @property
    def _image(self) -> str:
        return self._record.target.image
