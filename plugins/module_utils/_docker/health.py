# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a service of the stack is not well: a cause from what the engine and the service's own log say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError

# In this order: what comes first explains what comes later.
_SIGNS = (
    ("service_port_taken", r"port is already allocated|address already in use"),
    ("service_disk_full", r"No space left on device|database or disk is full"),
    ("service_database_outdated", r"Detected out-of-date database schema"),
    (
        "service_database_unreachable",
        r"connection to server at|could not translate host name|failed to resolve host|password authentication failed",
    ),
    # Of SSH, the same words are followed by the ways to log in.
    (
        "service_volume_denied",
        r"unable to open database file|attempt to write a readonly database|Permission denied(?! \()",
    ),
)
_PROXIES = ("http_proxy", "HTTP_PROXY")
_EXCLUSIONS = ("no_proxy", "NO_PROXY")
_EXCEPTION = re.compile(r"[\w.]*(Error|Exception)\b.*: ")
_LOGIN_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass(frozen=True)
class Service:
    """A container of the stack, with the end of its log and what its health check said last."""

    name: str
    container: str
    status: str = "running"
    health: str = ""
    exit_code: int = 0
    out_of_memory: bool = False
    # Why the engine could not start it.
    error: str = ""
    probe: str = ""
    log: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def well(self) -> bool:
        """Whether it runs, and its health check, if it has one, is content."""
        return self.status == "running" and self.health in ("", "healthy")

    @property
    def proxied(self) -> bool:
        """Whether a request to itself would go through a proxy."""
        excluded = {name for key in _EXCLUSIONS for name in self.environment.get(key, "").split(",")}
        return any(self.environment.get(key) for key in _PROXIES) and not {"localhost", "*"} & excluded

    @property
    def state(self) -> str:
        """What the engine says of it."""
        if self.status == "running":
            return self.health or "running"
        return f"{self.status}, exit code {self.exit_code}" if self.status != "created" else "not started"


def service_of(shown: Mapping[str, Any], log: str) -> Service:
    """Return what ``docker container inspect`` shows of one container."""
    state, config = shown["State"], shown["Config"]
    health = state.get("Health") or {}
    probes = health.get("Log") or []
    return Service(
        name=(config.get("Labels") or {}).get("com.docker.compose.service", ""),
        container=shown["Name"].lstrip("/"),
        status=state["Status"],
        health=health.get("Status", ""),
        exit_code=state.get("ExitCode", 0),
        out_of_memory=bool(state.get("OOMKilled")),
        error=state.get("Error", ""),
        probe=_telling_line(probes[-1].get("Output", "")) if probes else "",
        log=log,
        environment=dict(each.partition("=")[::2] for each in config.get("Env") or []),
    )


def diagnose(service: Service) -> DiagnosedError | None:
    """Name the cause why a service is not well; None where it is."""
    if service.well:
        return None
    said = "\n".join((service.error, service.probe, service.log))
    signs = (code for code, pattern in _SIGNS if re.search(pattern, said))
    code = "service_out_of_memory" if service.out_of_memory else next(signs, "")
    if not code:
        code = "service_behind_proxy" if service.proxied else "service_unhealthy"
    reasons = [text for text in (service.error, service.probe) if text]
    seen = f"{service.container} is {service.state}" + "".join(f"; {text}" for text in reasons)
    return DiagnosedError(code, _masked(seen, service), service=service.name, container=service.container)


def describe(services: Sequence[Service], lines: int) -> str:
    """Say of each service that is not well why, what to do, and what it logged last; empty where all are."""
    paragraphs = []
    for service in sorted(services, key=lambda each: each.name):
        if error := diagnose(service):
            end = _masked(service.log, service).rstrip().splitlines()[-lines:]
            paragraphs.append(
                f"{error}. {error.remedy}\nThe end of its log:\n" + "\n".join(end or ["(empty)"])
            )
    return "\n".join(paragraphs)


def _masked(text: str, service: Service) -> str:
    """Hide the notebook's token, and whatever logs in within a URL."""
    token = service.environment.get("JUPYTER_TOKEN", "")
    return _LOGIN_IN_URL.sub("***", text.replace(token, "***") if token else text)


def _telling_line(text: str) -> str:
    """Return the exception of a traceback, which the engine may have cut short, or the last line."""
    lines = text.strip().splitlines() or [""]
    return next((line for line in reversed(lines) if _EXCEPTION.match(line)), lines[-1])
