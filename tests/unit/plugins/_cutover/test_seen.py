"""What a swarm's servers see of the files of the stack's home, and of those of a cutover."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import seen
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError

KEYS = ".secrets/mlflow_sftp_key"


def made(directory: Path, **files: str) -> Path:
    """A directory with files, the name's `__` for a slash."""
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("KEYS", KEYS)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


@pytest.fixture
def stack(tmp_path: Path) -> Any:
    home = made(tmp_path / "stack", mlflow__ssh_config="old", KEYS__id_rsa="old", mlflow__gone="old")
    made(home / ".secrets", pgpass="password", postgres_password="password")
    settings = SimpleNamespace(directory=home, config_dir="/etc/c", key_dir="/run/k", uid=10001, gid=10002)
    return SimpleNamespace(settings=settings, project=SimpleNamespace(name="mlflow"))


def told(stack: Any, part: str = "mlflow", following: Path | None = None) -> dict[str, tuple[str, str]]:
    """Name without its digest, and what is in the file, by where a service sees it."""
    return {
        each.filename: (each.name.rpartition("_")[0], Path(each.path).read_text())
        for each in seen.objects_of_part(stack, part, following)
    }


def test_servers_see_the_stacks_own_files(stack: Any) -> None:
    assert told(stack) == {
        "/etc/c/ssh_config": ("mlflow_ssh_config", "old"),
        "/etc/c/gone": ("mlflow_gone", "old"),
        "/run/k/id_rsa": ("mlflow_id_rsa", "old"),
        "/run/secrets/pgpass": ("mlflow_pgpass", "password"),
    }
    assert told(stack, "postgres") == {
        "/run/secrets/postgres_password": ("mlflow_postgres_password", "password")
    }


def test_the_credentials_of_a_cutover_take_the_place_of_the_stacks(stack: Any, tmp_path: Path) -> None:
    following = made(tmp_path / "next", mlflow__ssh_config="new", KEYS__id_ed25519="new")
    assert told(stack, following=following) == {
        "/etc/c/ssh_config": ("mlflow_ssh_config", "new"),
        "/run/k/id_ed25519": ("mlflow_id_ed25519", "new"),
        "/run/secrets/pgpass": ("mlflow_pgpass", "password"),
    }
    before, after = seen.objects_of_part(stack, "mlflow"), seen.objects_of_part(stack, "mlflow", following)
    # Its digest is keyed with the account's key, as the role's is that deploys next.
    (old,), (new,) = [[each.name for each in found if "pgpass" in each.name] for found in (before, after)]
    assert old != new
    # What is the same has the same name.
    same = made(tmp_path / "same", mlflow__ssh_config="old", KEYS__id_rsa="old", mlflow__gone="old")
    assert [each.name for each in seen.objects_of_part(stack, "mlflow", same)] == [
        each.name for each in before
    ]


def test_only_what_there_is_not_is_made(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = seen.objects_of_part(stack, "mlflow")
    there = objects[0].name
    asked: list[tuple[str, ...]] = []

    def run(*arguments: str) -> str:
        asked.append(arguments)
        if arguments[1] == "ls":
            return f"{there} id-{there}\n" if arguments[0] == objects[0].kind else ""
        return f"id-{arguments[-2]}\n"

    monkeypatch.setattr(seen.docker, "run", run)
    ids = seen.provide(stack, objects)
    assert ids == {each.name: f"id-{each.name}" for each in objects}
    created = [(each[0], *each[-2:]) for each in asked if each[1] == "create"]
    assert created == [(each.kind, each.name, each.path) for each in objects[1:]]
    owner = f"label=freegee.mlflow_sftp.owner={stack.settings.directory}"
    assert all(owner in " ".join(each) for each in asked)

    def refuse(*arguments: str) -> str:
        if arguments[1] == "create":
            raise CutoverError("no quorum")
        return ""

    monkeypatch.setattr(seen.docker, "run", refuse)
    with pytest.raises(CutoverError, match="no quorum"):
        seen.provide(stack, objects)
