# SPDX-License-Identifier: Apache-2.0
"""Settings, each from an environment variable `MLFLOW_SFTP_<NAME>`; docs/data-plane.md lists them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from mlflow_sftp.errors import InvalidSettingError

_PREFIX = "MLFLOW_SFTP_"


@dataclass(frozen=True, slots=True)
class Settings:
    """How to connect, how long to wait and how much to use at once.

    Attributes:
        ssh_config: OpenSSH client configuration to read instead of ~/.ssh/config.
        key_passphrase: Passphrase of the private key, where there is no agent.
        connect_timeout: Seconds from the first packet to an open SFTP session.
        stall_timeout: Seconds without a byte from the server, while it owes an answer, until the
            connection is given up.
        busy_timeout: Seconds that the server may take to close, rename or sync a file, as long as its SSH side
            answers.
        keepalive: Seconds between keepalive requests on a silent connection.
        idle_timeout: Seconds without work until the connection is closed.
        retry_timeout: Seconds during which a dropped or refused connection is tried again.
        max_sessions: Extra SFTP sessions for large files at most, as channels of the one connection.
        max_connections: Connections for one endpoint at most, where the server allows too few channels.
        max_requests: Files in flight on one connection at most.
        memory: MiB of file contents held at once at most.
        verify: "size" (always done), or "sha256" to compare contents after each transfer.
        leftover_hours: Age from which `clean` takes a temporary file for one of a dead upload.
    """

    ssh_config: Path | None = None
    key_passphrase: str = ""
    connect_timeout: float = 30.0
    stall_timeout: float = 60.0
    busy_timeout: float = 900.0
    keepalive: float = 15.0
    idle_timeout: float = 300.0
    retry_timeout: float = 120.0
    max_sessions: int = 8
    max_connections: int = 4
    max_requests: int = 512
    memory: int = 32
    verify: str = "size"
    leftover_hours: float = 24.0

    def __repr__(self) -> str:
        shown = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.name != "key_passphrase")
        return f"Settings({', '.join(shown)})"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the MLFLOW_SFTP_* variables; InvalidSettingError names the variable that is wrong."""
        values: dict[str, object] = {}
        for field in fields(cls):
            text = environment.get(_PREFIX + field.name.upper(), "")
            if text:
                values[field.name] = _parse(_PREFIX + field.name.upper(), text, field.default)
        return cls(**values)  # type: ignore[arg-type]  # _parse returns the type of the field's default


def _parse(variable: str, text: str, default: object) -> object:
    if variable.endswith("_VERIFY"):
        if text not in ("size", "sha256"):
            raise InvalidSettingError(variable, "", f"{text!r} is not a way to verify", "Use size or sha256.")
        return text
    if variable.endswith("_SSH_CONFIG"):
        path = Path(text).expanduser()
        if not path.is_file():
            raise InvalidSettingError(
                variable, "", f"there is no file {text}", "Name an OpenSSH client configuration."
            )
        return path
    if isinstance(default, str):
        return text
    return _positive_number(variable, text, whole=isinstance(default, int))


def _positive_number(variable: str, text: str, *, whole: bool) -> int | float:
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        kind = "whole number" if whole else "number"
        raise InvalidSettingError(variable, "", f"{text!r} is not a {kind} above 0")
    return number
