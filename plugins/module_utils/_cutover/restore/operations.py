# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import WORK, translated
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.in_place.operations import (
    InPlaceDeeds,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import Program
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import load_all
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.decisions import (
    require_as_planned,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.lost import audited
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import RestoreRecord

# The database of the snapshot.
FETCHED = "database.snapshot"
# Of MLflow's own login; those of permissions are where earlier versions kept them.
_LOGIN_TABLES = frozenset(
    {
        "users",
        "roles",
        "role_permissions",
        "user_role_assignments",
        "experiment_permissions",
        "gateway_endpoint_permissions",
        "gateway_model_definition_permissions",
        "gateway_secret_permissions",
        "registered_model_permissions",
        "scorer_permissions",
        "workspace_permissions",
    }
)


class Restore(InPlaceDeeds[RestoreRecord]):
    """The deeds of a restore: `restore.engine.RestoreOperations` on real containers."""

    done_before = "Artifacts that the store lacked were brought back, and nothing else was changed"
    preloaded = ("restore", "migrate", "backup", "info")

    @property
    def fetched(self) -> Path:
        """The database of the snapshot, once it was fetched."""
        return self.work / FETCHED

    def make_next_directory(self) -> None:
        """Begin the directory of the next files, which are the present ones; a swarm's stack has no compose.yml."""
        super().make_next_directory()
        with translated("the next files cannot be written"):
            for name in (".env", "compose.yml"):
                if (self._settings.directory / name).exists():
                    files.install_file(self._settings.directory / name, self._directory / "next" / name)

    def require_steady(self, replicas: int = 0) -> None:
        """Require services that nobody else is changing, of so many servers; 0 where nobody has said how many.

        Raises:
            RefusedError: It is not the time to begin.
        """
        self._driver.require_steady(replicas, closes=True)

    def require_as_planned(self, record: RestoreRecord) -> None:
        """Refuse to begin a restore after something was deployed that its next files do not know."""
        require_as_planned(record, load_all(self._settings.switches), self.installed(record))
        if record.state == "planned":
            # To fetch the snapshot may have taken hours.
            self.require_steady()

    def require_way_back(self, record: RestoreRecord) -> None:
        self.require_steady()
        super().require_way_back(record)

    def start(self, name: str, *command: str, labels: Mapping[str, str] | None = None) -> None:
        """Start a container that has store, database and the restore's directory."""
        volumes = [*self._stack.credentials(), f"{self.work}:{WORK}:z"]
        self._stack.start_tool(name, volumes, *command, labels=labels)

    # What follows is `RestoreOperations`.

    def save_files(self, record: RestoreRecord) -> None:
        super().save_files(record)
        with translated("the next servers cannot be described"):
            self._driver.describe(self._directory / "next", self._stack.project.image)

    def prepare(self, record: RestoreRecord) -> None:
        if not self.fetched.exists():
            raise RefusedError(f"The snapshot's database is not at {self.fetched}", "Run this playbook again")
        self._end_candidate()
        self._restart_tool()
        self._provide_maintenance()

    def known(self, record: RestoreRecord) -> Mapping[str, int]:
        found: Mapping[str, int] = self._require_tool().call("info")["database"]["of_users"]
        return found

    def restore_snapshot(self, record: RestoreRecord) -> None:
        tool = self._require_tool()
        tool.call("restore", f"{WORK}/{FETCHED}")
        runs = tool.call("info")["database"]["counts"]["runs"]["total"]
        if not min(record.snapshot.runs) <= runs <= max(record.snapshot.runs):
            raise CutoverError(
                f"the restored database has {runs} runs, and the snapshot says {record.snapshot.runs[0]} to "
                f"{record.snapshot.runs[1]}"
            )

    def identify(self, record: RestoreRecord) -> str:
        # An earlier version of the image tells none.
        return str(self._require_tool().call("info")["database"].get("identity", ""))

    def users(self, record: RestoreRecord) -> tuple[str, ...]:
        # An earlier version of the image tells none.
        return tuple(self._require_tool().call("info")["database"].get("login_users", ()))

    def count(self, record: RestoreRecord) -> Mapping[str, int]:
        # Once MLflow is open, users become those of the inventory again: that is nothing that came in.
        return {name: rows for name, rows in super().count(record).items() if name not in _LOGIN_TABLES}

    def migrate(self, record: RestoreRecord) -> None:
        self._require_tool().call("migrate")

    def tidy(self, record: RestoreRecord) -> None:
        super().tidy(record)
        if not record.interrupted:
            self.fetched.unlink(missing_ok=True)

    def _tell_afterwards(self, record: RestoreRecord) -> list[str]:
        lost = audited(self._require_tool, record.store)
        return [lost.told("of the snapshot", has_artifacts=record.snapshot.has_artifacts)]

    def _require_told_as_before(self, candidate: Program, *server: str) -> None:
        """What MLflow told before the restore is given up."""
