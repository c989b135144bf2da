# SPDX-License-Identifier: Apache-2.0
"""Temporary names: what an unfinished transfer is called, and how it is recognised later."""

import hashlib
import re
import secrets

PREFIX, _SUFFIX = ".mlflow-sftp-", ".part"
_TEMPORARY = re.compile(rb"\.mlflow-sftp-[0-9a-f]{16}\.part")


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
