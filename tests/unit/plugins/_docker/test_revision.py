"""The revision that a gateway serves, read from what it answers."""

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.revision import served_revision


@pytest.mark.parametrize(
    ("answer", "revision"),
    [
        ("HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc", "abc"),
        ("HTTP/1.1 200 OK\n\nabc\n", "abc"),
        ("HTTP/1.0 503 Service Unavailable\r\n\r\nabc", ""),
        ("HTTP/1.0 200 OK\r\ncontent-length: 3\r\n", ""),
        ("bash: connect: Connection refused", ""),
        ("", ""),
    ],
)
def test_served_revision(answer: str, revision: str) -> None:
    assert served_revision(answer) == revision
