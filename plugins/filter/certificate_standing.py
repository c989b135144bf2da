# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: whether a server's certificate can be used, and whether the next has to be ordered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

try:
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.certificate_standing import (
        certificate_standing as standing,
    )
except ImportError as error:
    IMPORT_ERROR: ImportError | None = error
else:
    IMPORT_ERROR = None


def certificate_standing(files: Mapping[str, str], names: Sequence[str]) -> dict[str, Any]:
    """Return loads, serves and due of the pair of files (certificate, key) on the controller."""
    if IMPORT_ERROR:
        raise AnsibleFilterError(
            f"certificate_standing needs the Python package '{IMPORT_ERROR.name}' on the controller; "
            "bin/setup installs it"
        )
    texts = [_text(files[name]) for name in ("certificate", "key")]
    return asdict(standing(*texts, list(names)))


def _text(name: str) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise AnsibleFilterError(f"The controller cannot read {name}: {error.strerror}") from None


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {"certificate_standing": certificate_standing}
