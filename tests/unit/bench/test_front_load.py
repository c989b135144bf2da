"""What a crowd at the front door may meet, and what counts as a failure."""

import pytest

from tests.bench.front_load import Answer, quantiles, unexpected

CLOSED = (100.0, 160.0)


@pytest.mark.parametrize(
    ("sent", "seconds", "status", "retry_after", "fails"),
    [
        (50.0, 1.0, 200, False, False),
        (110.0, 1.0, 503, True, False),
        # Sent before, and answered when it was closed.
        (99.0, 2.0, 503, True, False),
        (159.0, 20.0, 503, True, False),
        (110.0, 1.0, 503, False, True),
        (50.0, 1.0, 503, True, True),
        (161.0, 1.0, 503, True, True),
        (110.0, 1.0, 502, True, True),
        (110.0, 1.0, 401, False, True),
        # No answer.
        (110.0, 1.0, 0, False, True),
    ],
)
def test_what_counts_as_a_failure(
    sent: float, seconds: float, status: int, retry_after: bool, fails: bool
) -> None:
    answer = Answer(sent, sent + seconds, "kept", "said", 0.1, status, retry_after)
    assert dict(unexpected([answer], CLOSED)) == ({"said (kept connection)": 1} if fails else {})


def test_any_time_may_be_the_closed_one_where_nobody_tells_it() -> None:
    assert not unexpected([Answer(1.0, 2.0, "new", "503", 0.1, 503, True)], None)


def test_quantiles() -> None:
    assert quantiles([0.1]) == "not known"
    assert quantiles([number / 1000 for number in range(1, 101)]).startswith(
        "p50 50 ms, p99 99 ms, at most 100 ms"
    )
