"""What is opened on a server is closed there, also where a transfer or a listing is given up."""

import asyncio
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from mlflow_sftp.errors import AuthenticationFailedError, PermissionRefusedError, ServerFailureError
from mlflow_sftp.transfer import download, listing, temporary_names, upload
from mlflow_sftp.transfer.block_transfer import MAX_REORDER_BYTES
from mlflow_sftp.transfer.handles import SessionHandles
from mlflow_sftp.transfer.remote import is_missing
from mlflow_sftp.transfer.resume import unfinished_upload
from mlflow_sftp.wire.connections import Connection
from mlflow_sftp.wire.packets import StatusError
from mlflow_sftp.wire.remote_command import NoChannelError
from tests.support.sftp_model import ModelServer, model_remote, run_quickly, status
from tests.support.storing import pattern

_OPEN, _CLOSE, _WRITE, _READDIR, _OPENDIR, _STAT = 3, 4, 6, 12, 11, 17


async def _until_quiet() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def _many(count: int) -> ModelServer:
    return ModelServer({b"d%d/f%03d" % (number % 3, number): b"x" for number in range(count)}, page=2)


def test_a_walk_that_is_left_closes_its_directories() -> None:
    server = _many(300)

    async def scenario() -> None:
        remote = model_remote(server)
        remote.connections.open_files.set_limit(84, told=True)
        async with aclosing(listing.walk(remote, "/root")) as entries:
            async for entry in entries:
                if not entry.is_directory:
                    break
        await _until_quiet()

    run_quickly(scenario())
    assert server.open_handles() == 0


def test_a_list_that_becomes_too_long_closes_its_directory() -> None:
    server = _many(300)

    async def scenario() -> None:
        remote = model_remote(server)
        remote.connections.open_files.set_limit(84, told=True)
        remote.connections.memory_budget.capacity = 64
        with pytest.raises(ServerFailureError):
            await listing.list_directory(remote, "/root/d0")
        await _until_quiet()

    run_quickly(scenario())
    assert server.open_handles() == 0


def test_a_directory_that_cannot_be_read_is_closed() -> None:
    server = _many(30)
    server.intercept = lambda kind, number, body: status(number, 4) if kind == _READDIR else None

    async def scenario() -> None:
        with pytest.raises(ServerFailureError):
            await listing.list_directory(model_remote(server), "/root/d0")
        await _until_quiet()

    run_quickly(scenario())
    assert server.open_handles() == 0


def test_a_file_that_is_still_being_opened_is_closed_when_it_is_open() -> None:
    server = ModelServer({b"a": b"1"})

    async def scenario() -> None:
        session = await model_remote(server).connections.session()
        handles = SessionHandles(lambda each: asyncio.ensure_future(each.open(b"/root/a", 1)))
        waiting = asyncio.create_task(handles.get(session))
        await asyncio.sleep(0)
        waiting.cancel()
        assert handles.close() == []
        await _until_quiet()

    run_quickly(scenario())
    assert server.open_handles() == 0


def test_an_upload_step_by_step_that_is_given_up_closes_its_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    server = ModelServer()
    server.intercept = lambda kind, number, body: [] if kind == _WRITE else None

    async def scenario() -> None:
        remote = model_remote(server)
        remote.connections.traits.keeps_order = False
        sending = asyncio.create_task(upload.put_file(remote, str(tmp_path / "a"), "/root/a"))
        await _until_quiet()
        assert server.open_handles() == 1
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
        await _until_quiet()

    run_quickly(scenario())
    assert server.open_handles() == 0


def test_an_answer_without_a_name_does_not_mean_that_nothing_is_there() -> None:
    server = ModelServer({b"a": b"1"})
    asked = 0

    def intercept(kind: int, number: bytes, body: bytes) -> bytes | None:
        nonlocal asked
        asked += kind == _READDIR
        return b"\x68" + number + bytes(4) if kind == _READDIR and asked == 1 else None

    server.intercept = intercept

    async def scenario() -> bool:
        session = await model_remote(server).connections.session()
        return await is_missing(session, b"/root/a", StatusError(4, "Failure"))

    assert run_quickly(scenario()) is False


def test_a_server_that_tells_no_names_and_no_end_proves_nothing() -> None:
    server = ModelServer()
    server.intercept = lambda kind, number, body: b"\x68" + number + bytes(4) if kind == _READDIR else None

    async def scenario() -> bool:
        session = await model_remote(server).connections.session()
        return await is_missing(session, b"/root/a", StatusError(4, "Failure"))

    assert run_quickly(scenario()) is False
    assert server.requests < 20


def test_what_may_not_be_listed_is_no_empty_list_where_types_are_not_told() -> None:
    server = ModelServer({b"d/a": b"1"})

    def intercept(kind: int, number: bytes, body: bytes) -> bytes | None:
        if kind == _OPENDIR:
            return status(number, 3)
        return b"\x69" + number + bytes(4) if kind == _STAT else None

    server.intercept = intercept

    async def scenario() -> None:
        with pytest.raises(PermissionRefusedError):
            await listing.list_directory(model_remote(server), "/root/d")

    run_quickly(scenario())


def test_an_unfinished_upload_that_may_not_be_read_is_left_alone(tmp_path: Path) -> None:
    data = pattern(MAX_REORDER_BYTES + (1 << 20))
    (tmp_path / "a").write_bytes(data)
    name = temporary_names.temporary()
    server = ModelServer({name.encode(): data})
    server.intercept = lambda kind, number, body: status(number, 3) if kind == _OPEN else None

    async def scenario() -> None:
        with (tmp_path / "a").open("rb") as file:
            remote = model_remote(server)
            assert await unfinished_upload(remote, f"/root/{name}", file.fileno()) is None

    run_quickly(scenario())


def test_a_large_download_is_opened_once_fewer_files_are_open(tmp_path: Path) -> None:
    server = ModelServer({b"small": b"1", b"large": pattern(3 << 20)})
    server.intercept = lambda kind, number, body: (
        status(number, 4) if kind == _OPEN and server.open_handles() else None
    )

    async def scenario() -> None:
        remote = model_remote(server)
        session = await remote.connections.session()
        place = remote.connections.open_files.place()
        await place.take()
        handle = await place.open(lambda: session.open(b"/root/small", 1))
        getting = asyncio.create_task(download.get_file(remote, "/root/large", str(tmp_path / "large")))
        await _until_quiet()
        await session.close_handle(handle)
        place.give_back()
        await getting

    run_quickly(scenario())
    assert (tmp_path / "large").read_bytes() == pattern(3 << 20)


def test_a_connection_whose_session_ended_is_closed_when_there_is_another() -> None:
    server = ModelServer({b"a": b"1"})

    async def scenario() -> None:
        connections = model_remote(server).connections
        before = await connections.connected()
        before.session.abort("the server's process was killed")
        assert await connections.connected() is not before
        assert before.ssh.is_closed()

    run_quickly(scenario())


def test_a_server_that_takes_no_further_connection_for_a_command_runs_none() -> None:
    async def scenario() -> None:
        connections = model_remote(ModelServer()).connections
        await connections.connected()

        async def refuse(*_: object) -> Connection:
            raise AuthenticationFailedError("connect", "model", "too many logins")

        connections._connect = refuse  # type: ignore[method-assign]
        with pytest.raises(NoChannelError):
            await connections.run(b"true", 1)

    run_quickly(scenario())


def test_who_compares_contents_does_not_hold_memory_for_which_others_hold_places(tmp_path: Path) -> None:
    names = [f"f{number}" for number in range(12)]
    data = pattern(1 << 20)
    for name in names:
        (tmp_path / name).write_bytes(data)
    server = ModelServer()

    async def scenario() -> None:
        remote = model_remote(server, verify="sha256", max_requests=4, memory=1)
        await asyncio.gather(
            *(upload.put_file(remote, str(tmp_path / name), f"/root/{name}") for name in names)
        )
        await asyncio.gather(
            *(download.get_file(remote, f"/root/{name}", str(tmp_path / f"new-{name}")) for name in names)
        )

    run_quickly(scenario())
    assert all((tmp_path / f"new-{name}").read_bytes() == data for name in names)
