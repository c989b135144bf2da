"""How far a copy is, estimated from files and bytes."""

import pytest

from mlflow_sftp.operations.copy import Progress


@pytest.mark.parametrize(
    ("done", "totals", "share"),
    [
        ((0, 0), (0, 0), 1.0),
        ((0, 0), (3, 0), 0.0),
        ((1, 0), (2, 0), 0.5),
        ((2, 500), (2, 500), 1.0),
        # A file that grew while it was copied.
        ((1, 900), (1, 500), 1.0),
    ],
)
def test_share(done: tuple[int, int], totals: tuple[int, int], share: float) -> None:
    assert Progress(*done, *totals).share == share


def test_one_large_file_is_estimated_before_it_is_done() -> None:
    halfway = Progress(files=0, bytes=1 << 39, total_files=1, total_bytes=1 << 40)
    assert halfway.share == pytest.approx(0.5)
    assert halfway.seconds_left is not None


def test_many_small_files_are_estimated_by_their_number() -> None:
    assert Progress(500, 500, 1000, 1000 + (1 << 20)).share == pytest.approx(0.5, abs=0.02)
