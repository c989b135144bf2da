# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done so that a user of MLflow's login is as declared."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.users import (
    ALL,
    NO_PERMISSIONS,
    Grant,
)

# What MLflow grants whoever makes an experiment or a model.
_OF_MAKERS = "MANAGE"


@dataclass(frozen=True)
class Present:
    """A user as MLflow knows him; `right_password` is whether he logs in with the declared one."""

    admin: bool
    right_password: bool
    grants: frozenset[Grant] = frozenset()


@dataclass(frozen=True)
class Wanted:
    """A user as declared; without a password, that of a user who is there stays."""

    password: str
    admin: bool
    grants: frozenset[Grant] = frozenset()


@dataclass(frozen=True)
class Changes:
    """What is to be done, in this order; what is granted anew is revoked first."""

    create: bool = False
    password: bool = False
    admin: bool | None = None
    revoke: tuple[Grant, ...] = ()
    grant: tuple[Grant, ...] = ()

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return self != Changes()


def changes(present: Present | None, wanted: Wanted) -> Changes:
    """Return what brings a user from how he is, None for not there, to how he is wanted.

    Whoever makes an experiment or a model has MANAGE on it, which nobody declares: that alone stays, unless
    NO_PERMISSIONS is declared for it. On all of them, nobody has it by making one.
    """
    if present is None:
        granted = {grant for grant in wanted.grants if grant.permission != NO_PERMISSIONS}
        return Changes(create=True, admin=True if wanted.admin else None, grant=_sorted(granted))
    declared = {(grant.kind, grant.name): grant.permission for grant in wanted.grants}
    revoked = {
        grant
        for grant in present.grants
        if declared.get((grant.kind, grant.name), _unsaid(grant)) != grant.permission
    }
    there = present.grants - revoked
    granted = {grant for grant in wanted.grants - there if grant.permission != NO_PERMISSIONS}
    return Changes(
        password=bool(wanted.password) and not present.right_password,
        admin=wanted.admin if wanted.admin != present.admin else None,
        revoke=_sorted(revoked),
        grant=_sorted(granted),
    )


def _unsaid(grant: Grant) -> str:
    """What a grant counts as that is not declared."""
    of_maker = grant.permission == _OF_MAKERS and grant.name != ALL
    return _OF_MAKERS if of_maker else NO_PERMISSIONS


def _sorted(grants: Collection[Grant]) -> tuple[Grant, ...]:
    return tuple(sorted(grants, key=lambda grant: (grant.kind, grant.name)))
