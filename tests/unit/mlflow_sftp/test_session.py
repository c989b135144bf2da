"""The codec and the behaviour of a session towards servers that misbehave; real servers are integration tests."""

import asyncio
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mlflow_sftp.wire.packets import READ, SessionLostError, StatusError
from mlflow_sftp.wire.session import SftpSession


class _Wire:
    """Records what the session sends."""

    def __init__(self) -> None:
        self.sent = b""
        self.writes = 0
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.sent += data
        self.writes += 1

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.aborted = True


def _packet(kind: int, body: bytes) -> bytes:
    return struct.pack(">IB", len(body) + 1, kind) + body


def _status(number: int, code: int, text: bytes = b"no") -> bytes:
    return _packet(101, struct.pack(">III", number, code, len(text)) + text + struct.pack(">I", 0))


def _with_session(
    scenario: Callable[[SftpSession, _Wire], Coroutine[Any, Any, None]], stall: float = 60
) -> None:
    async def run() -> None:
        session, wire = SftpSession(stall), _Wire()
        session.connection_made(wire)
        session.data_received(_packet(2, struct.pack(">I", 3)), None)
        await scenario(session, wire)

    asyncio.run(run())


def test_answers_are_matched_by_number_in_any_order_and_any_fragments() -> None:
    async def scenario(session: SftpSession, wire: _Wire) -> None:
        first, second = session.open(b"a", READ), session.stat(b"b")
        answers = _packet(105, struct.pack(">IIQ", 1, 1, 77)) + _packet(102, struct.pack(">II", 0, 2) + b"hh")
        for byte in answers:
            session.data_received(bytes([byte]), None)
        assert await first == b"hh"
        assert (await second).size == 77

    _with_session(scenario)


def test_requests_of_one_turn_share_a_packet() -> None:
    async def scenario(session: SftpSession, wire: _Wire) -> None:
        await asyncio.sleep(0)
        before = wire.writes
        for _ in range(10):
            session.stat(b"x")
        await asyncio.sleep(0)
        assert wire.writes == before + 1

    _with_session(scenario)


def test_while_the_window_is_full_other_requests_pass_the_writes() -> None:
    async def scenario(session: SftpSession, wire: _Wire) -> None:
        await asyncio.sleep(0)
        wire.sent = b""
        session.pause_writing()
        session.write(b"h", 0, b"contents")
        session.fstat(b"h")
        session.close_handle(b"h")
        session.stat(b"urgent")
        await asyncio.sleep(0.01)
        assert b"urgent" in wire.sent
        assert b"contents" not in wire.sent
        wire.sent = b""
        session.resume_writing()
        await asyncio.sleep(0.01)
        assert [wire.sent[index + 4] for index in _starts(wire.sent)] == [6, 8, 4]  # write, fstat, close

    _with_session(scenario)


def _starts(sent: bytes) -> list[int]:
    starts = [0]
    while (end := starts[-1] + 4 + int.from_bytes(sent[starts[-1] : starts[-1] + 4])) < len(sent):
        starts.append(end)
    return starts


def test_an_error_status_carries_code_and_text() -> None:
    async def scenario(session: SftpSession, wire: _Wire) -> None:
        answer = session.stat(b"x")
        session.data_received(_status(0, 3, b"Permission denied"), None)
        with pytest.raises(StatusError, match="Permission denied") as caught:
            await answer
        assert caught.value.code == 3

    _with_session(scenario)


def test_end_of_file_is_empty_data_and_an_empty_list() -> None:
    async def scenario(session: SftpSession, wire: _Wire) -> None:
        data, names = session.read(b"h", 0, 10), session.readdir(b"h")
        session.data_received(_status(0, 1) + _status(1, 1), None)
        assert await data == b""
        assert await names == []

    _with_session(scenario)


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        _packet(102, struct.pack(">II", 99, 0)),
        _packet(103, struct.pack(">II", 0, 0)),
        _packet(105, struct.pack(">I", 0)),
        _packet(102, struct.pack(">II", 0, 5000) + b"short"),
        struct.pack(">I", 0),
    ],
)
def test_garbage_ends_the_session_with_a_reason(garbage: bytes) -> None:
    async def scenario(session: SftpSession, wire: _Wire) -> None:
        answer = session.stat(b"x")
        session.data_received(garbage, None)
        with pytest.raises(SessionLostError, match="not SFTP"):
            await answer
        assert wire.aborted
        with pytest.raises(SessionLostError):
            await session.stat(b"y")

    _with_session(scenario)


def test_a_handle_nobody_waits_for_any_more_is_closed() -> None:
    async def scenario(session: SftpSession, wire: _Wire) -> None:
        answer = session.open(b"a", READ)
        answer.cancel()
        await asyncio.sleep(0)
        before = len(wire.sent)
        session.data_received(_packet(102, struct.pack(">II", 0, 2) + b"hh"), None)
        await asyncio.sleep(0)
        assert wire.sent[before + 4] == 4
        assert wire.sent.endswith(b"hh")

    _with_session(scenario)


def test_silence_while_an_answer_is_due_ends_the_session() -> None:
    async def scenario(session: SftpSession, wire: _Wire) -> None:
        await asyncio.sleep(0.3)
        assert session.alive
        with pytest.raises(SessionLostError, match="has not answered"):
            await session.stat(b"x")

    _with_session(scenario, stall=0.1)


@pytest.mark.parametrize("size", [0, 31, 32])
def test_limits_that_end_too_soon_are_no_limits(size: int) -> None:
    async def run() -> tuple[int, int]:
        session, wire = SftpSession(60), _Wire()
        session.connection_made(wire)
        name = b"limits@openssh.com"
        extension = struct.pack(">I", len(name)) + name + struct.pack(">I1s", 1, b"1")
        session.data_received(_packet(2, struct.pack(">I", 3) + extension), None)
        await session.ready()
        answer = struct.pack(">QQQQ", 1 << 18, 1 << 17, 1 << 17, 1000)[:size]
        session.data_received(_packet(201, struct.pack(">I", 0) + answer), None)
        await asyncio.wait_for(session.limits(), 1)
        return session.block, session.max_handles

    assert asyncio.run(run()) == ((1 << 17, 984) if size == 32 else (32 << 10, 128))


def test_silence_is_told_again_and_again_while_an_answer_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlflow_sftp.wire.session.SILENCE_SECONDS", 0.02)

    async def run() -> tuple[list[float], int]:
        silent: list[float] = []
        session, wire = SftpSession(60, on_silence=silent.append), _Wire()
        session.connection_made(wire)
        session.data_received(_packet(2, struct.pack(">I", 3)), None)
        await asyncio.sleep(0.1)
        while_nothing_was_asked = len(silent)
        answer = session.stat(b"x")
        await asyncio.sleep(0.2)
        assert not answer.done()
        return silent, while_nothing_was_asked

    silent, while_nothing_was_asked = asyncio.run(run())
    assert while_nothing_was_asked == 0
    assert len(silent) >= 3
    assert silent == sorted(silent)
    assert silent[0] >= 0.02


@pytest.mark.parametrize(
    ("answers", "busy_timeout", "waits"), [(True, 60.0, True), (False, 60.0, False), (True, 0.15, False)]
)
def test_a_slow_close_is_waited_for_while_ssh_answers(
    answers: bool, busy_timeout: float, waits: bool
) -> None:
    async def ask_peer() -> None:
        if not answers:
            await asyncio.Event().wait()

    async def run() -> None:
        session, wire = SftpSession(0.1, busy_timeout=busy_timeout, ask_peer=ask_peer), _Wire()
        session.connection_made(wire)
        session.data_received(_packet(2, struct.pack(">I", 3)), None)
        closed = session.close_handle(b"h")
        await asyncio.sleep(0.4)
        assert session.alive == waits
        if waits:
            session.data_received(_status(0, 0), None)
            await closed
            stat = session.stat(b"x")
            with pytest.raises(SessionLostError, match="not answered"):
                await stat

    asyncio.run(run())
