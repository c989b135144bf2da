"""How many sessions PostgreSQL has to bear for so many servers."""

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.sessions import database_sessions


@pytest.mark.parametrize(
    ("servers", "workers", "login", "sessions"),
    [
        (1, 1, False, 100),
        (1, 2, False, 100),
        # The last that PostgreSQL's own limit is enough for.
        (1, 2, True, 100),
        (1, 3, False, 100),
        (1, 3, True, 145),
        (1, 4, False, 130),
        (3, 2, False, 190),
        (4, 2, False, 250),
        (4, 2, True, 370),
    ],
)
def test_every_pool_of_every_worker_may_be_full(
    servers: int, workers: int, login: bool, sessions: int
) -> None:
    assert database_sessions(servers, workers, login) == sessions
