# SPDX-License-Identifier: GPL-3.0-or-later
"""Which HAProxy can be a stack's gateway: earlier ones break off uploads that begin while MLflow is closed."""

from __future__ import annotations

import re

LEAST = (3, 0)
# What Debian's releases have, of those whose HAProxy is too old.
_RELEASES = {"buster": "1.8", "bullseye": "2.2", "bookworm": "2.6"}
# Until 2.3, with a hyphen.
_VERSION = re.compile(r"^HA-?Proxy version ((\d+)\.(\d+)\S*)", re.MULTILINE)
_NEED = f"a gateway needs {'.'.join(map(str, LEAST))} or newer"


def release_problem(suite: str) -> str:
    """Return why the HAProxy of a Debian release cannot be a gateway; empty where it can, or nobody knows."""
    version = _RELEASES.get(suite)
    return f"its HAProxy is {version}, and {_NEED}" if version else ""


def version_of(said: str) -> str:
    """Return the version that ``haproxy -v`` has told; empty where it told none."""
    found = _VERSION.search(said)
    return found[1] if found else ""


def version_problem(said: str) -> str:
    """Return why what has told this by ``haproxy -v`` cannot be a gateway; empty where it can."""
    found = _VERSION.search(said)
    if not found:
        return f"it tells of no HAProxy, and {_NEED}"
    if (int(found[2]), int(found[3])) < LEAST:
        return f"its HAProxy is {found[1]}, and {_NEED}"
    return ""
