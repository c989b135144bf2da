"""The codec and the behaviour of a session towards servers that misbehave; real servers are integration tests."""

import asyncio
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mlflow_sftp.wire.packets import READ, Attributes, BadAnswerError, SessionLostError, StatusError
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


def test_end_of_file_is_empty_data_and_no_list() -> None:
    async def scenario(session: SftpSession, wire: _Wire) -> None:
        data, names = session.read(b"h", 0, 10), session.readdir(b"h")
        session.data_received(_status(0, 1) + _status(1, 1), None)
        assert await data == b""
        assert await names is None

    _with_session(scenario)


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        _packet(102, struct.pack(">II", 99, 0)),
        _packet(105, struct.pack(">II", 0, 0)) * 2,
        _packet(2, struct.pack(">I", 3)),
        struct.pack(">I", 0),
        struct.pack(">I", 3) + b"\x65\0\0",
        struct.pack(">IBI", 15 << 20, 103, 0),
    ],
    ids=["HTTP", "unknown id", "answer twice", "VERSION twice", "empty", "too short", "15 MiB announced"],
)
def test_garbage_ends_the_session_with_a_reason(garbage: bytes) -> None:
    async def scenario(session: SftpSession, wire: _Wire) -> None:
        answer, other = session.stat(b"x"), session.stat(b"z")
        session.data_received(garbage, None)
        with pytest.raises(SessionLostError, match="not SFTP") as caught:
            await other
        assert caught.value.defective
        assert answer.done()
        assert wire.aborted
        with pytest.raises(SessionLostError):
            await session.stat(b"y")

    _with_session(scenario)


def _name(name: bytes, attributes: bytes = bytes(4)) -> bytes:
    return _string(name) + _string(b"") + attributes


def _string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


_ASK: dict[str, Callable[[SftpSession], "asyncio.Future[Any]"]] = {
    "open": lambda session: session.open(b"f", READ),
    "read": lambda session: session.read(b"h", 0, 10),
    "stat": lambda session: session.stat(b"f"),
    "readdir": lambda session: session.readdir(b"h"),
    "realpath": lambda session: session.realpath(b"f"),
    "readlink": lambda session: session.readlink(b"f"),
    "mkdir": lambda session: session.mkdir(b"d"),
}


@pytest.mark.parametrize(
    ("question", "kind", "body"),
    [
        ("open", 102, _string(b"")),
        ("open", 102, _string(b"h" * 257)),
        ("open", 102, _string(b"h") + b"\0"),
        ("open", 102, struct.pack(">I", 5000) + b"short"),
        ("open", 102, b""),
        ("open", 103, _string(b"h")),
        ("open", 101, struct.pack(">I", 0)),
        ("open", 101, b""),
        ("read", 103, _string(b"12345678901")),
        ("read", 103, _string(b"")),
        ("read", 103, _string(b"1234") + b"\0"),
        ("read", 103, struct.pack(">I", 5) + b"1234"),
        ("read", 103, b"\0\0"),
        ("read", 104, struct.pack(">I", 0)),
        ("read", 101, struct.pack(">I", 0)),
        ("stat", 105, b""),
        ("stat", 105, struct.pack(">I", 1)),
        ("stat", 105, struct.pack(">I", 2)),
        ("stat", 105, struct.pack(">II", 0x80000000, 0xFFFFFFFF)),
        ("stat", 105, struct.pack(">I", 0) + b"\0"),
        ("stat", 101, struct.pack(">I", 0)),
        ("readdir", 104, struct.pack(">I", 0xFFFFFFFF)),
        ("readdir", 104, struct.pack(">I", 2) + _name(b"f")),
        ("readdir", 104, struct.pack(">I", 1) + _name(b"f") + b"\0"),
        ("realpath", 104, struct.pack(">I", 0)),
        ("realpath", 104, struct.pack(">I", 2) + _name(b"/f") + _name(b"/g")),
        ("realpath", 104, struct.pack(">I", 1) + _name(b"")),
        ("readlink", 104, struct.pack(">I", 1) + _name(b"/f\0g")),
        ("readlink", 104, struct.pack(">I", 1) + _name(b"f" * 5000)),
        ("realpath", 101, struct.pack(">I", 0)),
        ("mkdir", 102, _string(b"h")),
    ],
)
def test_an_answer_that_does_not_fit_its_question_fails_that_and_nothing_else(
    question: str, kind: int, body: bytes
) -> None:
    async def scenario(session: SftpSession, wire: _Wire) -> None:
        answer, other = _ASK[question](session), session.stat(b"other")
        session.data_received(_packet(kind, struct.pack(">I", 0) + body), None)
        with pytest.raises(BadAnswerError):
            await answer
        session.data_received(_packet(105, struct.pack(">II", 1, 0)), None)
        await other
        assert session.alive

    _with_session(scenario)


def test_the_end_of_a_path_is_a_refusal() -> None:
    async def scenario(session: SftpSession, wire: _Wire) -> None:
        for ask in ("open", "stat", "realpath", "readlink", "mkdir"):
            answer = _ASK[ask](session)
            session.data_received(_status(session._next_id - 1, 1), None)
            with pytest.raises(StatusError) as caught:
                await answer
            assert caught.value.code == 1

    _with_session(scenario)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (struct.pack(">I", 0), Attributes()),
        (struct.pack(">IQI", 5, 7, 0o100644), Attributes(7, 0o100644)),
        (struct.pack(">IQI", 5, 7, 0o644), Attributes(7)),
        (struct.pack(">IQ", 1, 1 << 63), Attributes()),
        (struct.pack(">IQ", 1, (1 << 64) - 1), Attributes()),
        (struct.pack(">IQ", 1, (1 << 63) - 1), Attributes((1 << 63) - 1)),
        (struct.pack(">III", 8, 1, 2), Attributes(mtime=2)),
        (struct.pack(">IQ", 1, 0), Attributes(0)),
    ],
)
def test_what_is_not_told_is_unknown_and_not_nothing(attributes: bytes, expected: Attributes) -> None:
    async def scenario(session: SftpSession, wire: _Wire) -> None:
        answer = session.stat(b"f")
        session.data_received(_packet(105, struct.pack(">I", 0) + attributes), None)
        assert await answer == expected

    _with_session(scenario)


def test_the_words_of_a_status_are_one_bounded_line_without_control_characters() -> None:
    async def scenario(session: SftpSession, wire: _Wire) -> None:
        answer = session.stat(b"f")
        session.data_received(_status(0, 4, b"no\x1b[31m\0\n\xff" + b"x" * 5000), None)
        with pytest.raises(StatusError) as caught:
            await answer
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 500

    _with_session(scenario)


@pytest.mark.parametrize("version", [0, 2, 4, 6])
def test_another_version_of_the_protocol_is_refused(version: int) -> None:
    async def run() -> None:
        session, wire = SftpSession(60), _Wire()
        session.connection_made(wire)
        session.data_received(_packet(2, struct.pack(">I", version)), None)
        assert not session.alive

    asyncio.run(run())


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
