# SPDX-License-Identifier: Apache-2.0
"""What the Docker host tells of the stack: its backups, its cutovers, and when certificates end. Unknown is None."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# In which MLflow is closed, or about to open, and the way may still be back.
UNFINISHED = ("cutting", "opening", "undoing")


@dataclass(frozen=True)
class Status:
    """What is known of a stack beside what the checks find.

    Attributes:
        backup_at: When the last good backup ended, in seconds since 1970; None where there was none.
        backup_error: Why a backup failed since; empty where none did.
        cutover: Kind of the last cutover, as `switch`; empty where none is known.
        cutover_state: Its state.
        cutover_changed: When it got that state, in seconds since 1970.
        expiries: When a certificate ends, in seconds since 1970, by its file's name.
    """

    backup_at: float | None = None
    backup_error: str = ""
    cutover: str = ""
    cutover_state: str = ""
    cutover_changed: float | None = None
    expiries: Mapping[str, float] = field(default_factory=dict)

    def unfinished_for(self, now: float) -> float | None:
        """Seconds for which a cutover has been between before and after; None where none is."""
        if self.cutover_state not in UNFINISHED or self.cutover_changed is None:
            return None
        return max(0.0, now - self.cutover_changed)


def read_status(directory: Path | None, certificates: Iterable[Path]) -> Status:
    """Read what there is: `backup.json` and `cutover.json` of a directory, and certificates of OpenSSH or TLS."""
    backup = _object(directory / "backup.json") if directory else {}
    cutover = _object(directory / "cutover.json") if directory else {}
    return Status(
        backup_at=_number(_part(backup, "last_good").get("finished_seconds")),
        backup_error=str(_part(backup, "failed").get("error", "")),
        cutover=str(cutover.get("kind", "")),
        cutover_state=str(cutover.get("state", "")),
        cutover_changed=_number(cutover.get("changed_seconds")),
        expiries={path.name: end for path in certificates if (end := expiry(path)) is not None},
    )


def expiry(path: Path) -> float | None:
    """Return when a certificate ends, in seconds since 1970; None where it never does, or nobody can tell."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        content = path.read_bytes()
        if content.startswith(b"-----BEGIN CERTIFICATE"):
            return x509.load_pem_x509_certificate(content).not_valid_after_utc.timestamp()
        # The comment is no part of it.
        found = serialization.load_ssh_public_identity(b" ".join(content.split()[:2]))
    except (OSError, ValueError, UnsupportedAlgorithm):
        return None
    end = getattr(found, "valid_before", None)
    return None if end is None or end >= 2**63 else float(end)


def age(moment: float | None, now: float | None = None) -> float | None:
    """Return how many seconds ago something was; None where nobody knows when."""
    return None if moment is None else max(0.0, (time.time() if now is None else now) - moment)


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _part(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = told.get(name)
    return part if isinstance(part, dict) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
