# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs a stack's services: how the deeds of a cutover have them closed, opened and described otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError


class Driver(Protocol):
    """Docker Compose, or a swarm; each deed raises `CutoverError` where it fails, and may be repeated.

    Directories are those of a cutover (`directory`), and of its next files in there (`following`).
    """

    @property
    def rolls(self) -> bool:
        """Whether servers of two versions may serve beside each other, so that the schema alone has MLflow closed."""

    def require_steady(self, replicas: int, *, closes: bool) -> None:
        """Refuse services that somebody else is changing, or that might not end.

        Args:
            replicas: How many servers the inventory asks for; 0 where nobody has said.
            closes: Whether MLflow is to be closed.

        Raises:
            RefusedError: It is not the time to begin.
        """

    def digest(self) -> str:
        """Return a digest of how the services are described."""

    def keep(self, directory: Path) -> None:
        """Keep how the services are described before the cutover, where the stack's files do not say."""

    def describe(self, following: Path, image: str) -> None:
        """Describe servers of another image, where no role has done so."""

    def describe_store(self, following: Path) -> None:
        """Describe servers of another store, where no role has done so, and make what they are to see of files."""

    def images(self, archive: Path) -> list[str]:
        """Return the images of the services before the cutover, whose files are in an archive in its directory."""

    def install(self, following: Path) -> None:
        """Let the next files be those by which MLflow is opened."""

    def restore(self, archive: Path, *, credentials: bool) -> None:
        """Let the files from before be those by which MLflow is opened; credentials may stay as they are."""

    def forget(self, directory: Path) -> None:
        """Remove what was made for servers of before or after that there are not any more."""

    def jobs(self) -> list[str]:
        """Return the names of running jobs that would lose their work."""

    def provide_maintenance(self, image: str) -> None:
        """Make what answers in MLflow's place, if anything has to be made."""

    def close(self) -> float:
        """End the servers, and what would write; return since when nobody is let in."""

    def open(self, directory: Path) -> float:
        """Start what the files describe; return when MLflow answered."""

    def await_services(self) -> None:
        """Wait until every service is well."""

    def clients(self) -> Iterator[tuple[str, str]]:
        """Return the names of what makes round trips, with a container for each; `Stack.trainer` is to be removed."""

    def start_candidate(self, following: Path, options: Sequence[str]) -> None:
        """Start the next server where nobody reaches it, with options of ``docker run``, and wait until it answers.

        Raises:
            CutoverError: It does not, or does not let the stack in.
        """


def another_password(restart: str) -> CutoverError:
    """Return why a candidate does not let the stack in; `restart` is the command that starts the servers anew."""
    return CutoverError(
        "MLflow takes another password of its administrator than the stack's: somebody has changed it in MLflow",
        f"Start the servers anew ({restart}), which gives them the stack's",
    )
