"""What comes back on a host that has no stack, and which hosts and snapshots are refused."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup import restore as restoring
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.decisions import Facts, Owner
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restore import (
    RestoreOptions,
    look,
    restore,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)

FACTS: dict[str, Any] = {
    "project": "mlflow",
    "collection": "1.0.0",
    "mlflow": "3.17.2",
    "schema": ("aaa",),
    "runs": (7, 7),
    "database": "postgresql",
    "storage": "sftp",
    "access": "proxied",
    "uri": "sftp://me@host:22/a",
    "root": "mlflow-artifacts:/",
    "account": False,
    "images": ("sha256:server",),
}
ENTRIES = (".env", ".other_stores.json", ".secrets", "mlflow", "postgres", "switches")


class Repository:
    """A repository with one snapshot of a stack that an engine served; `broken` is why it cannot be restored."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
        self.broken = ""
        snapshot = SimpleNamespace(id="6de574a0" * 8)
        facts = Facts(**FACTS, engine=engine)

        @contextlib.contextmanager
        def opened(*_: object) -> Iterator[Repository]:
            yield self

        monkeypatch.setattr(restoring, "opened", opened)
        monkeypatch.setattr(restoring, "chosen", lambda *_: (snapshot, facts))
        monkeypatch.setattr(docker, "run", self._engine)

    def call(self, *arguments: str, volumes: list[str], **_: object) -> None:
        assert "--include=/backup/stack" in arguments
        if self.broken:
            raise CutoverError(self.broken)
        files = Path(volumes[0].partition(":")[0])
        for name in ENTRIES:
            (files / name).mkdir() if name in ("switches", ".secrets") else (files / name).touch()

    def _engine(self, *arguments: str) -> str:
        """What a node of a swarm has whose home is lost: a server of the stack."""
        assert "rm" not in arguments
        return "mlflow_mlflow.1.x" if arguments[0] == "container" else ""


def options(directory: Path, engine: str = "swarm") -> RestoreOptions:
    access: Any = None
    return RestoreOptions(access, Owner("one", "mlflow"), "", directory, 180, engine)


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Repository:
    return Repository(monkeypatch, "swarm")


def test_files_of_a_swarm_s_home_come_back_without_what_says_that_it_was_deployed(
    repository: Repository, tmp_path: Path
) -> None:
    home = tmp_path / "stack"
    assert "give its database the content of the snapshot" in look(options(home))["lines"][0]
    assert not home.exists()
    done = restore(options(home))
    assert "The database follows once the swarm serves the stack" in done["lines"][0]
    assert {path.name for path in home.iterdir()} == {*ENTRIES, "backup"} - {".env"}
    assert not (home / "backup/restoring").exists()


def test_what_fails_leaves_none_of_them(repository: Repository, tmp_path: Path) -> None:
    repository.broken = "the repository is gone"
    with pytest.raises(CutoverError, match="is gone"):
        restore(options(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]
    repository.broken = ""
    restore(options(tmp_path))


@pytest.mark.parametrize("entry", [".secrets", ".env", "compose.yml"])
def test_a_home_with_a_part_of_the_stack_is_refused(
    entry: str, repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / entry).touch()
    with pytest.raises(RefusedError, match=r"Deploy it \(site\.yml\) and run this playbook again"):
        restore(options(tmp_path))


@pytest.mark.parametrize(("served_by", "wanted"), [("compose", "swarm"), ("swarm", "compose")])
def test_a_stack_comes_back_on_what_served_it(
    served_by: str, wanted: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Repository(monkeypatch, served_by)
    monkeypatch.setattr(docker, "run", lambda *_: "")
    for deed in (look, restore):
        with pytest.raises(RefusedError, match=f"Set mlflow_stack_engine to {served_by}"):
            deed(options(tmp_path, wanted))
    assert list(tmp_path.iterdir()) == []
