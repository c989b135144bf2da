# SPDX-License-Identifier: Apache-2.0
"""MLflow's artifact store for sftp://, in place of the built-in one."""

import os
import posixpath
import tempfile
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository, StreamUploadMixin

from mlflow_sftp import errors
from mlflow_sftp.mlflow_plugin.exceptions import as_mlflow
from mlflow_sftp.storage import SftpStorage
from mlflow_sftp.uri import redact

# MLflow's interfaces carry names as UTF-8: a byte of a name that is none is shown as a character for private use.
_SHOWN = {0xDC00 + byte: 0xF700 + byte for byte in range(0x80, 0x100)}
_MEANT = {shown: byte for byte, shown in _SHOWN.items()}


class SftpArtifactRepository(ArtifactRepository, StreamUploadMixin):
    """Artifacts below an sftp://[user@][host][:port]/path URI.

    Building one connects to nothing: MLflow's server builds one for each request, and all of a process share
    one connection. Errors are MlflowException subclasses, see mlflow_sftp.mlflow_plugin.exceptions.
    """

    def __init__(
        self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
    ) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        with _translate_errors():
            self._storage = SftpStorage(artifact_uri)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(artifact_uri={redact(self.artifact_uri)!r})"

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Upload one file into the directory `artifact_path`."""
        name = os.path.basename(os.fspath(local_file))
        with _translate_errors():
            self._storage.upload(os.fspath(local_file), _below(artifact_path, name))

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Upload everything below `local_dir` into the directory `artifact_path`."""
        with _translate_errors():
            self._storage.upload_tree(os.fspath(local_dir), artifact_path or "")

    def log_artifact_from_stream(
        self, stream: BinaryIO, artifact_file_name: str, artifact_path: str | None = None
    ) -> None:
        """Upload a stream as it comes; nothing is staged on the local disk."""
        with _translate_errors():
            self._storage.upload_stream(stream, _below(artifact_path, posixpath.basename(artifact_file_name)))

    async def log_artifact_from_async_stream(
        self, chunks: AsyncIterable[bytes], artifact_file_name: str, artifact_path: str | None = None
    ) -> None:
        """Upload chunks as they come; nothing is staged on the local disk."""
        with _translate_errors():
            path = _below(artifact_path, posixpath.basename(artifact_file_name))
            await self._storage.upload_chunks(chunks, path)

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """Files and directories directly below `path`, sorted; [] for a file and where there is nothing.

        A name that is not UTF-8 is shown so that it can be asked for, with U+F7xx for each byte xx that is none.
        """
        with _translate_errors():
            entries = self._storage.list_directory(self._meant(path))
        prefix = _relative(path)
        return [
            FileInfo(
                posixpath.join(prefix, entry.path.translate(_SHOWN)),
                entry.is_directory,
                _size(entry.is_directory, entry.size),
            )
            for entry in entries or []
        ]

    def download_artifacts(self, artifact_path: str, dst_path: str | None = None) -> str:
        """Download a file or a directory below `dst_path`, or below a new temporary directory; return where."""
        target = _destination(dst_path)
        with _translate_errors():
            meant = self._meant(artifact_path)
            found = self._storage.stat(meant)
            if found is None and artifact_path:
                raise errors.NotFoundError(
                    f"download {artifact_path!r}", str(self._storage.uri), "there is no such artifact"
                )
            local = os.path.join(target, _relative(artifact_path)) if artifact_path else target
            os.makedirs(os.path.dirname(local), exist_ok=True)
            if found is not None and found.is_directory:
                self._storage.download_tree(meant, local)
            elif found is not None:
                self._storage.download(meant, local)
        return local

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Remove a file, a link (never its target) or a directory with all it holds; nothing there is no error."""
        with _translate_errors():
            self._storage.remove(self._meant(artifact_path))

    def upload_archived_trace_data_bytes(self, data: bytes) -> None:
        """Upload an archived trace from memory."""
        import io

        from mlflow.tracing.otel.otel_archival import TRACE_ARCHIVAL_FILENAME

        self.log_artifact_from_stream(io.BytesIO(data), TRACE_ARCHIVAL_FILENAME)

    def _download_file(self, remote_file_path: str, local_path: str | Path) -> None:
        with _translate_errors():
            self._storage.download(self._meant(remote_file_path), os.fspath(local_path))

    def _is_directory(self, artifact_path: str | None) -> bool:
        with _translate_errors():
            found = self._storage.stat(self._meant(artifact_path))
        return found is not None and found.is_directory

    def _meant(self, path: str | None) -> str:
        """The path that a listing has shown as `path`."""
        if not path or path.isascii():
            return path or ""
        meant = path.translate(_MEANT)
        return path if meant == path or self._storage.stat(path) is not None else meant


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except errors.SftpError as error:
        raise as_mlflow(error) from error


def _below(directory: str | None, name: str) -> str:
    return posixpath.join(directory, name) if directory else name


def _relative(path: str | None) -> str:
    return "" if not path else posixpath.normpath(path).removeprefix(".")


def _size(is_directory: bool, size: int | None) -> int | None:
    return None if is_directory else size


def _destination(dst_path: str | None) -> str:
    if dst_path is None:
        return tempfile.mkdtemp()
    target = os.path.abspath(dst_path)
    if os.path.isdir(target):
        return target
    seen = "it is not a directory" if os.path.exists(target) else "it does not exist"
    error = errors.InvalidPathError if os.path.exists(target) else errors.NotFoundError
    raise as_mlflow(error(f"download to {target}", "this machine", seen))
