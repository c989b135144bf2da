# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rotation of the SSH key does next, from the keys that there are.

The old and the new key are kept aside from the beginning to the end. Which of both the services have tells how far the
rotation is, so that one that was interrupted anywhere goes on, and both log in until the new one has proved itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import PublicKey

# Nothing was begun; the services have the old key; they have the new one; the old one is forgotten but for its files.
BEGIN, AUTHORIZE, RETIRE, FORGET = "begin", "authorize", "retire", "forget"


@dataclass(frozen=True)
class Keys:
    """The public halves of the keys on a Docker host; None for a key that is not there.

    Attributes:
        current: The key of the services.
        before: The key that a rotation takes from them.
        following: The key that a rotation gives them.
    """

    current: PublicKey | None
    before: PublicKey | None = None
    following: PublicKey | None = None


@dataclass(frozen=True)
class Decision:
    """What a rotation does next.

    Attributes:
        phase: `BEGIN`, `AUTHORIZE`, `RETIRE` or `FORGET`.
        old: The key that will be refused.
        new: The key that takes its place; None for one that is yet to be generated.
        hindrance: Why this cannot begin, where no other Docker host has begun it; empty where it can.
    """

    phase: str
    old: PublicKey
    new: PublicKey | None
    hindrance: str = ""

    def __str__(self) -> str:
        new = self.new.fingerprint if self.new else "a new one"
        if self.phase == BEGIN:
            return f"The SSH key {self.old.fingerprint} is to be replaced by {new}."
        if self.phase == FORGET:
            return f"The rotation to the SSH key {new} is complete but for what it put aside."
        has = "have the new key" if self.phase == RETIRE else "still have the old key"
        return (
            f"The rotation from the SSH key {self.old.fingerprint} to {new} has begun and goes on; "
            f"the services {has}."
        )


# In which phases a step is made, and in which it has been made already. In any other one, somebody else has gone on.
_STEPS = {
    "begun": ((BEGIN,), (AUTHORIZE,)),
    "installed": ((AUTHORIZE,), (RETIRE,)),
    "restored": ((RETIRE,), (AUTHORIZE,)),
    "proved": ((RETIRE,), ()),
    "finished": ((RETIRE, FORGET), ()),
}
# What a run may take over from one that was interrupted. Everything else is left to the run that has begun it.
_TAKEN_OVER = {("begun", BEGIN), ("begun", AUTHORIZE), ("installed", RETIRE), ("finished", FORGET)}


def is_due(step: str, phase: str, run: str, claimed_by: str) -> bool:
    """Tell whether a step of a rotation is yet to be made.

    Args:
        step: The state that is asked for, a key of `_STEPS`.
        phase: How far the rotation is.
        run: The run of the playbook that asks.
        claimed_by: The run that made the steps before.

    Raises:
        CutoverError: Another run has taken the rotation over, or has gone on with it.
    """
    due, done = _STEPS[step]
    if phase not in due + done or (run != claimed_by and (step, phase) not in _TAKEN_OVER):
        raise CutoverError(
            f"Another run works on this rotation of the SSH key: {step} does not fit, it is at {phase}. "
            "This run changes nothing more",
            "Wait until the other run has ended, and run this playbook again",
        )
    return phase in due


def decide(keys: Keys, given: PublicKey | None, *, generates: bool, place: str, source: str = "") -> Decision:
    """Decide what a rotation of the SSH key does next.

    Args:
        keys: What there is on the Docker host.
        given: The key to rotate to, where the user brings one.
        generates: Whether one may be generated otherwise.
        place: The directory of `keys.before` and `keys.following`, for messages.
        source: Where the given key comes from, a file on the controller, for messages.

    Raises:
        RefusedError: Nothing can be done, with every reason.
    """
    if keys.current is None:
        raise RefusedError(
            "This stack has no key of an SFTP account. Nothing was changed", "Run site.yml first"
        )
    if keys.following is None:
        return Decision(BEGIN, keys.current, given, _hindrance(keys.current, given, generates, source))
    if keys.before is None and keys.current == keys.following:
        return Decision(FORGET, keys.following, keys.following)
    return _resume(keys.current, keys.before or keys.current, keys.following, _Given(given, source), place)


@dataclass(frozen=True)
class _Given:
    key: PublicKey | None
    source: str

    def __str__(self) -> str:
        named = self.key.fingerprint if self.key else ""
        return f"{named} of {self.source}" if self.source else named

    def remedy(self, otherwise: str) -> str:
        """Also for a file that an earlier rotation has left behind, of which nobody thinks."""
        left = f", or remove {self.source} if it is not meant" if self.source else ""
        return f"{otherwise}{left}"


def _hindrance(current: PublicKey, given: PublicKey | None, generates: bool, source: str) -> str:
    try:
        _require_usable(current, _Given(given, source), generates)
    except RefusedError as error:
        return str(error)
    return ""


def _require_usable(current: PublicKey, new: _Given, generates: bool) -> None:
    given = new.key
    if given is None and not generates:
        raise RefusedError(
            "The inventory brings the private key as a text, so a new one has to be brought as well. "
            "Nothing was changed",
            "Make one with `ssh-keygen -t ed25519 -N '' -f NEW` and name its file: -e rotate_private_key_file=NEW",
        )
    if given is None:
        return
    if given == current:
        raise RefusedError(
            f"The new key {new} is the one that is in use. Nothing was changed",
            new.remedy("Make another one with `ssh-keygen -t ed25519 -N '' -f NEW`"),
        )
    if given.type != current.type:
        raise RefusedError(
            f"The new key {new} is of type {given.type}, the one in use of type {current.type}. Nothing was changed",
            new.remedy(f"Bring one of type {current.type} (site.yml changes the type)"),
        )


def _resume(
    current: PublicKey, before: PublicKey, following: PublicKey, given: _Given, place: str
) -> Decision:
    begun = f"A rotation from the key {before.fingerprint} to {following.fingerprint} is half done"
    if given.key not in (None, following):
        raise RefusedError(
            f"{begun}, and the key given is {given}. Nothing was changed",
            given.remedy("Finish it first: leave rotate_private_key_file out"),
        )
    if current == following:
        return Decision(RETIRE, before, following)
    if current == before:
        return Decision(AUTHORIZE, before, following)
    raise RefusedError(
        f"{begun}, and the services have neither of both, but {current.fingerprint}. Nothing was changed",
        f"Remove {place} to begin a new rotation; the first two keys may still be authorized",
    )
