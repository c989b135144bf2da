# SPDX-License-Identifier: GPL-3.0-or-later
"""Words for true and false, as Ansible takes them."""

from __future__ import annotations

TRUE = ("true", "yes", "on", "y", "t", "1", "1.0")
FALSE = ("false", "no", "off", "n", "f", "0", "0.0")


def is_true(value: object) -> bool:
    """Whether a value means true."""
    return str(value).lower() in TRUE
