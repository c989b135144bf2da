"""What a rotation of the SSH key does next, for every state that an interruption can leave."""

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import PublicKey
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.decisions import (
    AUTHORIZE,
    BEGIN,
    FORGET,
    RETIRE,
    Decision,
    Keys,
    decide,
    is_due,
)

OLD, NEW, THIRD = (PublicKey("ssh-ed25519", blob) for blob in ("b2xkLi4u", "bmV3Li4u", "dGhpcmQu"))
RSA = PublicKey("ssh-rsa", "cnNhLi4u")


def decided(keys: Keys, given: PublicKey | None = None, *, generates: bool = True) -> Decision:
    return decide(keys, given, generates=generates, place="/stack/.secrets/rotation")


@pytest.mark.parametrize(
    ("keys", "given", "expected"),
    [
        (Keys(OLD), None, Decision(BEGIN, OLD, None)),
        (Keys(OLD), NEW, Decision(BEGIN, OLD, NEW)),
        # Interrupted while both were put aside.
        (Keys(OLD, OLD), None, Decision(BEGIN, OLD, None)),
        (Keys(OLD, OLD, NEW), None, Decision(AUTHORIZE, OLD, NEW)),
        (Keys(OLD, OLD, NEW), NEW, Decision(AUTHORIZE, OLD, NEW)),
        (Keys(OLD, None, NEW), None, Decision(AUTHORIZE, OLD, NEW)),
        (Keys(NEW, OLD, NEW), None, Decision(RETIRE, OLD, NEW)),
        (Keys(NEW, OLD, NEW), NEW, Decision(RETIRE, OLD, NEW)),
        (Keys(NEW, None, NEW), None, Decision(FORGET, NEW, NEW)),
    ],
)
def test_phase(keys: Keys, given: PublicKey | None, expected: Decision) -> None:
    assert decided(keys, given) == expected
    assert str(expected)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (OLD, "is the one that is in use"),
        (RSA, "of type ssh-rsa, the one in use of type ssh-ed25519"),
    ],
)
def test_cannot_begin(given: PublicKey, words: str) -> None:
    found = decided(Keys(OLD), given)
    assert found.phase == BEGIN
    assert words in found.hindrance
    assert "Nothing was changed" in found.hindrance


@pytest.mark.parametrize(
    ("keys", "given", "words"),
    [
        (Keys(None), NEW, "no key of an SFTP account"),
        (Keys(OLD, OLD, NEW), THIRD, "is half done, and the key given is"),
        # A run of site.yml with another key came in between.
        (Keys(THIRD, OLD, NEW), None, "Remove /stack/.secrets/rotation"),
    ],
)
def test_refused(keys: Keys, given: PublicKey | None, words: str) -> None:
    with pytest.raises(RefusedError, match="Nothing was changed") as refused:
        decided(keys, given)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("keys", "given"), [(Keys(OLD), OLD), (Keys(OLD), RSA), (Keys(OLD, OLD, NEW), THIRD)]
)
def test_a_key_that_was_left_over_is_named(keys: Keys, given: PublicKey) -> None:
    try:
        said = decide(keys, given, generates=True, place="/place", source="/keys/id.next").hindrance
    except RefusedError as error:
        said = str(error)
    assert f"{given.fingerprint} of /keys/id.next" in said
    assert "or remove /keys/id.next" in said


def test_a_key_that_only_the_user_can_bring() -> None:
    assert "rotate_private_key_file=NEW" in decided(Keys(OLD), generates=False).hindrance
    assert decided(Keys(OLD), NEW, generates=False).hindrance == ""
    assert decided(Keys(OLD, OLD, NEW), generates=False).phase == AUTHORIZE


# With what each step does at each phase: in the run that has begun the rotation, and in another one.
STEPS = {
    "begun": {BEGIN: ("due", "due"), AUTHORIZE: ("made", "made")},
    "installed": {AUTHORIZE: ("due", "refused"), RETIRE: ("made", "made")},
    "restored": {AUTHORIZE: ("made", "refused"), RETIRE: ("due", "refused")},
    "proved": {RETIRE: ("due", "refused")},
    "finished": {RETIRE: ("due", "refused"), FORGET: ("due", "due")},
}


@pytest.mark.parametrize("phase", [BEGIN, AUTHORIZE, RETIRE, FORGET])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("claimed_by", ["this", "other"])
def test_step(step: str, phase: str, claimed_by: str) -> None:
    expected = STEPS[step].get(phase, ("refused", "refused"))[claimed_by == "other"]
    if expected == "refused":
        with pytest.raises(CutoverError, match="Another run works on this rotation"):
            is_due(step, phase, "this", claimed_by)
    else:
        assert is_due(step, phase, "this", claimed_by) is (expected == "due")
