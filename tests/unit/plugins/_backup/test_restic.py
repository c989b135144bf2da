"""What restic is asked, where it has to be asked."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.answers import Snapshot
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.repository import Repository
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restic import Access, Home, Restic


class Answering(Restic):
    """restic that answers as it is told to, and remembers what it was asked."""

    def __init__(self, repository: Path, answer: str, exit_code: int = 0) -> None:
        access = Access(Repository.at(str(repository)), "x", "restic")
        super().__init__(Home("mlflow", repository), access, repository, None)
        self.asked: list[tuple[str, ...]] = []
        self._answer = answer
        self._exit_code = exit_code

    def attempt(
        self, *arguments: str, volumes: Sequence[str] = (), capabilities: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        self.asked.append(arguments)
        return subprocess.CompletedProcess(arguments, self._exit_code, self._answer, "")


@pytest.mark.parametrize(
    ("size", "expected", "commands"),
    # What earlier versions of restic have made does not tell.
    [(5, 5, []), (0, 0, []), (None, 7, ["stats"])],
)
def test_the_size_of_a_snapshot_is_asked_for_where_it_does_not_tell(
    tmp_path: Path, size: int | None, expected: int, commands: list[str]
) -> None:
    restic = Answering(tmp_path, '{"total_size": 7, "total_file_count": 1, "snapshots_count": 1}')
    assert restic.size_of(Snapshot("a", 1, "h", bytes=size)) == expected
    assert [asked[0] for asked in restic.asked] == commands
    assert all("--mode=restore-size" in asked and "a" in asked for asked in restic.asked)


def test_a_repository_has_an_id(tmp_path: Path) -> None:
    config = '{"version": 2, "id": "abcdef", "chunker_polynomial": "3d"}'
    assert Answering(tmp_path, config).repository_id() == "abcdef"
    assert Answering(tmp_path, "", 10).repository_id() == ""
    assert Answering(tmp_path / "not-there", config).repository_id() == ""
