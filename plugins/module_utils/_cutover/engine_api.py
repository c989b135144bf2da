# SPDX-License-Identifier: GPL-3.0-or-later
"""The Engine's own interface, for what Docker's client cannot say: a service's description as a whole."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError

_UNIX = "unix://"
# Managers without a quorum take as long to say so.
_PATIENCE = 60.0
# How often somebody else may have changed the service between the question and the answer.
_TRIES = 5
_OUTDATED = "update out of sequence"


class _Connection(http.client.HTTPConnection):
    """To the engine's socket."""

    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(self._path)


def service_of(name: str) -> Mapping[str, Any]:
    """Return what a swarm knows of a service; raises CutoverError where it does not tell."""
    found: Mapping[str, Any] = _ask("GET", f"/services/{quote(name)}")
    return found


def describe_service(name: str, description: Mapping[str, Any]) -> bool:
    """Give a service a description, all of it; return whether it had another one.

    Raises:
        CutoverError: The swarm does not take it.
    """
    for _ in range(_TRIES):
        service = service_of(name)
        if service["Spec"] == description:
            return False
        version = service["Version"]["Index"]
        try:
            _ask("POST", f"/services/{service['ID']}/update?version={version}", description)
        except CutoverError as error:
            if _OUTDATED not in error.seen:
                raise
        else:
            return True
    raise CutoverError(f"the service {name} is being changed again and again by somebody else")


def _ask(method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Return what the engine answers; raises CutoverError where that is a refusal, or nothing."""
    endpoint = docker.run("context", "inspect", "--format={{.Endpoints.docker.Host}}").strip()
    if not endpoint.startswith(_UNIX):
        raise CutoverError(
            f"Docker's client reaches the engine at {endpoint}, which is no socket of this host",
            "Unset DOCKER_HOST and the context for the user that Ansible becomes",
        )
    version = docker.run("version", "--format={{.Server.APIVersion}}").strip()
    connection = _Connection(endpoint.removeprefix(_UNIX))
    try:
        headers = {"Content-Type": "application/json"}
        connection.request(method, f"/v{version}{path}", json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise CutoverError(f"the engine does not answer at {endpoint}: {error}") from error
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK:
        raise CutoverError(f"the engine refuses to {method} {path}: {_said(text)}")
    return json.loads(text)


def _said(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip() or "it said nothing"
