# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the variables of the stack's monitor. Addresses may hold secrets: none is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

_ADDRESSES = {
    "mlflow_stack_alert_url": (("http", "https"), "https://host/path"),
    "mlflow_stack_alert_smtp_url": (("smtp", "smtps"), "smtp://user:password@host:port"),
}


def monitor_problems(values: Mapping[str, Any], is_on: bool) -> Iterator[str]:
    """Return a sentence for each value that the monitor cannot use.

    Args:
        values: The variables, each of its own type.
        is_on: Whether there is a monitor.
    """
    interval = int(values.get("mlflow_stack_monitor_interval", 5))
    if interval < 1:
        yield f"mlflow_stack_monitor_interval is {interval}; expected a number of minutes, 1 or more."
    for name, unit in {"backup_hours": "hours", "expiry_days": "days"}.items():
        number = int(values.get(f"mlflow_stack_monitor_{name}", 0))
        if number < 0:
            yield f"mlflow_stack_monitor_{name} is {number}; expected a number of {unit}, or 0 for never."
    for name, (schemes, example) in _ADDRESSES.items():
        if not _is_address(str(values.get(name) or ""), schemes):
            yield f"{name} is no address of the form {example}."
    yield from _mail(values)
    if is_on and "monitor" not in (values.get("mlflow_stack_memory_limits") or {"monitor": ""}):
        yield "mlflow_stack_memory_limits has no entry for monitor; add one, such as 512m."


def _mail(values: Mapping[str, Any]) -> Iterator[str]:
    names = ("mlflow_stack_alert_smtp_url", "mlflow_stack_alert_mail_from", "mlflow_stack_alert_mail_to")
    missing = [name for name in names if not values.get(name)]
    if 0 < len(missing) < len(names):
        yield f"Mail needs all of {', '.join(names)}; {' and '.join(missing)} is empty."


def _is_address(text: str, schemes: tuple[str, ...]) -> bool:
    if not text:
        return True
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
