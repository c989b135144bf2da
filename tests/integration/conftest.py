"""What the tests of several rooms share."""

from collections.abc import Iterator

import pytest

from tests.support.postgres import PostgresServer, server_programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    if server_programs() is None:
        pytest.skip("PostgreSQL is not installed (tests/apt-packages.txt)")
    with PostgresServer() as server:
        yield server
