"""A secret of a stack, replaced: what changes, and what everything goes back to."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.secrets import (
    SecretRotation,
    digest,
    exchanged,
)

_ENVIRONMENT = f"""MLFLOW_ARTIFACT_URI='sftp://old@host/old'
MLFLOW_BACKEND_STORE_URI='postgresql+psycopg://mlflow:old@postgres:5432/mlflow'
POSTGRES_PASSWORD_DIGEST='{digest("old")}'
JUPYTER_TOKEN='old'
"""


def test_only_the_token_changes() -> None:
    assert exchanged(_ENVIRONMENT, "notebook_token", "old", "new") == _ENVIRONMENT.replace(
        "JUPYTER_TOKEN='old'", "JUPYTER_TOKEN='new'"
    )


def test_only_the_password_changes() -> None:
    after = exchanged(_ENVIRONMENT, "database_password", "old", "new")
    assert "mlflow:new@postgres:5432" in after
    assert f"POSTGRES_PASSWORD_DIGEST='{digest('new')}'" in after
    assert after.count("old") == 3


@pytest.mark.parametrize("name", ["notebook_token", "database_password"])
def test_another_secret_than_the_file_has(name: str) -> None:
    with pytest.raises(CutoverError, match=r"site\.yml"):
        exchanged(_ENVIRONMENT, name, "other", "new")


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="gives files to their owner")


class FakeStack:
    """A stack whose services start at once, or not; the one that was started knows what `.env` said then."""

    def __init__(self, directory: Path) -> None:
        (directory / ".secrets").mkdir()
        (directory / ".secrets/postgres_password").write_text("old")
        (directory / ".env").write_text(_ENVIRONMENT)
        self.settings = SimpleNamespace(directory=directory, wait_timeout=180)
        self.project = SimpleNamespace(name="mlflow", services=("mlflow", "postgres"))
        self.compose = SimpleNamespace(run=self.run)
        self.accepts = "old"
        self.failures = 0
        self.calls: list[str] = []

    def run(self, *arguments: str) -> None:
        self.calls.append(f"{arguments[0]} {arguments[-1]}")
        if self.failures:
            self.failures -= 1
            raise CutoverError(f"{arguments[-1]} does not start")
        text = (self.settings.directory / ".env").read_text()
        self.accepts = text.partition("://mlflow:")[2].partition("@")[0]

    @contextlib.contextmanager
    def requests_waiting(self) -> Iterator[None]:
        self.calls.append("requests wait")
        yield
        self.calls.append("requests pass")

    def state(self) -> tuple[str, str, bool]:
        """What the file holds, what is accepted, and whether the rotation has left anything."""
        secrets = self.settings.directory / ".secrets"
        return (secrets / "postgres_password").read_text(), self.accepts, (secrets / "rotation").exists()


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeStack:
    found = FakeStack(tmp_path)

    def tried(_: SecretRotation, secrets: Mapping[str, str]) -> dict[str, bool]:
        return {name: secret == found.accepts for name, secret in secrets.items()}

    monkeypatch.setattr(SecretRotation, "_try", tried)
    module = "ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.secrets.docker"
    monkeypatch.setattr(f"{module}.complaining", lambda *_: contextlib.nullcontext())
    return found


def rotation(stack: Any) -> SecretRotation:
    return SecretRotation(stack, "database_password")


@needs_root
def test_a_new_secret_is_in_use_and_the_old_one_forgotten(stack: FakeStack) -> None:
    rotation(stack).require_possible()
    rotation(stack).rotate()
    file, accepted, left = stack.state()
    assert file == accepted != "old"
    assert len(file) == 40
    assert not left
    # Nobody loses a transaction: the server ends before its database does, and nobody comes in meanwhile.
    assert stack.calls == ["requests wait", "stop mlflow", "up postgres", "up mlflow", "requests pass"]


@needs_root
def test_services_that_do_not_start_get_the_old_secret_again(stack: FakeStack) -> None:
    stack.failures = 1
    with pytest.raises(
        CutoverError, match=r"does not start.*\| The database's password is the old one again"
    ):
        rotation(stack).rotate()
    assert stack.state() == ("old", "old", False)
    assert (stack.settings.directory / ".env").read_text() == _ENVIRONMENT


@needs_root
def test_where_going_back_fails_as_well_the_next_run_goes_on(stack: FakeStack) -> None:
    stack.failures = 2
    with pytest.raises(CutoverError, match=r"does not start.*failed as well"):
        rotation(stack).rotate()
    rotation(stack).require_possible()
    rotation(stack).rotate()
    file, accepted, left = stack.state()
    assert file == accepted != "old"
    assert not left


@needs_root
@pytest.mark.parametrize("in_use", ["present", "before", "neither"])
def test_what_an_earlier_rotation_has_left_aside(stack: FakeStack, in_use: str) -> None:
    """It was interrupted before the services had the present secret, or site.yml has brought that to them since."""
    place = stack.settings.directory / ".secrets/rotation"
    place.mkdir()
    (place / "postgres_password.before").write_text("earlier")
    stack.accepts = {"present": "old", "before": "earlier", "neither": "another"}[in_use]
    rotation(stack).require_possible()
    rotation(stack).rotate()
    file, accepted, left = stack.state()
    assert file == accepted
    assert (file != "old") is (in_use == "present")
    assert not left


@needs_root
def test_an_old_secret_that_is_still_accepted_is_no_success(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SecretRotation, "_try", lambda _, secrets: dict.fromkeys(secrets, True))
    with pytest.raises(CutoverError, match="still accepted"):
        rotation(stack).rotate()
    assert stack.state() == ("old", "old", False)


def test_what_there_is_nothing_of_is_refused(stack: FakeStack) -> None:
    with pytest.raises(RefusedError, match="no service notebook"):
        SecretRotation(stack, "notebook_token").require_possible()  # type: ignore[arg-type]
    stack.accepts = "another"
    with pytest.raises(RefusedError, match=r"is refused.*Nothing was changed.*site\.yml"):
        rotation(stack).require_possible()
