# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the key that a rotation has put in the place of another one."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.retired import successor


def retired_key_successor(fingerprint: str, record: str) -> str:
    """Return the fingerprint of the key in use in the place of a retired one; empty for a key that is not retired."""
    return successor(str(record), str(fingerprint))


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"retired_key_successor": retired_key_successor}
