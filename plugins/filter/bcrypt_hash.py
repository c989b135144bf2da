# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what HAProxy compares a password with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from ansible.errors import AnsibleFilterError

try:
    import bcrypt
except ImportError as error:
    IMPORT_ERROR: ImportError | None = error
else:
    IMPORT_ERROR = None

# HAProxy computes the hash anew with each request, in the loop that serves MLflow as well: the least there is, 1 ms.
_COST = 4
# Of a bcrypt salt's 22 characters, the last one has two bits only.
_SALT = 21


def bcrypt_hash(password: str, name: str) -> str:
    """Return the hash of a password of at most 72 bytes, salted with what it is for."""
    if IMPORT_ERROR:
        raise AnsibleFilterError(
            "bcrypt_hash needs the Python package 'bcrypt' on the controller, which comes with paramiko; "
            "bin/setup installs it"
        )
    salt = f"$2b${_COST:02}${hashlib.sha256(name.encode()).hexdigest()[:_SALT]}."
    hashed: bytes = bcrypt.hashpw(password.encode(), salt.encode())
    return hashed.decode()


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"bcrypt_hash": bcrypt_hash}
