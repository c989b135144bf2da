# SPDX-License-Identifier: Apache-2.0
"""What the Docker host tells of the stack: its backups, its cutovers, and when certificates end. Unknown is None."""

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# In which MLflow is closed, or about to open, and the way may still be back.
UNFINISHED = ("cutting", "opening", "undoing")
# Seconds after which a cutover that has not ended is one that was interrupted. Until then, MLflow may be closed.
CUTOVER_SECONDS = 3600.0
# No chain of certificates is longer, and what is longer is none.
_MOST_BYTES = 1 << 20
_PEM = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True)
class Status:
    """What is known of a stack beside what the checks find.

    Attributes:
        backup_at: When the last good backup ended, in seconds since 1970; None where there was none.
        backup_error: Why a backup failed since; empty where none did.
        cutover: Kind of the last cutover, as `switch`; empty where none is known.
        cutover_state: Its state.
        cutover_changed: When it got that state, in seconds since 1970.
        expiries: When a certificate ends, in seconds since 1970, by its file's name; infinity where it never does.
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

    def is_closed(self, now: float) -> bool:
        """Whether a cutover has closed MLflow, as far as is known."""
        unfinished = self.unfinished_for(now)
        return unfinished is not None and unfinished < CUTOVER_SECONDS


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
    """Return when a certificate ends, in seconds since 1970.

    Of several in a file, the one that ends first counts, as it does for clients. Infinity is for one that never ends,
    None for a file that is not there, only half written, or no certificate.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        content = _content(path)
        if _PEM in content:
            chain = x509.load_pem_x509_certificates(content)
            return min(each.not_valid_after_utc.timestamp() for each in chain)
        # The comment is no part of it.
        found = serialization.load_ssh_public_identity(b" ".join(content.split()[:2]))
    except (OSError, ValueError, UnsupportedAlgorithm):
        return None
    if not isinstance(found, serialization.SSHCertificate):
        return None
    return math.inf if found.valid_before >= 2**63 else float(found.valid_before)


def _content(path: Path) -> bytes:
    """Read a file; raises OSError, also where it is none, so that nothing is waited for, or far too long."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(f"{path} is too long")
    return content


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
