# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading OpenSSH known_hosts files: hashed names, patterns, @revoked and @cert-authority."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import (
    PublicKey,
    is_public_key,
)


@dataclass(frozen=True)
class KnownKey:
    """One line of a known_hosts file that applies to a host.

    Attributes:
        key: The public key.
        marker: ``""``, ``"@revoked"`` or ``"@cert-authority"``.
        source: ``file:line``, for messages.
    """

    key: PublicKey
    marker: str
    source: str


def read_known_hosts(files: Sequence[str], name: str) -> list[KnownKey]:
    """Return the lines of the files that apply to `name` (bare, or ``[host]:port``).

    Raises:
        DiagnosedError: known_hosts_unreadable, when not one of the files can be read.
    """
    found: list[KnownKey] = []
    problems: list[str] = []
    for file in files:
        try:
            text = Path(file).expanduser().read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            problems.append(f"{file}: {error.strerror}")
            continue
        found.extend(_matching_lines(text, name, file))
    if len(problems) == len(files):
        raise DiagnosedError("known_hosts_unreadable", "; ".join(problems))
    return found


def _matching_lines(text: str, name: str, file: str) -> list[KnownKey]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or fields[0].startswith("#"):
            continue
        # ssh skips a line that holds no key, and so do we: the others count.
        if not is_public_key(fields[2]):
            continue
        # As OpenSSH does: an authority may also be listed for the name without the port.
        names = [name, _without_port(name)] if marker == "@cert-authority" else [name]
        if not any(_name_matches(fields[0], candidate) for candidate in names):
            continue
        found.append(KnownKey(PublicKey(fields[1], fields[2]), marker, f"{file}:{number}"))
    return found


def _without_port(name: str) -> str:
    return re.sub(r"^\[(.*)\]:\d+$", r"\1", name)


def _name_matches(patterns: str, name: str) -> bool:
    if patterns.startswith("|1|"):
        return _hashed_name_matches(patterns, name)
    matched = False
    for pattern in patterns.split(","):
        if _pattern_matches(pattern.removeprefix("!"), name):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched


def _hashed_name_matches(hashed: str, name: str) -> bool:
    _, _, salt, digest = hashed.split("|", 3)
    try:
        expected = base64.b64decode(digest)
        actual = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
    except binascii.Error:
        return False
    return hmac.compare_digest(expected, actual)


def _pattern_matches(pattern: str, name: str) -> bool:
    regex = re.escape(pattern.lower()).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(regex, name.lower()) is not None
