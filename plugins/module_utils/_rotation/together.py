# SPDX-License-Identifier: GPL-3.0-or-later
"""What each Docker host does in a rotation of SSH keys, where several log in to one account.

A host that was interrupted, or comes new, finds others of the same key further on. It follows them, and no key is
removed from an account that a host goes on using.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.decisions import BEGIN

# A host's services have the key that others rotate to, and nothing is left to do there.
DONE = "done"


@dataclass(frozen=True)
class Part:
    """What one Docker host would do by itself.

    Attributes:
        host: Its name in the inventory.
        account: Where its key logs in, such as ``user@host:port``.
        phase: As in `decisions`, or `DONE`.
        current: Fingerprint of the key of its services.
        old: Fingerprint of the key that it would remove.
        new: Fingerprint of the key that it would use; empty for one that is yet to be generated.
        generates: Whether a new key would be generated on this host, for it alone.
        hindrance: Why it cannot begin; empty where it can.
    """

    host: str
    account: str
    phase: str
    current: str
    old: str
    new: str
    generates: bool = False
    hindrance: str = ""


@dataclass(frozen=True)
class Share:
    """What one Docker host does.

    Attributes:
        phase: As in `decisions`, or `DONE`.
        expected: Whether the account may accept the new key before this host has authorized it.
        findings: A sentence for each reason why nothing can be done.
    """

    phase: str
    expected: bool
    findings: tuple[str, ...] = ()


def shares(parts: Sequence[Part]) -> dict[str, Share]:
    """Return what each host does, by its name."""
    settled = [_settled(part, parts) for part in parts]
    return {part.host: _share(part, settled) for part in settled}


def _settled(part: Part, parts: Sequence[Part]) -> Part:
    """Return a host's part, which is done where another host has begun to rotate to the key that it has."""
    begun = [each for each in _others(part, parts) if each.phase != BEGIN]
    if part.phase == BEGIN and part.current in {each.new for each in begun}:
        return replace(part, phase=DONE, new=part.current, hindrance="")
    return part


def _share(part: Part, parts: Sequence[Part]) -> Share:
    if part.phase == DONE:
        return Share(DONE, expected=True)
    others = _others(part, parts)
    begun_to = {each.new for each in others if each.phase != BEGIN} | {each.current for each in others}
    findings = [f"{part.host}: {part.hindrance}"] if part.hindrance else []
    findings += [found for other in others if (found := _conflict(part, other))]
    return Share(part.phase, expected=bool(part.new) and part.new in begun_to, findings=tuple(findings))


def _conflict(part: Part, other: Part) -> str:
    """Return why one host cannot do its part beside another one; empty where it can."""
    if part.old != part.new and part.old in (other.new, other.current) and other.old != part.old:
        return (
            f"{part.host} would remove the key {part.old}, which {other.host} uses. "
            f"Finish the rotation on {other.host} first, or give {part.host} a key of its own."
        )
    if part.old == other.old and part.new != other.new and not (part.generates or other.generates):
        return (
            f"{part.host} and {other.host} share the key {part.old} and would replace it by different ones, "
            f"{_named(part)} and {_named(other)}. Name the same one for both: -e rotate_private_key_file=FILE."
        )
    return ""


def _named(part: Part) -> str:
    return part.new or "one that is yet to be generated"


def _others(part: Part, parts: Sequence[Part]) -> list[Part]:
    return [each for each in parts if each.account == part.account and each.host != part.host]
