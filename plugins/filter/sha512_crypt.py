# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what HAProxy compares a password with."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users import sha512_crypt as crypt


def sha512_crypt(password: str, name: str) -> str:
    """Return the hash of a password, salted with what it is for."""
    return crypt.sha512_crypt(password, crypt.salt_of(name))


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"sha512_crypt": sha512_crypt}
