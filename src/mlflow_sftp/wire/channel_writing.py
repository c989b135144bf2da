# SPDX-License-Identifier: Apache-2.0
"""Writing to an SSH channel without copying.

asyncssh copies what is written six times before it encrypts it, which on a fast link is a third of what an upload
costs the client. Reaches below asyncssh's public interface: the packets are cut as its channels do it and handed to
its connection, which encrypts and sends them as ever. With an asyncssh whose channels differ it has no effect.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import asyncssh

from mlflow_sftp.wire.packets import U32

Piece = bytes | memoryview

_MSG_CHANNEL_DATA = 94


def write_pieces(channel: Any, pieces: Sequence[Piece]) -> None:
    """Write pieces of data in order; OSError where the channel is not open.

    What the server's window does not take is left to the channel, which says when there is room again.
    """
    waiting = deque(pieces)
    if _can_send_at_once(channel):
        while waiting and channel._send_window:
            packet, size = _take(waiting, min(channel._send_window, channel._send_pktsize))
            channel._send_window -= size
            channel._conn.send_packet(
                _MSG_CHANNEL_DATA, U32.pack(channel._send_chan), U32.pack(size), *packet, handler=channel
            )
    if waiting:
        channel.write(b"".join(waiting))


def _can_send_at_once(channel: Any) -> bool:
    """Tell whether this is an open channel of asyncssh as it is known, and nothing waits to be sent before."""
    return (
        isinstance(channel, asyncssh.SSHClientChannel)
        and getattr(channel, "_send_state", None) == "open"
        and getattr(channel, "_send_buf", None) == []
        and getattr(channel, "_encoding", "") is None
        and all(isinstance(getattr(channel, each, None), int) for each in _NUMBERS)
        and isinstance(getattr(channel, "_conn", None), asyncssh.SSHClientConnection)
    )


_NUMBERS = ("_send_window", "_send_pktsize", "_send_chan")


def _take(waiting: deque[Piece], most: int) -> tuple[list[Piece], int]:
    """Take at most `most` bytes off the front; return them and how many they are."""
    taken: list[Piece] = []
    left = most
    while waiting and left:
        piece = waiting.popleft()
        if len(piece) > left:
            view = memoryview(piece)
            waiting.appendleft(view[left:])
            piece = view[:left]
        taken.append(piece)
        left -= len(piece)
    return taken, most - left
