# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: an amount of space as `mlflow-sftp monitor` takes it."""

from __future__ import annotations

from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.amounts import (
    EXPECTED,
    parse_amount,
)


def space_amount(text: str | int | float) -> str:
    """Return a percentage as ``10%``, or a number of bytes, of an amount as an inventory gives it."""
    meant = parse_amount(str(text))
    if meant is None:
        raise AnsibleFilterError(f"space_amount: '{text}' is no amount; {EXPECTED}")
    count, fraction = meant
    return f"{fraction * 100:.10g}%" if fraction else str(count)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[[str | int | float], str]]:
        return {"space_amount": space_amount}
