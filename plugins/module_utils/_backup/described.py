# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of a snapshot, as its files describe them: a Compose file, or what a swarm told of its services.

What a swarm served, a drill starts with Compose: a second service of the swarm would be one more that nodes look after.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import POSTGRES_HOME
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import images_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm import passfile
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users import login

_POSTGRES_SECRET = "/run/secrets/postgres_password"  # noqa: S105  # Where it is.
_POSTGRES_CONFIG = "/etc/mlflow_postgres"
# A drill starts no other.
_STARTED = ("mlflow", "postgres")
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Described:
    """The services of a snapshot.

    Attributes:
        text: Of ``compose.yml``, or what ``docker service inspect`` told.
        engine: ``compose`` or ``swarm``.
    """

    text: str
    engine: str = "compose"

    @property
    def images(self) -> list[str]:
        """Images without which a drill cannot start."""
        if self.engine == "compose":
            return [image for image in images_of(self.text) if "client" not in image]
        return sorted(str(each["Image"]) for each in self._containers().values())

    @property
    def has_database(self) -> bool:
        """Whether PostgreSQL is one of them."""
        if self.engine == "compose":
            return "\n  postgres:\n" in self.text
        return "postgres" in self._containers()

    def as_compose(self, files: str, config_dir: str, key_dir: str) -> dict[str, Any]:
        """Return what a swarm served, as ``docker compose config --format json`` would tell it.

        Args:
            files: The stack's restored directory, of whose files secrets and configs were made.
            config_dir: Where the server has the SSH client's configuration.
            key_dir: Where it has its key.
        """
        volumes = {
            "mlflow": [
                f"{files}/mlflow:{config_dir}:ro,z",
                f"{files}/.secrets/mlflow_sftp_key:{key_dir}:ro,z",
                f"{files}/.secrets/pgpass:{passfile.PATH}:ro,z",
                *self._login(f"{files}/{login.DIRECTORY}"),
            ],
            "postgres": [
                f"postgres:{POSTGRES_HOME}",
                f"{files}/postgres:{_POSTGRES_CONFIG}:ro,z",
                f"{files}/.secrets/postgres_password:{_POSTGRES_SECRET}:ro,z",
            ],
        }
        services = {
            name: {**_service(container), "volumes": volumes[name]}
            for name, container in self._containers().items()
        }
        if "postgres" in services:
            services["postgres"]["shm_size"] = "256m"
        return {"services": services, "volumes": {name: {} for name in services if name == "postgres"}}

    def _login(self, directory: str) -> list[str]:
        """Return the volumes with the users that the server began with, and the one that a drill logs in as."""
        if login.SERVER not in (self._containers()["mlflow"].get("Args") or ()):
            return []
        return [
            f"{directory}/{login.SERVER_FILE}:{login.SERVER}:ro,z",
            f"{directory}/mlflow:{login.CREDENTIALS}:ro,z",
        ]

    def _containers(self) -> dict[str, Mapping[str, Any]]:
        """Return how containers of a swarm's services are made, by what follows the project in their names."""
        found = (each["Spec"] for each in json.loads(self.text))
        named = {
            str(each["Name"]).rpartition("_")[2]: each["TaskTemplate"]["ContainerSpec"] for each in found
        }
        return {name: container for name, container in named.items() if name in _STARTED}


def _service(container: Mapping[str, Any]) -> dict[str, Any]:
    given = {
        "image": container["Image"],
        "user": container.get("User"),
        "entrypoint": container.get("Command"),
        "command": container.get("Args"),
        "environment": container.get("Env"),
        "extra_hosts": [":".join(reversed(line.split()[:2])) for line in container.get("Hosts") or ()],
        "stop_signal": container.get("StopSignal"),
        "healthcheck": dict(_health(container.get("Healthcheck") or {})),
        "init": True,
        "cap_drop": ["ALL"],
    }
    return {name: _escaped(value) for name, value in given.items() if value}


def _health(check: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, key in (("test", "Test"), ("retries", "Retries")):
        if key in check:
            yield name, check[key]
    for name, key in (("interval", "Interval"), ("timeout", "Timeout"), ("start_period", "StartPeriod")):
        if key in check:
            yield name, f"{check[key] // _NANOSECONDS}s"


def _escaped(value: Any) -> Any:
    """Compose takes what follows a dollar for the name of a variable."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    if isinstance(value, dict):
        return {name: _escaped(each) for name, each in value.items()}
    return value
