# SPDX-License-Identifier: GPL-3.0-or-later
"""One run through MLflow's own client: artifacts logged, listed, downloaded, compared, deleted."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.digest import FileDigest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException, RestException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response

from mlflow_sftp.mlflow_plugin.artifact_repository import SftpArtifactRepository

# Marks experiments made here, which go when their last run goes.
_TAG = "mlflow_sftp.roundtrip"
_OWN_NAME = "artifact-roundtrip"


class RoundTrip:
    """Leaves artifacts in MLflow and takes them away again.

    Attributes:
        run: The run that holds them, once there is one.
        removed_experiment: Whether `remove` deleted the experiment as well.
        seconds: Duration of each step done so far.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._tracking_uri = tracking_uri
        self._client = MlflowClient(tracking_uri)
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
        return self.run is not None and self.run.info.lifecycle_stage == "active"

    def reach(self) -> None:
        """Ask the server something that touches its database.

        Raises:
            DiagnosedError: see `named_errors`.
        """
        with self.step("reach", "asking for experiments"):
            self._client.search_experiments(max_results=1)

    def start(self, experiment: str | None, access: str | None = None) -> None:
        """Create a run in an experiment, which is made if it is not there.

        Args:
            experiment: Name; without one, a new experiment is made.
            access: ``direct`` or ``proxied``, if the location must be of that kind.

        Raises:
            DiagnosedError: access_mode_mismatch, plugin_not_active, and see `named_errors`.
        """
        with self.step("create", "creating a run"):
            self.run = self._client.create_run(self._experiment_id(experiment), run_name=_OWN_NAME)
        if access not in (None, self.access):
            seen = f"access should be {access}, and the run's artifacts are at {self.artifact_uri}"
            raise DiagnosedError("access_mode_mismatch", seen)
        self._repository()

    def resume(self, run_id: str) -> None:
        """Take up a run that was left by an earlier round trip.

        Raises:
            DiagnosedError: see `named_errors`.
        """
        with self.step("find", f"looking for run {run_id}"):
            self.run = self._client.get_run(run_id)

    def log(self, size: int) -> list[FileDigest]:
        """Log several kinds of files, one of `size` bytes, and return what they are.

        Raises:
            DiagnosedError: see `named_errors`.
        """
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
            files = _digests(root)
            with self.step("log", "logging artifacts"):
                self._client.log_artifact(self.run.info.run_id, str(root / "hello.txt"))
                (root / "hello.txt").unlink()
                self._client.log_artifacts(self.run.info.run_id, str(root))
        return files

    def check(self, files: list[FileDigest]) -> None:
        """List and download the artifacts and compare them with what was logged.

        Raises:
            DiagnosedError: listing_differs, artifacts_differ, and see `named_errors`.
        """
        assert self.run is not None
        with self.step("list", "listing artifacts"):
            listed = dict(self._list(None))
        if listed != {file.path: file.size for file in files}:
            raise DiagnosedError("listing_differs", f"listed {_sizes(listed)}", uri=self.artifact_uri)
        with tempfile.TemporaryDirectory() as directory:
            with self.step("download", "downloading artifacts"):
                local = download_artifacts(
                    self.artifact_uri, dst_path=directory, tracking_uri=self._tracking_uri
                )
            downloaded = _digests(Path(local))
        if downloaded != files:
            wrong = sorted({file.path for file in set(downloaded) ^ set(files)})
            raise DiagnosedError("artifacts_differ", f"differing: {', '.join(wrong)}", uri=self.artifact_uri)

    def remove(self) -> None:
        """Delete the artifacts and the run, and the experiment if it was made here and is empty now.

        Raises:
            DiagnosedError: see `named_errors`.
        """
        if self.run is None:
            return
        with self.step("delete", "deleting the run and its artifacts"):
            # The database first: it works even if the storage is what failed.
            if self.is_active:
                self._client.delete_run(self.run.info.run_id)
            self.removed_experiment = self._remove_own_experiment(self.run.info.experiment_id)
            # Untyped in MLflow's base class.
            delete: Callable[[], None] = self._repository().delete_artifacts
            delete()

    def check_earlier_runs(self) -> None:
        """Have the server list the artifacts of the latest run at each place where experiments keep theirs.

        Raises:
            DiagnosedError: mlflow_host_policy, earlier_runs_unreadable, and see `named_errors`.
        """
        with self.step("earlier_runs", "looking for earlier runs"):
            for run in self._latest_runs():
                self._list_through_server(run)

    @contextmanager
    def step(self, name: str, doing: str) -> Iterator[None]:
        """Time a step and give its errors a named cause."""
        start = time.monotonic()
        with named_errors(f"{doing} (tracking server {self._tracking_uri})"):
            yield
        self.seconds[name] = round(time.monotonic() - start, 4)

    def _repository(self) -> ArtifactRepository:
        with named_errors(f"opening {self.artifact_uri}"):
            repository = get_artifact_repository(self.artifact_uri, tracking_uri=self._tracking_uri)
        if urlsplit(self.artifact_uri).scheme == "sftp" and not isinstance(
            repository, SftpArtifactRepository
        ):
            seen = (
                f"{self.artifact_uri} is handled by {type(repository).__module__}.{type(repository).__name__}"
            )
            raise DiagnosedError("plugin_not_active", seen)
        return repository

    def _experiment_id(self, name: str | None) -> str:
        # A name of its own, because MLflow keeps a deleted experiment's name and location for good.
        name = name or f"{_OWN_NAME}-{secrets.token_hex(4)}"
        found = self._client.get_experiment_by_name(name)
        if found:
            return str(found.experiment_id)
        return str(self._client.create_experiment(name, tags={_TAG: "true"}))

    def _remove_own_experiment(self, experiment_id: str) -> bool:
        experiment = self._client.get_experiment(experiment_id)
        if _TAG not in experiment.tags or experiment.lifecycle_stage != "active":
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
            for experiment in page:
                place = urlsplit(experiment.artifact_location)[:2]
                experiments_at.setdefault(place, []).append(experiment.experiment_id)
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
            refused = _code(error) == "mlflow_host_policy"
            raise DiagnosedError(
                "mlflow_host_policy" if refused else "earlier_runs_unreadable",
                f"run {run.info.run_id} at {run.info.artifact_uri}: {_one_line(error)}",
                uri=run.info.artifact_uri,
            ) from error

    def _list(self, path: str | None) -> Iterator[tuple[str, int]]:
        assert self.run is not None
        for entry in self._client.list_artifacts(self.run.info.run_id, path):
            if entry.is_dir:
                yield from self._list(entry.path)
            else:
                yield entry.path, entry.file_size or 0


def _digests(root: Path) -> list[FileDigest]:
    files = []
    for file in root.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            path = file.relative_to(root).as_posix()
            files.append(FileDigest(path, len(content), hashlib.sha256(content).hexdigest()))
    return sorted(files, key=lambda found: found.path)


def _sizes(listed: dict[str, int]) -> str:
    return ", ".join(f"{path} ({size} bytes)" for path, size in sorted(listed.items())) or "nothing"


def sftp_path(artifact_uri: str, artifact_root: str) -> str:
    """Return where an artifact URI is on the SFTP server.

    Args:
        artifact_uri: ``sftp://...``, or ``mlflow-artifacts:/...`` of a server that proxies to SFTP.
        artifact_root: The root of the latter on the SFTP server.

    Raises:
        DiagnosedError: artifacts_elsewhere, when the artifacts are not on SFTP at all.
    """
    parts = urlsplit(artifact_uri)
    if parts.scheme == "sftp":
        return unquote(parts.path)
    if parts.scheme == "mlflow-artifacts":
        return f"{artifact_root.rstrip('/')}/{unquote(parts.path).lstrip('/')}"
    raise DiagnosedError("artifacts_elsewhere", f"the run's artifacts are at {artifact_uri}")


@contextmanager
def named_errors(doing: str) -> Iterator[None]:
    """Give MLflow's and the artifact store's errors a named cause.

    Raises:
        DiagnosedError: mlflow_unreachable, mlflow_host_refused, mlflow_host_policy, mlflow_run_missing,
            artifact_store_failed.
    """
    try:
        yield
    except DiagnosedError:
        raise
    except Exception as error:
        raise DiagnosedError(_code(error), f"while {doing}: {_one_line(error)}") from error


def _code(error: Exception) -> str:
    text = str(error)
    # Only MLflow's own store, which ours replaces, wants it.
    if "pysftp" in text:
        return "plugin_not_active"
    if "Invalid Host header" in text:
        return "mlflow_host_refused"
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
