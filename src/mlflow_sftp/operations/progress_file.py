# SPDX-License-Identifier: Apache-2.0
"""A file in which another process can read how far a copy is."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from mlflow_sftp.errors import StorageError
from mlflow_sftp.operations.copy import Progress

_SECONDS_BETWEEN = 1.0


class ProgressFile:
    """Writes what it is called with as JSON, about once a second; use as a context manager.

    The file is replaced as a whole, so that a reader never sees a part; one of an earlier copy is removed. It
    appears once both sides are listed, and stays with the last numbers. Raises StorageError where it cannot be
    written, before the copy begins if it never can.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._due = 0.0
        self._last: Progress | None = None

    def __enter__(self) -> Self:
        with self._translate_errors():
            self._temporary.touch()
            self._temporary.unlink()
            self._path.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._last is not None:
            self._write(self._last)

    def __call__(self, progress: Progress) -> None:
        self._last = progress
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _SECONDS_BETWEEN
            self._write(progress)

    def _write(self, progress: Progress) -> None:
        with self._translate_errors():
            self._temporary.write_text(json.dumps(progress.as_dict()) + "\n")
            self._temporary.replace(self._path)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with suppress(OSError):
                self._temporary.unlink()
            raise StorageError(
                f"{self._path}: the progress file cannot be written: {error.strerror}"
            ) from error
