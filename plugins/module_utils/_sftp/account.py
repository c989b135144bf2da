# SPDX-License-Identifier: GPL-3.0-or-later
"""Who logs in where, trusting what: from module options and an OpenSSH client configuration."""

from __future__ import annotations

import getpass
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.connect import Endpoint

_ONLY_SSH_KNOWS = re.compile(r"^\s*(include|match)\b", re.IGNORECASE | re.MULTILINE)
_DEFAULT_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")


@dataclass(frozen=True)
class Account:
    """An SFTP account and how to reach it.

    Attributes:
        endpoint: The server.
        user: Login name.
        key_files: Private keys to try, in this order.
        known_hosts_files: Where the server's key must be listed; empty when only fingerprints count.
        fingerprints: ``SHA256:...`` of which the server's key must have one; empty when only files count.
        timeout: Seconds that each step of a connection may take.
        host_key_types: Types of host keys to ask the server for first.
        passphrase: Opens the private keys.
        key_text: A private key that is in no file, instead of `key_files`.
        password: For servers that take one.
    """

    endpoint: Endpoint
    user: str
    key_files: tuple[str, ...]
    known_hosts_files: tuple[str, ...]
    fingerprints: tuple[str, ...]
    timeout: float
    host_key_types: tuple[str, ...] = ()
    passphrase: str | None = field(default=None, repr=False)
    key_text: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """``user@host:port``, for messages."""
        return f"{self.user}@{self.endpoint.label}"

    @property
    def facts(self) -> dict[str, object]:
        """Values for the placeholders of remedies."""
        return {
            "host": self.endpoint.host,
            "port": self.endpoint.port,
            "address": self.endpoint.address,
            "user": self.user,
            "key": " or ".join(self.key_files) or "the key",
            "known_hosts": " or ".join(self.known_hosts_files) or "the list of trusted keys",
        }


def account_from_options(options: Mapping[str, Any]) -> Account:
    """Combine `CONNECTION_OPTIONS` with the client configuration file they name; options win.

    Raises:
        DiagnosedError: ssh_config_unreadable.
    """
    config = _client_config(options["ssh_config_file"], options["host"])
    host = config.get("hostname", options["host"])
    endpoint = Endpoint(
        host=host,
        port=options["port"] or int(config.get("port", 22)),
        address=options["address"] or host,
        host_key_alias=config.get("hostkeyalias"),
    )
    return Account(
        endpoint=endpoint,
        user=options["user"] or config.get("user") or getpass.getuser(),
        key_files=_key_files(options, config),
        known_hosts_files=_known_hosts_files(options, config),
        fingerprints=tuple(options["host_key_fingerprints"]),
        timeout=options["connect_timeout"],
        host_key_types=tuple(options["host_key_types"]),
        passphrase=options["private_key_passphrase"],
        key_text=options.get("private_key"),
        password=options["password"],
    )


def _client_config(file: str | None, host: str) -> Mapping[str, Any]:
    if file is None:
        return {}
    path = Path(file).expanduser()
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        # paramiko skips Include and takes every kind of Match that it does not know for fulfilled.
        if _ONLY_SSH_KNOWS.search(text) and shutil.which("ssh"):
            return _ask_ssh(path, host)
        return paramiko.SSHConfig.from_text(text).lookup(host)
    except (OSError, paramiko.ConfigParseError, ValueError) as error:
        raise DiagnosedError("ssh_config_unreadable", f"{path}: {error}", ssh_config=path) from error


def _ask_ssh(path: Path, host: str) -> Mapping[str, Any]:
    """Return what the installed ssh makes of a configuration, without what it would do anyway.

    Raises:
        ValueError: ssh refuses it.
    """
    found, unasked = (_options_of_ssh(file, host) for file in (str(path), "none"))
    asked = {name: values for name, values in found.items() if values != unasked.get(name)}
    config: dict[str, Any] = {name: values[0] for name, values in asked.items()}
    if "identityfile" in asked:
        tokens = {"%h": found["hostname"][0], "%r": found["user"][0], "%d": str(Path.home()), "%%": "%"}
        tokens["%u"] = getpass.getuser()
        config["identityfile"] = [
            re.sub("%[hrdu%]", lambda token: tokens[token[0]], name) for name in asked["identityfile"]
        ]
    return config


def _options_of_ssh(file: str, host: str) -> dict[str, list[str]]:
    command = ["ssh", "-G", "-F", file, "--", host]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError("ssh -G does not end") from None
    if done.returncode != 0:
        raise ValueError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "ssh -G fails")
    options: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        options.setdefault(name, []).append(value)
    return options


def _key_files(options: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, ...]:
    if options.get("private_key"):
        return ()
    if options["private_key_file"]:
        return (options["private_key_file"],)
    if "identityfile" in config:
        return tuple(config["identityfile"])
    if options["password"]:
        return ()
    return tuple(file for file in _DEFAULT_KEYS if Path(file).expanduser().exists()) or _DEFAULT_KEYS[:1]


def _known_hosts_files(options: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, ...]:
    if options["known_hosts_file"]:
        return (options["known_hosts_file"],)
    if "userknownhostsfile" in config:
        listed = config["userknownhostsfile"]
        # ssh refuses a quotation that does not end; what it prints has no marks.
        return tuple(
            shlex.split(listed) if listed.count('"') % 2 == 0 and "'" not in listed else listed.split()
        )
    return () if options["host_key_fingerprints"] else ("~/.ssh/known_hosts",)
