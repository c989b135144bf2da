"""What is written to a real channel of asyncssh arrives whole and in order, and is not copied on the way."""

import asyncio
import hashlib
import os
from typing import Any

import asyncssh
import pytest

from mlflow_sftp.wire.channel_writing import write_pieces

_PIECES = [os.urandom(size) for size in (0, 1, 13, 32 << 10, (32 << 10) + 1, 255 << 10, 5, 1 << 20)] * 3


class _Server(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


class _Client(asyncssh.SSHClientSession[bytes]):
    def __init__(self) -> None:
        self.answer = b""
        self.paused = False
        self.may_write = asyncio.Event()
        self.may_write.set()

    def pause_writing(self) -> None:
        self.may_write.clear()
        self.paused = True

    def resume_writing(self) -> None:
        self.may_write.set()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self.answer += data


async def _sum_of_input(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    process.stdout.write(hashlib.sha256(await process.stdin.read()).digest())
    process.exit(0)


async def _send(window: int, connect: dict[str, Any]) -> tuple[bytes, bool, list[int]]:
    """Write all pieces to a server; return the sum of what it got, whether it ever granted no more, what was copied."""
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=_Server,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=_sum_of_input,
        encoding=None,
        window=window,
    )
    sizes: list[int] = []
    async with (
        server,
        asyncssh.connect(
            "127.0.0.1", server.get_port(), known_hosts=None, config=None, username="any", **connect
        ) as ssh,
    ):
        channel, session = await ssh.create_session(_Client, command="sum", encoding=None)
        own_write = channel.write
        channel.write = lambda data: (sizes.append(len(data)), own_write(data))
        for piece in _PIECES:
            await session.may_write.wait()
            write_pieces(channel, [b"head", memoryview(piece), b"", b"tail"])
        channel.write_eof()
        await channel.wait_closed()
        copied = list(sizes)
        with pytest.raises(OSError, match="not open"):
            write_pieces(channel, [b"more"])
        return session.answer, session.paused, copied


@pytest.mark.parametrize(
    "connect",
    [
        {"encryption_algs": ["aes128-gcm@openssh.com"]},
        {"encryption_algs": ["chacha20-poly1305@openssh.com"], "rekey_bytes": 200_000},
        {"encryption_algs": ["aes256-ctr"], "compression_algs": ["zlib@openssh.com"]},
    ],
    ids=["plain", "new keys on the way", "compressed"],
)
def test_what_is_written_arrives(connect: dict[str, Any]) -> None:
    expected = hashlib.sha256(b"".join(b"head" + piece + b"tail" for piece in _PIECES)).digest()
    wide, narrow = asyncio.run(_send(64 << 20, connect)), asyncio.run(_send(100_000, connect))
    assert wide == (expected, False, [])
    assert narrow[:2] == (expected, True)


def test_a_channel_of_another_kind_gets_everything_at_once() -> None:
    class Channel:
        written = b""

        def write(self, data: bytes) -> None:
            self.written += data

    channel = Channel()
    write_pieces(channel, [b"a", memoryview(b"bc")])
    assert channel.written == b"abc"
