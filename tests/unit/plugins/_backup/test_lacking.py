"""Which artifacts of a snapshot a store lacks, and what restic is told to bring back."""

import json

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.lacking import (
    batches,
    lacking,
    listed,
    patterns,
)

FILES = {"1/a/x.txt": 1, "1/a/y.txt": 2, "1/b/x.txt": 3, "2/c/deep/z.txt": 4}


def test_the_files_of_an_entry_are_listed() -> None:
    nodes = [
        {"struct_type": "snapshot", "paths": ["/backup"]},
        {"type": "dir", "path": "/backup/artifacts/1"},
        {"type": "file", "path": "/backup/artifacts/1/a b.txt", "size": 7},
        {"type": "file", "path": "/backup/artifacts/1/empty"},
        {"type": "file", "path": "/backup/database/mlflow.db", "size": 9},
        {"type": "symlink", "path": "/backup/artifacts/link"},
    ]
    answer = "\n".join(map(json.dumps, nodes))
    assert listed(answer, "artifacts") == {"1/a b.txt": 7, "1/empty": 0}
    assert listed(answer, "database") == {"mlflow.db": 9}
    assert listed("", "artifacts") == {}


@pytest.mark.parametrize(
    ("present", "missing", "included"),
    [
        (FILES, [], []),
        ([*FILES, "3/new.txt"], [], []),
        (set(FILES) - {"1/a/x.txt"}, ["1/a/x.txt"], ["1/a/x.txt"]),
        # All of a directory, and of what is above it.
        (set(FILES) - {"1/a/x.txt", "1/a/y.txt"}, ["1/a/x.txt", "1/a/y.txt"], ["1/a"]),
        (set(FILES) - {"2/c/deep/z.txt"}, ["2/c/deep/z.txt"], ["2"]),
        ([], list(FILES), ["1", "2"]),
        # Something else that lies there now is none of the snapshot's.
        (["2/c/deep/new.txt", *list(FILES)[:3]], ["2/c/deep/z.txt"], ["2"]),
    ],
)
def test_what_is_brought_back(present: list[str], missing: list[str], included: list[str]) -> None:
    found = lacking(FILES, present)
    assert sorted(found) == sorted(missing)
    assert found == {path: FILES[path] for path in missing}
    assert patterns(found, FILES, "artifacts") == [f"/backup/artifacts/{each}" for each in included]


def test_names_are_no_patterns() -> None:
    files = {"1/[a]*?.txt": 1, "1/b\\c.txt": 1, "1/kept": 1}
    missing = lacking(files, ["1/kept"])
    assert patterns(missing, files, "account") == [
        r"/backup/account/1/\[a]\*\?.txt",
        r"/backup/account/1/b\\c.txt",
    ]


def test_a_command_takes_so_many() -> None:
    found = list(batches([str(number) for number in range(1001)]))
    assert [len(each) for each in found] == [500, 500, 1]
    assert list(batches([])) == []
