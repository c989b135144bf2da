# SPDX-License-Identifier: Apache-2.0
"""Removing for good what round trips left in MLflow, and nothing that anybody else made."""

import contextlib
import time
from collections.abc import Collection, Iterator
from typing import NamedTuple

import sqlalchemy as sa
from mlflow.exceptions import MlflowException

from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.artifact_removal import ArtifactRemoval
from mlflow_sftp.operations.login_schema import forget_experiment
from mlflow_sftp.operations.round_trip import OWN_NAME, SINGLE, translate_errors
from mlflow_sftp.operations.round_trip_tag import TAG

# A round trip that is still at it is younger; one that was killed leaves a run that nobody ends.
_ABANDONED_SECONDS = 3600.0
_EXPERIMENT_TAGS = sa.table(
    "experiment_tags", sa.column("experiment_id"), sa.column("key"), sa.column("value")
)
_OWN_TABLES = ("experiments", "experiment_tags")


class Purged(NamedTuple):
    """How many runs and experiments went for good."""

    runs: int
    experiments: int


class _Run(NamedTuple):
    identifier: str
    artifact_uri: str


def purge(
    database: Database, tracking_uri: str, *, destination: str | None = None, check: bool = False
) -> Purged:
    """Remove for good, rows and artifacts, the runs of round trips that ended, and experiments made for a single one.

    MLflow only marks runs as deleted; `mlflow gc` removes what is marked, of everybody. This removes what bears the
    tag of a round trip, by the same functions, and runs that a killed one left an hour ago and earlier. A run that
    anybody else made stays, and so does an experiment that round trips share.

    Args:
        database: The server's database, on which its own functions are used.
        tracking_uri: The server, for artifacts that lie behind it.
        destination: Where `mlflow-artifacts:/` is, for the directories that MLflow leaves behind empty.
        check: Only count.

    Raises RoundTripError, artifact_store_failed, where artifacts cannot be deleted; their run stays then, all that can
    be removed is removed first.
    """
    abandoned = (time.time() - _ABANDONED_SECONDS) * 1000
    runs = _ended_runs(database, abandoned)
    going = {run.identifier for run in runs}
    experiments = [
        identifier
        for identifier in _single_experiments(database, abandoned)
        if _holds_nothing_but(database, identifier, going)
    ]
    if check or not (runs or experiments):
        return Purged(len(runs), len(experiments))
    with translate_errors("removing what round trips left"):
        return _Purge(database, tracking_uri, destination).run(runs, experiments)


class _Purge:
    def __init__(self, database: Database, tracking_uri: str, destination: str | None) -> None:
        # Imported here: it takes a second, and most often there is nothing to remove.
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        self._database = database
        # The root is for experiments to come, of which there are none.
        self._store = SqlAlchemyStore(
            database.url.render_as_string(hide_password=False), "mlflow-artifacts:/"
        )
        self._artifacts = ArtifactRemoval(tracking_uri, destination)
        self._failure: Exception | None = None

    def run(self, runs: list[_Run], experiments: list[str]) -> Purged:
        """Artifacts first, rows last: what is interrupted is found again by its rows."""
        cleared = [run for run in runs if self._clear(run)]
        self._remove_directories(cleared)
        for run in cleared:
            with _already_gone():
                self._store._hard_delete_run(run.identifier)
        removed = [identifier for identifier in experiments if self._remove_experiment(identifier)]
        if self._failure is not None:
            raise self._failure
        return Purged(len(cleared), len(removed))

    def _clear(self, run: _Run) -> bool:
        """Delete a run's artifacts, or remember why that failed: other runs may lie elsewhere."""
        try:
            self._artifacts.delete(run.artifact_uri)
        except Exception as error:
            self._failure = self._failure or error
            return False
        return True

    def _remove_experiment(self, identifier: str) -> bool:
        """Remove an experiment if it holds nothing; MLflow would remove with it what it holds."""
        with _already_gone():
            # SQLite gives the number of a removed experiment to the next one, whoever makes that.
            experiment = self._store.get_experiment(identifier)
            if experiment.tags.get(TAG) != SINGLE:
                return False
            if experiment.lifecycle_stage == "active":
                # From here on nobody can begin a run in it.
                self._store.delete_experiment(identifier)
            if _holds_nothing_but(self._database, identifier, ()):
                self._artifacts.remove_directories(experiment.artifact_location, [""])
                with self._store.ManagedSessionMaker() as session:
                    forget_experiment(session.connection(), identifier)
                self._store._hard_delete_experiment(identifier)
                return True
        return False

    def _remove_directories(self, runs: list[_Run]) -> None:
        """Remove the directories that MLflow leaves behind empty."""
        self._artifacts.remove_own_directories((run.identifier, run.artifact_uri) for run in runs)


def _ended_runs(database: Database, abandoned: float) -> list[_Run]:
    runs, tags = database.tables["runs"].c, database.tables["tags"].c
    deleted = runs.lifecycle_stage == "deleted"
    left = sa.and_(tags.value == SINGLE, runs.start_time < abandoned)
    tagged = (
        sa.select(runs.run_uuid, runs.artifact_uri)
        .join_from(database.tables["runs"], database.tables["tags"], runs.run_uuid == tags.run_uuid)
        .where(tags.key == TAG, sa.or_(deleted, left))
    )
    # Earlier versions tagged their experiments, and gave their runs a name only.
    ours = sa.select(_EXPERIMENT_TAGS.c.experiment_id).where(_EXPERIMENT_TAGS.c.key == TAG)
    named = sa.select(runs.run_uuid, runs.artifact_uri).where(
        runs.name == OWN_NAME, deleted, runs.experiment_id.in_(ours)
    )
    with database.reading() as connection:
        return [_Run(*row) for row in connection.execute(tagged.union(named))]


def _single_experiments(database: Database, abandoned: float) -> list[str]:
    """Experiments that were made for one round trip, which has ended or was killed."""
    experiments = database.tables["experiments"].c
    query = (
        sa.select(experiments.experiment_id)
        .join(_EXPERIMENT_TAGS, _EXPERIMENT_TAGS.c.experiment_id == experiments.experiment_id)
        .where(_EXPERIMENT_TAGS.c.key == TAG, _EXPERIMENT_TAGS.c.value == SINGLE)
        .where(sa.or_(experiments.lifecycle_stage == "deleted", experiments.creation_time < abandoned))
    )
    with database.reading() as connection:
        return [str(identifier) for identifier in connection.scalars(query)]


def _holds_nothing_but(database: Database, identifier: str, runs: Collection[str]) -> bool:
    """Whether no row of any table belongs to an experiment but its tags and these runs."""
    with database.reading() as connection:
        for table in database.all_tables().values():
            if "experiment_id" not in table.c or table.name in _OWN_TABLES:
                continue
            query = sa.select(sa.literal(1)).where(sa.cast(table.c.experiment_id, sa.String) == identifier)
            if table.name == "runs" and runs:
                query = query.where(table.c.run_uuid.not_in(runs))
            if connection.execute(query.limit(1)).first() is not None:
                return False
    return True


@contextlib.contextmanager
def _already_gone() -> Iterator[None]:
    """What another purge removed first is what this one wants."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
