"""What is free on the server: asked for, and not known where the server does not really tell."""

import asyncio
from pathlib import Path

import pytest

from mlflow_sftp.errors import NoSpaceError, ServerFailureError
from mlflow_sftp.settings import Settings
from mlflow_sftp.storage import SftpStorage
from mlflow_sftp.stores.rate_limit import RateLimiter
from mlflow_sftp.stores.sftp import SftpStore
from mlflow_sftp.wire.session import SftpSession
from tests.faults.conftest import defective
from tests.support.server import SftpServer
from tests.support.sshd import SshServer
from tests.support.storing import settings_for

_DEFECTS = ["statvfs-unsupported", "statvfs-failure", "statvfs-short", "statvfs-zero"]


def _free_bytes(uri: str, settings: Settings, times: int = 1) -> list[int | None]:
    """Ask one store after the other, as operations in one process do."""

    async def ask() -> list[int | None]:
        answers = []
        for _ in range(times):
            store = SftpStore(uri, RateLimiter(None), settings)
            space = await store.space()
            answers.append(space and space.free)
            await store.close()
        return answers

    return asyncio.run(ask())


def test_openssh_tells_what_is_free(sshd: SshServer) -> None:
    (free,) = _free_bytes(sshd.uri("not/made/yet"), settings_for(sshd))
    assert free is not None
    assert free > 1 << 20


def test_a_server_without_the_extension(server: SftpServer) -> None:
    (free,) = _free_bytes(server.uri(), settings_for(server))
    assert free is None or free > 0


@pytest.mark.parametrize("defect", _DEFECTS)
def test_a_server_that_promises_to_tell_and_does_not(
    defect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    ask = SftpSession.statvfs

    def count(session: SftpSession, path: bytes) -> object:
        asked.append(path)
        return ask(session, path)

    with SshServer(tmp_path / "server", config=defective(defect)) as server:
        monkeypatch.setattr(SftpSession, "statvfs", count)
        assert _free_bytes(server.uri(), settings_for(server), times=2) == [None, None]
        assert len(asked) == 1


@pytest.mark.parametrize("defect", _DEFECTS)
def test_a_failure_is_not_taken_for_a_full_disk(defect: str, tmp_path: Path) -> None:
    with SshServer(tmp_path / "server", config=defective(defect)) as server:
        (server.root / "d").mkdir()
        (tmp_path / "f").write_bytes(b"x")
        with pytest.raises(ServerFailureError) as caught:
            SftpStorage(server.uri(), settings_for(server)).upload(str(tmp_path / "f"), "d")
        assert not isinstance(caught.value, NoSpaceError)
