"""A file gets its name also where the server does not do what it announces."""

from pathlib import Path

import pytest

from mlflow_sftp.transfer import upload
from tests.support.sftp_model import ModelServer, model_remote, run_quickly, status

_EXTENDED = 200


@pytest.mark.parametrize("old", [None, b"old"])
def test_posix_rename_that_is_announced_and_not_supported(tmp_path: Path, old: bytes | None) -> None:
    (tmp_path / "a").write_bytes(b"new")
    server = ModelServer({} if old is None else {b"a": old})
    server.intercept = lambda kind, number, body: (
        status(number, 8) if kind == _EXTENDED and b"posix-rename" in body else None
    )

    async def scenario() -> None:
        await upload.put_file(model_remote(server), str(tmp_path / "a"), "/root/a")

    run_quickly(scenario())
    assert server.contents() == {b"a": b"new"}
