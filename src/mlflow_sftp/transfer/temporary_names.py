# SPDX-License-Identifier: Apache-2.0
"""Temporary names: what an unfinished transfer is called, and how it is recognised later.

An old file that steps aside is not unfinished, and may be the only copy: it has a kind of name of its own, which
tells the name that it had.
"""

import hashlib
import re
import secrets
import time
from typing import NamedTuple

PREFIX, _SUFFIX, _ASIDE = ".mlflow-sftp-", ".part", ".aside"
_TEMPORARY = re.compile(rb"\.mlflow-sftp-[0-9a-f]{16}\.part")
_PUT_ASIDE = re.compile(rb"\.mlflow-sftp-([0-9a-f]{16})\.aside(\.[^/]+)?", re.DOTALL)
_OURS = re.compile(b"|".join((_TEMPORARY.pattern, _PUT_ASIDE.pattern)), re.DOTALL)
_LONGEST_NAME = 255


def temporary() -> str:
    """Return a new name for an unfinished file; its length does not depend on the final name's."""
    return f"{PREFIX}{secrets.token_hex(8)}{_SUFFIX}"


def resumable(*identity: object) -> str:
    """Return the name that an unfinished copy of this very source to this very target always has."""
    digest = hashlib.sha256(repr(identity).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{PREFIX}{digest[:16]}{_SUFFIX}"


def is_temporary(name: bytes) -> bool:
    """Tell whether a name is that of an unfinished transfer."""
    return _TEMPORARY.fullmatch(name) is not None


class Aside(NamedTuple):
    """The name under which an old file stepped aside; `original` is None for a directory that holds it.

    Names given later sort after earlier ones, as far as the clocks of who gave them agree.
    """

    name: bytes
    original: bytes | None

    @property
    def order(self) -> bytes:
        return self.name[len(PREFIX) :][:16]


def aside(original: bytes) -> Aside:
    """Return a new name for a file to step aside, or for a directory to do so where its own name is too long."""
    name = f"{PREFIX}{time.time_ns() >> 16:012x}{secrets.token_hex(2)}{_ASIDE}".encode()
    full = name + b"." + original
    return Aside(full, original) if len(full) <= _LONGEST_NAME else Aside(name, None)


def parse_aside(name: bytes) -> Aside | None:
    """Read such a name; None for any other."""
    match = _PUT_ASIDE.fullmatch(name)
    return match and Aside(name, match[2] and match[2][1:])


def is_hidden(name: bytes) -> bool:
    """Tell whether a name is one of this package's own, which no listing shows."""
    return _OURS.fullmatch(name) is not None
