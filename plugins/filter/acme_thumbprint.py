# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the thumbprint of an ACME account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.thumbprint import (
    elliptic_thumbprint,
)


def acme_thumbprint(public_data: Mapping[str, Any]) -> str:
    """Return the thumbprint of a key, of which the public numbers are given: curve, x and y."""
    try:
        return elliptic_thumbprint(*(public_data[name] for name in ("curve", "x", "y")))
    except KeyError as error:
        raise AnsibleFilterError(
            f"acme_thumbprint: the key has no {error}; expected an elliptic one"
        ) from None
    except ValueError as error:
        raise AnsibleFilterError(f"acme_thumbprint: {error}") from None


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"acme_thumbprint": acme_thumbprint}
