# SPDX-License-Identifier: Apache-2.0
"""One run through MLflow's own client: artifacts logged, listed, downloaded, compared, deleted."""

import hashlib
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LifecycleStage, Run, ViewType
from mlflow.exceptions import MlflowException, RestException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response

from mlflow_sftp.errors import RoundTripError
from mlflow_sftp.operations.round_trip_tag import TAG

# Marks what is made here. An experiment for a single round trip goes with its last run, a shared one stays; a run that
# is to be kept is left alone until somebody deletes it.
SINGLE, _SHARED, _KEPT = "true", "shared", "kept"
OWN_NAME = "artifact-roundtrip"
# Named and not imported: MLflow's door stands above the operations.
_OUR_REPOSITORY = "mlflow_sftp.mlflow_plugin.artifact_repository"

# What to do, by the cause of a RoundTripError.
REMEDIES = {
    "mlflow_unreachable": "See that the MLflow server runs, and that MLFLOW_TRACKING_URI names it as it can be "
    "reached from here.",
    "mlflow_host_refused": "Add the name and port it is asked under to the server's MLFLOW_SERVER_ALLOWED_HOSTS.",
    "mlflow_login_refused": "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or see that "
    "~/.mlflow/credentials holds the user's present password.",
    "mlflow_permission_denied": "Have an administrator of MLflow's grant it to this user.",
    "mlflow_host_policy": "Let the location and the server's artifact root name the same host and port, or set "
    "MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES=sftp for the server.",
    "mlflow_run_missing": "Check the run id, and that this is the server the run was made on.",
    "plugin_not_active": "Install mlflow-sftp beside MLflow, and see that importing "
    f"{_OUR_REPOSITORY} prints no error.",
    "artifact_store_failed": "Follow what was seen; if it is about the SFTP server, mlflow-sftp check names the cause.",
    "listing_differs": "Look at the run's location on the server: another client writes there, or files are hidden.",
    "artifacts_differ": "Stop using this storage and have it checked: something in it changes data.",
    "artifacts_elsewhere": "Look at the server's artifact root; an experiment keeps the location it was made with.",
    "access_mode_mismatch": "Start the server with the desired access; an experiment keeps its own.",
    "earlier_runs_unreadable": "Let the server reach that location again, as it reaches its own storage.",
}


class LoggedFile(NamedTuple):
    """A file that was logged: artifact path, bytes, hexadecimal SHA-256."""

    path: str
    size: int
    sha256: str


class RoundTrip:
    """Leaves artifacts in MLflow and takes them away again; methods raise RoundTripError.

    Attributes:
        run: The run that holds them, once there is one.
        removed_experiment: Whether `remove` deleted the experiment as well.
        seconds: Duration of each step done so far.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._tracking_uri = tracking_uri
        try:
            self._client = MlflowClient(tracking_uri)
        except Exception as error:
            raise _error(
                "mlflow_unreachable", f"{tracking_uri} is no tracking server: {_one_line(error)}"
            ) from error
        self.run: Run | None = None
        self.removed_experiment = False
        self.seconds: dict[str, float] = {}

    @property
    def artifact_uri(self) -> str:
        """Where the run's artifacts are."""
        if self.run is None:
            raise ValueError("there is no run yet")
        return str(self.run.info.artifact_uri)

    @property
    def access(self) -> str:
        """How clients reach the run's artifacts: ``direct`` or ``proxied``."""
        return "proxied" if urlsplit(self.artifact_uri).scheme == "mlflow-artifacts" else "direct"

    @property
    def is_active(self) -> bool:
        """Whether there is a run that is not deleted."""
        return self.run is not None and self.run.info.lifecycle_stage == LifecycleStage.ACTIVE

    def reach(self) -> None:
        """Ask the server something that touches its database."""
        try:
            with self.step("reach", "asking for experiments"):
                self._client.search_experiments(max_results=1)
        except RoundTripError as error:
            if error.cause != "artifact_store_failed":
                raise
            # No artifact was touched: what answers is something else than an MLflow server.
            raise _error("mlflow_unreachable", error.seen) from error

    def start(self, experiment: str | None, access: str | None = None, *, keep: bool = False) -> None:
        """Create a run in an experiment, which is made if it is not there.

        Args:
            experiment: Name, shared with other round trips; without one, a new experiment is made.
            access: ``direct`` or ``proxied``, if the location must be of that kind.
            keep: The run is not meant to go at the end: `purge` leaves it alone until it is deleted.
        """
        with self.step("create", "creating a run"):
            self.run = self._create_run(experiment, {TAG: _KEPT if keep else SINGLE})
        if access not in (None, self.access):
            seen = f"access should be {access}, and the run's artifacts are at {self.artifact_uri}"
            raise _error("access_mode_mismatch", seen)
        self._repository()

    def resume(self, run_id: str) -> None:
        """Take up a run that was left by an earlier round trip."""
        with self.step("find", f"looking for run {run_id}"):
            self.run = self._client.get_run(run_id)

    def log(self, size: int) -> list[LoggedFile]:
        """Log several kinds of files, one of `size` bytes, and return what they are."""
        assert self.run is not None
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            contents = {
                "hello.txt": b"hello\n",
                "empty": b"",
                "nested/deeper/values.json": b'{"a": [1, 2, 3]}\n',
                "nested/Z\u00fcrich \u6771\u4eac - 1.txt": "gr\u00fcezi\n".encode(),
                "large.bin": secrets.token_bytes(size),
            }
            for path, content in contents.items():
                file = root / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            files = _files_below(root)
            with self.step("log", "logging artifacts"):
                self._client.log_artifact(self.run.info.run_id, str(root / "hello.txt"))
                (root / "hello.txt").unlink()
                self._client.log_artifacts(self.run.info.run_id, str(root))
        return files

    def check(self, files: list[LoggedFile]) -> None:
        """List and download the artifacts and compare them with what was logged."""
        assert self.run is not None
        with self.step("list", "listing artifacts"):
            listed = dict(self._list(None))
        if listed != {file.path: file.size for file in files}:
            raise _error("listing_differs", f"listed {_sizes(listed)}", self.artifact_uri)
        with tempfile.TemporaryDirectory() as directory:
            with self.step("download", "downloading artifacts"):
                local = download_artifacts(
                    self.artifact_uri, dst_path=directory, tracking_uri=self._tracking_uri
                )
            downloaded = _files_below(Path(local))
        if downloaded != files:
            wrong = sorted({file.path for file in set(downloaded) ^ set(files)})
            raise _error("artifacts_differ", f"differing: {', '.join(wrong)}", self.artifact_uri)

    def remove(self) -> None:
        """Delete the artifacts and the run, and an experiment that was made for this round trip alone."""
        if self.run is None:
            return
        with self.step("delete", "deleting the run and its artifacts"):
            # The database first: it works even if the storage is what failed.
            if self.is_active:
                self._client.delete_run(self.run.info.run_id)
            self.removed_experiment = self._remove_own_experiment(self.run.info.experiment_id)
            delete_artifacts(self._repository())

    def check_earlier_runs(self) -> None:
        """Have the server list the artifacts of the latest run at each place where experiments keep theirs."""
        with self.step("earlier_runs", "looking for earlier runs"):
            for run in self._latest_runs():
                self._list_through_server(run)

    @contextmanager
    def step(self, name: str, doing: str) -> Iterator[None]:
        """Time a step and give its errors a named cause."""
        start = time.monotonic()
        with translate_errors(f"{doing} (tracking server {self._tracking_uri})"):
            yield
        self.seconds[name] = round(time.monotonic() - start, 4)

    def _repository(self) -> ArtifactRepository:
        with translate_errors(f"opening {self.artifact_uri}"):
            repository = get_artifact_repository(self.artifact_uri, tracking_uri=self._tracking_uri)
        module = type(repository).__module__
        if urlsplit(self.artifact_uri).scheme == "sftp" and module != _OUR_REPOSITORY:
            seen = f"{self.artifact_uri} is handled by {module}.{type(repository).__name__}"
            raise _error("plugin_not_active", seen)
        return repository

    def _create_run(self, experiment: str | None, tags: dict[str, str]) -> Run:
        # A name of its own, because MLflow keeps a deleted experiment's name and location for good.
        if experiment is None:
            name = f"{OWN_NAME}-{secrets.token_hex(4)}"
            made = self._client.create_experiment(name, tags={TAG: SINGLE})
            return self._client.create_run(made, run_name=OWN_NAME, tags=tags)
        return self._client.create_run(self._shared_experiment(experiment), run_name=OWN_NAME, tags=tags)

    def _shared_experiment(self, name: str) -> str:
        """The id of an experiment that several round trips may use at once; the first one makes it."""
        if (found := self._client.get_experiment_by_name(name)) is None:
            try:
                return str(self._client.create_experiment(name, tags={TAG: _SHARED}))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = self._client.get_experiment_by_name(name)
        assert found is not None
        if found.lifecycle_stage != LifecycleStage.ACTIVE:
            if TAG not in found.tags:
                seen = f"the experiment {name} is deleted, and was not made by a round trip"
                raise _error("mlflow_run_missing", f"{seen}: restore it, or name another one")
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _remove_own_experiment(self, experiment_id: str) -> bool:
        experiment = self._client.get_experiment(experiment_id)
        if experiment.tags.get(TAG) != SINGLE or experiment.lifecycle_stage != LifecycleStage.ACTIVE:
            return False
        if self._client.search_runs([experiment_id], run_view_type=ViewType.ACTIVE_ONLY, max_results=1):
            return False
        self._client.delete_experiment(experiment_id)
        return True

    def _latest_runs(self) -> Iterator[Run]:
        experiments_at: dict[tuple[str, str], list[str]] = {}
        token: str | None = ""
        while token is not None:
            page = self._client.search_experiments(page_token=token or None)
            # Runs of round trips come and go while others look.
            for experiment in (each for each in page if TAG not in each.tags):
                authority = urlsplit(experiment.artifact_location)[:2]
                experiments_at.setdefault(authority, []).append(experiment.experiment_id)
            token = page.token or None
        for experiment_ids in experiments_at.values():
            yield from self._client.search_runs(experiment_ids, max_results=1)

    def _list_through_server(self, run: Run) -> None:
        """Ask as the web interface does; a client would go to the storage itself."""
        endpoint = "/api/2.0/mlflow/artifacts/list"
        try:
            answer = http_request(
                get_default_host_creds(self._tracking_uri),
                endpoint,
                "GET",
                params={"run_id": run.info.run_id},
                max_retries=0,
                raise_on_status=False,
            )
            verify_rest_response(answer, endpoint)
        except MlflowException as error:
            refused = _cause(error) == "mlflow_host_policy"
            raise _error(
                "mlflow_host_policy" if refused else "earlier_runs_unreadable",
                f"run {run.info.run_id} at {run.info.artifact_uri}: {_one_line(error)}",
                run.info.artifact_uri,
            ) from error

    def _list(self, path: str | None) -> Iterator[tuple[str, int]]:
        assert self.run is not None
        for entry in self._client.list_artifacts(self.run.info.run_id, path):
            if entry.is_dir:
                yield from self._list(entry.path)
            else:
                yield entry.path, entry.file_size or 0


def sftp_path(artifact_uri: str, artifact_root: str) -> str:
    """Return where an artifact URI is on the SFTP server.

    Args:
        artifact_uri: ``sftp://...``, or ``mlflow-artifacts:/...`` of a server that proxies to SFTP.
        artifact_root: The root of the latter on the SFTP server.

    Raises RoundTripError, artifacts_elsewhere, when the artifacts are not on SFTP at all.
    """
    parts = urlsplit(artifact_uri)
    if parts.scheme == "sftp":
        return unquote(parts.path)
    if parts.scheme == "mlflow-artifacts":
        return f"{artifact_root.rstrip('/')}/{unquote(parts.path).lstrip('/')}"
    raise _error("artifacts_elsewhere", f"the run's artifacts are at {artifact_uri}")


def delete_artifacts(repository: ArtifactRepository) -> None:
    """Delete all artifacts of a run; somebody else may be at the same."""
    # Untyped in MLflow's base class.
    delete: Callable[[], None] = repository.delete_artifacts
    try:
        delete()
    except Exception:
        if repository.list_artifacts():
            raise


def _files_below(root: Path) -> list[LoggedFile]:
    files = []
    for file in root.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            path = file.relative_to(root).as_posix()
            files.append(LoggedFile(path, len(content), hashlib.sha256(content).hexdigest()))
    return sorted(files)


def _sizes(listed: dict[str, int]) -> str:
    return ", ".join(f"{path} ({size} bytes)" for path, size in sorted(listed.items())) or "nothing"


@contextmanager
def translate_errors(doing: str) -> Iterator[None]:
    """Give MLflow's and the artifact store's errors a named cause: raises RoundTripError."""
    try:
        yield
    except RoundTripError:
        raise
    except Exception as error:
        raise _error(_cause(error), f"while {doing}: {_one_line(error)}") from error


def _error(cause: str, seen: str, uri: str = "") -> RoundTripError:
    return RoundTripError(cause, seen, REMEDIES[cause], uri)


def _cause(error: Exception) -> str:
    text = str(error)
    # Only MLflow's own store, which ours replaces, wants it.
    if "pysftp" in text:
        return "plugin_not_active"
    if "Invalid Host header" in text:
        return "mlflow_host_refused"
    if "You are not authenticated" in text:
        return "mlflow_login_refused"
    if "Permission denied" in text and "error code 403" in text:
        return "mlflow_permission_denied"
    if "MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES" in text:
        return "mlflow_host_policy"
    if "Max retries exceeded" in text or "failed with exception" in text:
        return "mlflow_unreachable"
    # The store's errors have MLflow's codes as well.
    if isinstance(error, RestException) and error.error_code == "RESOURCE_DOES_NOT_EXIST":
        return "mlflow_run_missing"
    return "artifact_store_failed"


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 600 else f"{text[:300]} ... {text[-300:]}"
