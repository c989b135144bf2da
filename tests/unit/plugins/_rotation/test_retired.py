"""The record of the keys that rotations have retired."""

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.filter.retired_key_successor import retired_key_successor
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.retired import with_retired


@pytest.mark.parametrize(
    ("record", "key", "expected"),
    [
        ("", "A", ""),
        ("A B\n", "A", "B"),
        ("A B\n", "B", ""),
        ("A B\nB C\n", "A", "C"),
        ("A B\nC B\n", "C", "B"),
        # What people have written into it.
        ("# keys\n\nA\nA B C\nD E\n", "D", "E"),
        ("A B\nB A\n", "A", "A"),
    ],
)
def test_successor(record: str, key: str, expected: str) -> None:
    assert retired_key_successor(key, record) == expected


def test_record() -> None:
    record = with_retired(with_retired("", "A", "B"), "B", "C")
    assert record == "A B\nB C\n"
    assert with_retired(record, "B", "C") == record
    # The services have A again.
    back = with_retired(record, "C", "A")
    assert back == "B C\nC A\n"
    assert retired_key_successor("A", back) == ""
    assert retired_key_successor("B", back) == "A"
