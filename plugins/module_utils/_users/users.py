# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of MLflow's own login, as the inventory declares them, and what is wrong with such a declaration."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ADMIN = "admin"
# All services that a stack may have, or could in an earlier release: their users are the stack's own.
SERVICES = ("mlflow", "notebook", "experiment-service", "train", "monitor")
# What a resource is called in a declaration, and by MLflow.
KINDS = ("experiment", "registered_model")
# What takes a grant back: MLflow has no such grant.
NO_PERMISSIONS = "NO_PERMISSIONS"
# The name for all resources of a kind.
ALL = "*"
PERMISSIONS = ("READ", "USE", "EDIT", "MANAGE", "DENY", NO_PERMISSIONS)
# MLflow accepts no shorter one.
MIN_PASSWORD = 12
# Of MLflow's column.
_MAX_NAME = 255

_KEYS = {"name", "password", "update_password", "admin", "permissions", "state"}
_CHOICES = {"state": ("present", "absent"), "update_password": ("always", "on_create")}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# mlflow.server.auth decodes a login as ASCII there, and as UTF-8 elsewhere.
_REFUSED = "with which MLflow takes no artifact through its server"


@dataclass(frozen=True)
class Grant:
    """What a user may do with a resource: `kind` of `KINDS`, `name` or ``*`` for all, `permission` of `PERMISSIONS`."""

    kind: str
    name: str
    permission: str

    def __str__(self) -> str:
        return f"{self.permission} on {self.kind} {self.name}"


def service_user(service: str) -> str:
    """Return the name of the user that a service logs in as; the server's own is the administrator."""
    return ADMIN if service == "mlflow" else f"service-{service}"


def retired_users(services: Collection[str]) -> list[str]:
    """Return the users of services that a stack does not have, of which the database may know from when it had."""
    return [service_user(name) for name in SERVICES if name not in (*services, "mlflow")]


def grants_of(permissions: Sequence[Mapping[str, Any]]) -> tuple[Grant, ...]:
    """Return the grants of a declaration that `permission_problems` finds nothing wrong with."""
    return tuple(
        Grant(kind, str(each[kind]), str(each["permission"]))
        for each in permissions
        for kind in KINDS
        if each.get(kind) is not None
    )


def user_problems(users: Sequence[Any], login: bool) -> Iterator[str]:
    """Return a sentence for each thing that is wrong with mlflow_stack_users; no password is shown.

    Args:
        users: The declarations.
        login: Whether MLflow's login is on.
    """
    where = "mlflow_stack_users"
    if users and not login:
        yield f"{where} names users, but MLflow's login is off. Set mlflow_stack_auth to basic, or leave them out."
    for number, user in enumerate(users, start=1):
        if not isinstance(user, Mapping):
            yield f"{where}: entry {number} is no mapping; expected name, password and permissions."
            continue
        name = str(user.get("name") or "")
        yield from (f"{where}: {name or f'entry {number}'} {text}" for text in _problems(user, name))
    names = Counter(str(user.get("name") or "") for user in users if isinstance(user, Mapping))
    for name, count in names.items():
        if name and count > 1:
            yield f"{where}: {name} is declared {count} times; once is enough."


def _problems(user: Mapping[str, Any], name: str) -> Iterator[str]:
    if strange := sorted(map(str, set(user) - _KEYS)):
        yield f"has {', '.join(strange)}; expected {', '.join(sorted(_KEYS))}."
    if problem := name_problem(name, logs_in=user.get("state") != "absent"):
        yield problem
    if name in (ADMIN, *map(service_user, SERVICES)):
        yield "is a user of the stack itself; choose another name."
    for key, choices in _CHOICES.items():
        if user.get(key, choices[0]) not in choices:
            yield f"has {key} {user[key]}; expected {' or '.join(choices)}."
    if user.get("state") == "absent":
        return
    if problem := password_problem(user.get("password")):
        yield problem
    yield from permission_problems(user.get("permissions") or [])


def name_problem(name: str, logs_in: bool = True) -> str:
    """Return why nobody can have such a name, or log in with it; empty where somebody can."""
    if not name.strip():
        return "has no name."
    if len(name) > _MAX_NAME:
        return f"is a name of {len(name)} characters; MLflow takes {_MAX_NAME}."
    if ":" in name or _CONTROL.search(name) or name != name.strip():
        return "is a name with a colon, a control character or a space at an end, which a login cannot carry."
    if logs_in and not name.isascii():
        return f"is a name that is not all ASCII, {_REFUSED}."
    return ""


def password_problem(password: Any) -> str:
    """Return why nobody can have such a password, without showing it; empty where somebody can."""
    if not isinstance(password, str) or not password:
        return "has no password (text)."
    if len(password) < MIN_PASSWORD:
        return f"has a password of {len(password)} characters; MLflow takes none below {MIN_PASSWORD}."
    if _CONTROL.search(password) or password != password.strip():
        return "has a password with a control character or a space at an end."
    if not password.isascii():
        return f"has a password that is not all ASCII, {_REFUSED}."
    return ""


def service_permission_problems(permissions: Any) -> Iterator[str]:
    """Return `permission_problems`, and what only a user of the inventory can have: services are told at the start.

    MLflow's server gives them what is listed before it knows any experiment, and cannot revoke what is not there.
    """
    yield from permission_problems(permissions)
    entries = permissions if isinstance(permissions, Sequence) and not isinstance(permissions, str) else ()
    for each in (each for each in entries if isinstance(each, Mapping)):
        if each.get("permission") == NO_PERMISSIONS:
            yield f"has the permission {NO_PERMISSIONS}, which grants nothing; leave the entry out."
        if each.get("experiment") not in (None, "", ALL):
            yield f"has a permission on experiment {each['experiment']}; expected {ALL}, all experiments."


def permission_problems(permissions: Any) -> Iterator[str]:
    """Return a part of a sentence for each permission that says nothing MLflow knows."""
    if not isinstance(permissions, Sequence) or isinstance(permissions, str):
        yield "has permissions that are no list."
        return
    seen: Counter[tuple[str, str]] = Counter()
    for each in permissions:
        kinds = [kind for kind in KINDS if isinstance(each, Mapping) and each.get(kind) not in (None, "")]
        if len(kinds) != 1 or set(each) - {*KINDS, "permission"}:
            yield f"has a permission that is not for one resource; expected {' or '.join(KINDS)}, and permission."
            continue
        seen[kinds[0], str(each[kinds[0]])] += 1
        if each.get("permission") not in PERMISSIONS:
            yield (
                f"has the permission {each.get('permission')} on {kinds[0]} {each[kinds[0]]}; expected one of "
                f"{', '.join(PERMISSIONS)}."
            )
    for (kind, name), count in seen.items():
        if count > 1:
            yield f"has {count} permissions on {kind} {name}; one is enough."
