# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker as it is found: whether it can be used, or may be installed or started, and otherwise why not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError

DAEMON_JSON = "/etc/docker/daemon.json"
UNITS = ("docker.service", "snap.docker.dockerd.service")
# Engines that are not the distribution's own, of which the role installs no part.
OTHERS = ("docker-ce", "docker-ce-cli", "docker-engine", "moby-engine", "docker-ee")
PACKAGES = ("docker.io", "podman-docker", *OTHERS)
_SNAP = "/snap/"
_SOCKET = "unix:///var/run/docker.sock"
_HINTS = {"compose": "docker-compose-plugin", "buildx": "docker-buildx-plugin"}


@dataclass(frozen=True)
class Unit:
    """A unit of systemd, as ``systemctl show`` tells of it."""

    load: str
    active: str


@dataclass(frozen=True)
class Host:
    """What there is of Docker on a host.

    Attributes:
        client: The program ``docker``, links resolved; empty for none.
        daemon: The program ``dockerd``, links resolved; empty for none.
        info: What ``docker info`` tells as JSON, of the client alone where no engine answers.
        said: What it complained of.
        endpoint: Where the client looks for the engine.
        modules_endpoint: Where Ansible's modules do.
        missing: Those of ``compose`` and ``buildx`` that the client lacks.
        packages: Those of `PACKAGES` that are installed.
        units: Those of `UNITS` that systemd knows.
        sockets: Of engines that users run without root.
        daemon_json: The text of `DAEMON_JSON`; empty for none.
        user: Who asked.
    """

    client: str = ""
    daemon: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    said: str = ""
    endpoint: str = _SOCKET
    modules_endpoint: str = _SOCKET
    missing: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    units: Mapping[str, Unit] = field(default_factory=dict)
    sockets: tuple[str, ...] = ()
    daemon_json: str = ""
    user: str = "root"

    @property
    def answers(self) -> bool:
        """Whether an engine of Docker answers."""
        return bool(self.info.get("ServerVersion")) and not self.info.get("ServerErrors")

    @property
    def podman(self) -> bool:
        """Whether ``docker`` is Podman."""
        return "podman" in self.client or "buildahVersion" in (self.info.get("host") or {})

    @property
    def other(self) -> str:
        """An engine that the role would not install itself; empty for none."""
        packages = [name for name in self.packages if name in OTHERS]
        if packages:
            return packages[0]
        if _SNAP in self.client or self.units.get(UNITS[1]):
            return "Docker's snap"
        return self.daemon if self.daemon and "docker.io" not in self.packages else ""

    @property
    def unit(self) -> tuple[str, Unit] | None:
        """The unit that would start the engine."""
        return next(((name, self.units[name]) for name in UNITS if name in self.units), None)

    @property
    def root_directory(self) -> str:
        """Where the engine keeps images, or will."""
        configured = {} if daemon_error(self.daemon_json) else read_daemon(self.daemon_json)
        return str(self.info.get("DockerRootDir") or configured.get("data-root") or "/var/lib/docker")


def read_daemon(text: str) -> dict[str, Any]:
    """Return the options in a valid daemon.json; an empty file has none."""
    options: dict[str, Any] = json.loads(text) if text.strip() else {}
    return options


def daemon_error(text: str) -> str:
    """Say what is wrong with a daemon.json; empty for nothing."""
    try:
        options = read_daemon(text)
    except json.JSONDecodeError as error:
        return f"line {error.lineno}, column {error.colno}: {error.msg}"
    return "" if isinstance(options, dict) else f"it holds {type(options).__name__} instead of an object"


def refusal(host: Host) -> DiagnosedError | None:
    """Return why the stack cannot use what there is, and nothing may be installed or started; None where it can."""
    if host.podman:
        return DiagnosedError("engine_podman", f"{host.client} is Podman")
    if host.client and (error := _elsewhere(host)):
        return error
    return _of_answering(host) if host.answers else _of_silent(host)


def _elsewhere(host: Host) -> DiagnosedError | None:
    wanted = [_plain(host.endpoint), _plain(host.modules_endpoint)]
    if any(not each.startswith(("unix:", "tcp://127.0.0.1", "tcp://localhost")) for each in wanted):
        return DiagnosedError("engine_elsewhere", f"docker asks {host.endpoint}", endpoint=host.endpoint)
    if wanted[0] != wanted[1]:
        seen = f"docker asks {host.endpoint}, Ansible's modules ask {host.modules_endpoint}"
        return DiagnosedError("engine_elsewhere", seen, endpoint=host.endpoint)
    return None


def _of_answering(host: Host) -> DiagnosedError | None:
    options = " ".join(host.info.get("SecurityOptions") or [])
    if "name=rootless" in options:
        return DiagnosedError("engine_rootless", f"{host.endpoint} is rootless")
    if "name=userns" in options:
        return DiagnosedError("engine_remaps_users", f"docker info shows {options}", file=DAEMON_JSON)
    if host.other and host.missing:
        hints = " ".join(_HINTS[name] for name in host.missing)
        seen = f"{host.other} answers, but docker {' and docker '.join(host.missing)} fails"
        return DiagnosedError("engine_incomplete", seen, packages=hints)
    return None


def _of_silent(host: Host) -> DiagnosedError | None:
    if re.search("permission denied", host.said, re.IGNORECASE):
        return DiagnosedError("engine_denied", host.said.splitlines()[-1], user=host.user)
    if wrong := daemon_error(host.daemon_json):
        return DiagnosedError("daemon_json_invalid", f"{DAEMON_JSON}, {wrong}", file=DAEMON_JSON)
    masked = [name for name, unit in host.units.items() if unit.load == "masked"]
    if masked:
        return DiagnosedError("engine_masked", f"{masked[0]} is masked", unit=masked[0])
    if not host.other:
        return None if "docker.io" in host.packages else _rootless(host)
    if not host.unit:
        seen = f"{host.other} is installed and does not answer"
        return DiagnosedError(
            "engine_stopped", seen, start="start dockerd", log="its log says why it does not"
        )
    name, unit = host.unit
    return DiagnosedError(
        "engine_stopped",
        f"{host.other} is installed and {name} is {unit.active}",
        start=f"systemctl enable --now {name}",
        log=f"journalctl -u {name} says why it does not",
    )


def _rootless(host: Host) -> DiagnosedError | None:
    if not host.sockets:
        return None
    return DiagnosedError("engine_rootless", f"{', '.join(host.sockets)} exists, and no engine of root's")


def _plain(endpoint: str) -> str:
    return endpoint.replace("unix:///run/", "unix:///var/run/")


def warnings(host: Host, routes: Sequence[str]) -> list[str]:
    """Return what will be in the way later. `routes` are the families, 4 and 6, that have a default route."""
    found = []
    if host.answers and (wrong := daemon_error(host.daemon_json)):
        found.append(f"{DAEMON_JSON} is not valid JSON ({wrong}): the engine that runs will not start again.")
    if host.answers and (_SNAP in host.client or "/var/snap/" in host.root_directory):
        found.append("Docker's snap reads nothing outside of home directories: keep mlflow_stack_dir in one.")
    if "6" in routes and "4" not in routes:
        found.append(
            "This host has a default route for IPv6 only, and Docker's networks have IPv4 only unless told "
            "otherwise: name one with IPv6 in mlflow_stack_network (docker network create --ipv6); image "
            "builds need a way out, too."
        )
    return found
