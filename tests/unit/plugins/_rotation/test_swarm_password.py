"""Another password for a swarm's database: what lies aside, what the files hold, and what is gone back to."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation import swarm_password
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.secrets import digest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.passfile import apart

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="gives files to their owner")

DATABASE = apart("postgresql+psycopg://mlflow:old@postgres:5432/mlflow").uri


class FakeServed:
    """Services that take what they are given, or not."""

    def __init__(self, fails: str = "") -> None:
        self.given: list[tuple[str, str]] = []
        self.fails = fails

    def give(self, part: str, environment: dict[str, str] | None = None) -> bool:
        self.given.append((part, (environment or {}).get("MLFLOW_BACKEND_STORE_URI", "")))
        if part == self.fails:
            raise CutoverError("the swarm did not keep it")
        return True

    def require_quiet(self, parts: list[str], asked: list[str]) -> None:
        assert parts == ["postgres", "mlflow"]

    def prune(self) -> list[str]:
        return []


class Rotation(swarm_password.PasswordRotation):
    """One on files of a test, where the database lets in what is said."""

    def __init__(self, directory: Path, accepts: set[tuple[str, str]], fails: str = "") -> None:
        project = SimpleNamespace(on_swarm=True, name="mlflow", services=("gateway", "mlflow", "postgres"))
        settings = SimpleNamespace(directory=directory)
        stack: Any = SimpleNamespace(project=project, settings=settings, database=DATABASE)
        super().__init__(stack)
        self.served = FakeServed(fails)
        self._served: Any = self.served
        self.accepts = accepts

    def _accepted(self, *tried: tuple[str, str]) -> list[bool]:
        return [each in self.accepts for each in tried]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".secrets").mkdir()
    (tmp_path / ".secrets/postgres_password").write_text("old")
    (tmp_path / ".secrets/pgpass").write_text("*:*:*:*:old\n")
    (tmp_path / ".env").write_text(f"POSTGRES_PASSWORD_DIGEST='{digest('old')}'\n")
    return tmp_path


def held(home: Path) -> tuple[str, str, bool]:
    password = (home / ".secrets/postgres_password").read_text()
    return password, (home / ".secrets/pgpass").read_text(), digest(password) in (home / ".env").read_text()


def following(home: Path) -> str:
    return (home / ".secrets/rotation/postgres_password.next").read_text()


def test_what_was_begun_goes_on_with_the_same_password(home: Path) -> None:
    rotation = Rotation(home, {("mlflow", "old")})
    rotation.require_possible([])
    first = rotation.begin()
    assert f"LOGIN PASSWORD '{following(home)}'" in first
    assert Rotation(home, set()).begin() == first
    assert held(home) == ("old", "*:*:*:*:old\n", True)


def test_a_password_that_is_not_the_databases_is_refused(home: Path) -> None:
    with pytest.raises(RefusedError, match="is refused by the database"):
        Rotation(home, set()).require_possible([])


def test_servers_go_over_to_the_second_role_and_back(home: Path) -> None:
    rotation = Rotation(home, {("mlflow", "old")})
    rotation.begin()
    new = following(home)
    rotation.accepts.add(("mlflow_rotation", new))
    rotation.bridge()
    # As site.yml would write them.
    assert held(home) == (new, apart(f"postgresql://mlflow:{new}@postgres/mlflow").passfile, True)
    rotation.accepts ^= {("mlflow", "old"), ("mlflow", new)}
    rotation.replace()
    second = DATABASE.replace("mlflow@", "mlflow_rotation@")
    assert rotation.served.given == [("mlflow", second), ("postgres", ""), ("mlflow", DATABASE)]
    rotation.finish()
    assert not (home / ".secrets/rotation").exists()


def test_without_the_second_role_nothing_is_given(home: Path) -> None:
    rotation = Rotation(home, {("mlflow", "old")})
    rotation.begin()
    with pytest.raises(CutoverError, match=r"Run site\.yml"):
        rotation.bridge()
    assert rotation.served.given == []
    assert held(home)[0] == "old"


def test_servers_that_do_not_go_over_leave_the_old_password(home: Path) -> None:
    rotation = Rotation(home, {("mlflow", "old")}, fails="mlflow")
    rotation.begin()
    rotation.accepts.add(("mlflow_rotation", following(home)))
    with pytest.raises(CutoverError, match="did not keep it"):
        rotation.bridge()
    assert held(home) == ("old", "*:*:*:*:old\n", True)
    assert rotation.interrupted


def test_a_database_that_keeps_the_old_password_is_no_success(home: Path) -> None:
    rotation = Rotation(home, {("mlflow", "old")})
    rotation.begin()
    rotation.accepts.add(("mlflow_rotation", following(home)))
    rotation.bridge()
    with pytest.raises(CutoverError, match="does not have the new password"):
        rotation.replace()
    # Servers go on as the second role.
    assert [part for part, _ in rotation.served.given] == ["mlflow", "postgres"]
