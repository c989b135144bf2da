"""How a file is written, from what is known of the server and from what failed."""

import pytest

from mlflow_sftp.transfer.durability import judge_fsync, names_the_disk
from mlflow_sftp.transfer.progress import HighWaterMark
from mlflow_sftp.transfer.ways_of_writing import (
    Flight,
    Trait,
    WayOfWriting,
    first_flight,
    may_name_resumable,
    may_resume,
    needs_proof,
    next_flight,
    next_way,
    refused_trait,
    way_of_writing,
)
from mlflow_sftp.wire.packets import StatusError
from mlflow_sftp.wire.server_traits import ServerTraits

_ANY, _IN_ORDER, _SINGLE = WayOfWriting.ANY_ORDER, WayOfWriting.IN_ORDER, WayOfWriting.ONE_BY_ONE


@pytest.mark.parametrize(
    ("traits", "way", "resumes", "named"),
    [
        (ServerTraits(), _ANY, False, True),
        (ServerTraits(opens_twice=True, keeps_contents=True, writes_anywhere=True), _ANY, True, True),
        (ServerTraits(keeps_contents=True, honours_exclusive=False), _ANY, True, False),
        (ServerTraits(keeps_order=False, answers_fstat=False, has_fsync=False), _ANY, False, True),
        (ServerTraits(queues_writes=False), _SINGLE, False, False),
        (ServerTraits(opens_twice=False), _IN_ORDER, False, False),
        (ServerTraits(opens_twice=True, keeps_contents=False), _IN_ORDER, False, False),
        (ServerTraits(keeps_contents=True, writes_anywhere=False), _IN_ORDER, False, False),
        (ServerTraits(writes_anywhere=False, queues_writes=True), _IN_ORDER, False, False),
        (ServerTraits(writes_anywhere=False, queues_writes=False), _SINGLE, False, False),
    ],
)
def test_the_way_of_writing_follows_from_what_is_known(
    traits: ServerTraits, way: WayOfWriting, resumes: bool, named: bool
) -> None:
    assert (way_of_writing(traits), may_resume(traits), may_name_resumable(traits)) == (way, resumes, named)


@pytest.mark.parametrize(
    ("way", "trait", "following"),
    [
        (_ANY, "opens_twice", _IN_ORDER),
        (_ANY, "keeps_contents", _IN_ORDER),
        (_ANY, "writes_anywhere", _IN_ORDER),
        (_IN_ORDER, "queues_writes", _SINGLE),
        (_IN_ORDER, "keeps_contents", None),
        (_SINGLE, "queues_writes", None),
        (_SINGLE, "keeps_contents", None),
    ],
)
def test_what_failed_is_tried_once_more_in_the_next_way(
    way: WayOfWriting, trait: Trait, following: WayOfWriting | None
) -> None:
    assert next_way(way, trait) is following


def test_every_refused_write_leads_to_another_way_or_the_end() -> None:
    seen, way = [], WayOfWriting.ANY_ORDER
    while (following := next_way(way, refused_trait(way))) is not None:
        seen.append(way := following)
    assert seen == [_IN_ORDER, _SINGLE]


@pytest.mark.parametrize(
    ("traits", "flight"),
    [
        (ServerTraits(), Flight.WHOLE),
        (ServerTraits(keeps_order=True, answers_fstat=True), Flight.WHOLE),
        (ServerTraits(opens_twice=False, keeps_contents=False, writes_anywhere=False), Flight.WHOLE),
        (ServerTraits(keeps_order=False), Flight.WRITES),
        (ServerTraits(answers_fstat=False), Flight.WRITES),
        (ServerTraits(queues_writes=False), Flight.SINGLE),
        (ServerTraits(keeps_order=False, queues_writes=False), Flight.SINGLE),
    ],
)
def test_the_flight_of_a_small_file_follows_from_what_is_known(traits: ServerTraits, flight: Flight) -> None:
    assert first_flight(traits) is flight


def test_a_small_file_is_tried_in_ever_smaller_steps() -> None:
    assert [next_flight(each) for each in Flight] == [Flight.WRITES, Flight.SINGLE, None]


def test_a_file_is_compared_after_anything_that_may_have_lost_bytes() -> None:
    nothing = {"opened_again": False, "dropped": False, "size_known": True, "distrusted": False}
    assert not needs_proof(**nothing)
    for name, value in nothing.items():
        assert needs_proof(**{**nothing, name: not value})


@pytest.mark.parametrize(
    ("has_fsync", "code", "text", "verdict"),
    [
        (None, 8, "Operation unsupported", "refused"),
        (True, 8, "Operation unsupported", "refused"),
        (None, 3, "Permission denied", "refused"),
        (None, 4, "Failure", "unclear"),
        (True, 4, "Failure", "failed"),
        (None, 4, "No space left on device", "failed"),
        (None, 4, "Disk quota exceeded", "failed"),
        (None, 4, "Input/output error", "failed"),
    ],
)
def test_a_refused_fsync_is_told_from_a_disk_that_fails(
    has_fsync: bool | None, code: int, text: str, verdict: str
) -> None:
    assert judge_fsync(ServerTraits(has_fsync=has_fsync), StatusError(code, text)) == verdict
    assert names_the_disk(StatusError(code, text)) == (verdict == "failed" and text != "Failure")


def test_progress_counts_no_byte_twice() -> None:
    told: list[int] = []
    mark = HighWaterMark(told.append)
    mark(10)
    mark.restart()
    mark(4)
    mark(8)
    assert told == [10, 2]
