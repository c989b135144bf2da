# SPDX-License-Identifier: GPL-3.0-or-later
"""What sshd's effective configuration (``sshd -T``) means for one account: who is let in, with which keys, where.

Decisions only, without looking at a host; `host` reads what is decided about.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import signature_algorithms

Settings = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Candidate:
    """An account that is to log in, perhaps yet to be made.

    Attributes:
        user: Its name.
        groups: The names of all its groups.
        key_types: Types of its authorized keys, such as ``ssh-ed25519``.
    """

    user: str
    groups: tuple[str, ...]
    key_types: tuple[str, ...]


def parse(text: str) -> dict[str, list[str]]:
    """Take apart what ``sshd -T`` prints: the values of each keyword, which is in lower case."""
    settings: dict[str, list[str]] = {}
    for line in text.splitlines():
        keyword, _, value = line.strip().partition(" ")
        if keyword:
            settings.setdefault(keyword.lower(), []).append(value)
    return settings


def lacking(settings: Settings, wanted: Mapping[str, str]) -> list[str]:
    """Return which wanted settings are not in effect, as ``sshd -T`` would print them."""
    lines = {f"{keyword} {value}" for keyword, values in settings.items() for value in values}
    return [
        line for line in (f"{name.lower()} {value}" for name, value in wanted.items()) if line not in lines
    ]


def access_refusals(settings: Settings, candidate: Candidate) -> list[DiagnosedError]:
    """Return which lists of users and groups keep an account out, in the order in which sshd asks them.

    What a list says of single clients (``user@host``) is not known here: it counts as letting in.
    """
    user, groups = candidate.user, candidate.groups
    shown_groups = ", ".join(groups) or "none"
    refusals = []
    denied = [entry for entry in _words(settings, "denyusers") if _denies_everywhere(user, entry)]
    if denied:
        refusals.append(_refused("DenyUsers", denied, user, f"take {' '.join(denied)} out of DenyUsers"))
    allowed = _words(settings, "allowusers")
    if allowed and not any(_matches(user, entry.rpartition("@")[0] or entry) for entry in allowed):
        refusals.append(_refused("AllowUsers", allowed, user, f"add {user} to AllowUsers"))
    denied = [entry for entry in _words(settings, "denygroups") if _any_matches(groups, entry)]
    if denied:
        seen = f"DenyGroups {' '.join(denied)}; groups of {user}: {shown_groups}"
        change = f"take {' '.join(denied)} out of DenyGroups, or {user} out of the group"
        refusals.append(
            DiagnosedError("sshd_account_refused", seen, setting="DenyGroups", user=user, change=change)
        )
    allowed = _words(settings, "allowgroups")
    if allowed and not any(_any_matches(groups, entry) for entry in allowed):
        seen = f"AllowGroups {' '.join(allowed)}; groups of {user}: {shown_groups}"
        change = f"add {groups[0] if groups else 'its group'} to AllowGroups, or set sftp_target_group to one of them"
        refusals.append(
            DiagnosedError("sshd_account_refused", seen, setting="AllowGroups", user=user, change=change)
        )
    return refusals


def _refused(setting: str, entries: Iterable[str], user: str, change: str) -> DiagnosedError:
    seen = f"{setting} {' '.join(entries)}"
    return DiagnosedError("sshd_account_refused", seen, setting=setting, user=user, change=change)


def _denies_everywhere(user: str, entry: str) -> bool:
    name, _, host = entry.rpartition("@") if "@" in entry else (entry, "", "*")
    return host == "*" and _matches(user, name)


def _any_matches(names: Iterable[str], pattern: str) -> bool:
    return any(_matches(name, pattern) for name in names)


def _matches(name: str, pattern: str) -> bool:
    """sshd's patterns know ``*`` and ``?`` and nothing else."""
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def _words(settings: Settings, keyword: str) -> list[str]:
    return [word for value in settings.get(keyword, ()) for word in value.split()]


def algorithm_refusal(settings: Settings, candidate: Candidate) -> DiagnosedError | None:
    """Return why none of the authorized keys can be used, if so."""
    listed = settings.get("pubkeyacceptedalgorithms") or settings.get("pubkeyacceptedkeytypes") or ()
    accepted = [pattern for value in listed for pattern in value.split(",")]
    usable = [key_type for key_type in candidate.key_types if _is_usable(key_type, accepted)]
    if not candidate.key_types or not accepted or usable:
        return None
    wanted = dict.fromkeys(
        name for key_type in candidate.key_types for name in signature_algorithms(key_type)
    )
    seen = f"PubkeyAcceptedAlgorithms {','.join(accepted)}; keys: {', '.join(candidate.key_types)}"
    return DiagnosedError("sshd_algorithm_refused", seen, algorithms=",".join(wanted))


def _is_usable(key_type: str, accepted: Sequence[str]) -> bool:
    # By its own name, an RSA key signs with SHA-1.
    names = (*signature_algorithms(key_type), key_type)
    return any(_matches(name, pattern) for name in names for pattern in accepted)


@dataclass(frozen=True)
class Listener:
    """Where the host listens, and who decides.

    Attributes:
        ports: TCP ports on which something listens.
        socket_unit: The active systemd socket unit that listens in sshd's place; empty if sshd does so itself.
    """

    ports: frozenset[int]
    socket_unit: str = ""


def port_refusal(settings: Settings, port: int, listener: Listener) -> DiagnosedError | None:
    """Return why nobody gets to sshd on a port, if so."""
    if port in listener.ports:
        return None
    configured = [int(value) for value in settings.get("port", ()) if value.isdigit()]
    if port not in configured:
        seen = f"sshd is configured for port {_join(configured)}"
        change = f"set sftp_port to a port that sshd has, or add Port {port} to sshd_config"
    elif listener.socket_unit:
        seen = (
            f"sshd_config has Port {port}, but {listener.socket_unit} listens in sshd's place, and not there"
        )
        change = f"systemctl edit {listener.socket_unit}, with [Socket] and ListenStream={port}, then restart that unit"
    else:
        seen = f"sshd_config has Port {port}, but sshd has not begun to listen there"
        change = "restart sshd, and look into its log if it does not listen then"
    return DiagnosedError("sshd_port_closed", seen, port=port, change=change)


def _join(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


@dataclass(frozen=True)
class Unit:
    """A unit of systemd.

    Attributes:
        name: Such as ``ssh.service``.
        is_loaded: Whether systemd knows it.
        is_active: Whether it runs or listens.
    """

    name: str
    is_loaded: bool
    is_active: bool


@dataclass(frozen=True)
class Reload:
    """How to have the present configuration read: by ``service``, by ``signal``, or ``none``.

    Attributes:
        how: One of the three.
        unit: The service to reload.
        pid: The process to send SIGHUP.
    """

    how: str
    unit: str = ""
    pid: int = 0


def reload_for(units: Collection[Unit], pid: int, is_stale: bool | None, is_changed: bool) -> Reload:
    """Decide how sshd is to read its configuration.

    Args:
        units: The units of sshd; empty where there is no systemd.
        pid: The process that listens, 0 if there is none.
        is_stale: Whether sshd runs with an older configuration; None if that cannot be told.
        is_changed: Whether the configuration was changed just now.
    """
    if not (is_changed if is_stale is None else is_stale):
        return Reload("none")
    service = next((unit for unit in units if unit.name.endswith(".service") and unit.is_active), None)
    if service:
        return Reload("service", unit=service.name)
    # Behind a socket of systemd, sshd starts with the next connection. Starting its service would end the socket.
    if not pid or any(unit.name.endswith(".socket") and unit.is_active for unit in units):
        return Reload("none")
    return Reload("signal", pid=pid)
