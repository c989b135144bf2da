# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's client, as the cutover calls it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.health import describe, service_of

# Of a log that is shown.
_LINES = 15

# The client puts the proxy of its configuration into every container that does not say otherwise; no tool needs one.
NO_PROXIES = tuple(
    f"--env={name}="
    for each in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY")
    for name in (each, each.lower())
)
RESTRICTED = ("--init", "--cap-drop=ALL", "--security-opt=no-new-privileges:true")


def run(
    *arguments: str, environment: Mapping[str, str] | None = None, reading: IO[bytes] | None = None
) -> str:
    """Run a command of Docker's client, which may read a file as its standard input, and return what it prints.

    Raises:
        CutoverError: It failed; with the last lines of what it said.
    """
    done = subprocess.run(
        ["docker", *arguments],
        env={**os.environ, **(environment or {})},
        stdin=reading or subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-2:]
        raise CutoverError(
            f"docker {arguments[0]} ended with exit code {done.returncode}: {'; '.join(said) or 'it said nothing'}"
        )
    return done.stdout


def inspect(container: str) -> Mapping[str, Any] | None:
    """Return what the engine knows of a container; None for none."""
    shown = run("container", "ls", "--all", "--quiet", "--no-trunc", f"--filter=name=^/?{container}$").split()
    if not shown:
        return None
    try:
        found: list[Mapping[str, Any]] = json.loads(run("container", "inspect", shown[0]))
    except CutoverError:
        # Gone between the two questions.
        return None
    return found[0]


def has(kind: str, name: str) -> bool:
    """Return whether the engine has an image, a volume or a network of a name."""
    try:
        run(kind, "inspect", "--format={{.Name}}" if kind != "image" else "--format={{.Id}}", name)
    except CutoverError:
        return False
    return True


def has_image(image: str) -> bool:
    """Return whether the engine has an image."""
    return has("image", image)


def image_id(image: str) -> str:
    """Return the id of an image, by which a swarm's services name theirs; the image as it was named without one."""
    try:
        return run("image", "inspect", "--format={{.Id}}", image).strip()
    except CutoverError:
        return image


def remove(*containers: str) -> None:
    """Remove containers, running or not; what is gone already is no error."""
    shown = [each for each in containers if inspect(each) is not None]
    if shown:
        run("container", "rm", "--force", "--volumes", *shown)


def wait_until_healthy(container: str, seconds: float, answers: Callable[[], bool] = lambda: False) -> None:
    """Wait until the health check of a container is content, or `answers` is, which may be asked more often.

    Raises:
        CutoverError: It ended, or time is over; with the end of its log.
    """
    end = time.monotonic() + seconds
    while True:
        found = inspect(container)
        state: Mapping[str, Any] = found["State"] if found else {}
        if state.get("Health", {}).get("Status") == "healthy":
            return
        if state.get("Running") and answers():
            return
        if not state.get("Running") or state.get("Restarting"):
            raise CutoverError(f"{container} ended before it was healthy", complaints([container]))
        if time.monotonic() > end:
            raise CutoverError(f"{container} is not healthy after {seconds:.0f} s", complaints([container]))
        time.sleep(0.3)


def root_directory() -> Path | None:
    """Return the directory in which the engine keeps volumes and images; None where it is not on this host."""
    root = Path(run("info", "--format={{.DockerRootDir}}").strip())
    return root if root.is_dir() else None


def complaints(containers: Iterable[str]) -> str:
    """Return why containers are not well, and the end of their logs, secrets hidden; empty where all are."""
    shown = [found for found in map(inspect, containers) if found is not None]
    services = [service_of(found, _last_words(found["Id"])) for found in shown]
    return describe(services, _LINES)


@contextlib.contextmanager
def complaining(*containers: str) -> Iterator[None]:
    """Add to a `CutoverError` what containers complain about."""
    try:
        yield
    except CutoverError as error:
        raise CutoverError(error.seen, complaints(containers)) from error


def logs(container: str) -> tuple[str, str]:
    """Return what a container has said, on standard output and on standard error."""
    command = ["docker", "container", "logs", container]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return done.stdout, done.stderr


def _last_words(container: str) -> str:
    command = ["docker", "container", "logs", "--tail", str(_LINES), container]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    return done.stdout


class Compose:
    """Compose on the project of one directory, with its own files or those of another one."""

    def __init__(self, directory: str, files: str = "") -> None:
        self._options = (
            "compose",
            f"--project-directory={directory}",
            f"--env-file={files or directory}/.env",
            f"--file={files or directory}/compose.yml",
        )

    def run(self, *arguments: str, reading: IO[bytes] | None = None) -> str:
        """Run a command of Compose and return what it prints; raises CutoverError as `run` does."""
        return run(*self._options, *arguments, reading=reading)

    def config(self) -> Mapping[str, Any]:
        """Return the project without the values of ``.env``, some of which are secret."""
        found: Mapping[str, Any] = json.loads(self.run("config", "--no-interpolate", "--format=json"))
        return found
