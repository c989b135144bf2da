"""A TCP proxy that is a long, thin or broken link: delay, bandwidth, stalls and cuts, in user space.

In tests it runs on a thread (`with Link(port) as link`); a benchmark runs it as a process of its own, so that it
does not share an interpreter with what is measured: `python -m tests.support.link PORT RTT_MS MBIT`.
"""

import asyncio
import contextlib
import sys
import threading
from collections import deque
from typing import Self

# Beyond what the link itself holds (bandwidth x delay): the queue of its router.
_QUEUE = 1 << 20
_UNLIMITED = 1e12


class Link:
    """Forwards `port` to `target_port` of the same machine.

    Args:
        target_port: Where to forward to.
        round_trip: Seconds added to a round trip, half each way.
        bandwidth: Bytes a second each way, shared by all connections; 0 means no limit.
        address: Where to listen.
        port: The port to listen on; 0 for one that is free.

    Attributes: `held` is how many bytes of a connection the link takes in before it delivers them, `longest_queue` the
    most that it ever held.
    """

    def __init__(
        self,
        target_port: int,
        *,
        round_trip: float = 0.0,
        bandwidth: float = 0.0,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.target_port = target_port
        self.address = address
        self.port = port
        self.delay = round_trip / 2
        self.bandwidth = bandwidth or _UNLIMITED
        self.accepted = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self.longest_queue = 0
        self.held = min(self.bandwidth * round_trip, 256 << 20) + _QUEUE
        self.free_at = {True: 0.0, False: 0.0}
        self.stalled = False
        self._refusing = False
        self._pipes: set[_Pipe] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def stall(self) -> None:
        """Deliver nothing any more, and keep every connection open: a cable pulled."""
        self._call(lambda: setattr(self, "stalled", True))

    def resume(self) -> None:
        """Deliver what was held back and everything after it."""
        self._call(self._resume)

    def cut(self) -> None:
        """Reset every open connection; new ones are accepted."""
        self._call(self._cut)

    def refuse(self, refusing: bool = True) -> None:
        """Reset new connections as soon as they come, or accept them again."""
        self._call(lambda: setattr(self, "_refusing", refusing))

    @property
    def open_connections(self) -> int:
        return len(self._pipes) // 2

    async def serve(self) -> asyncio.Server:
        """Start listening on the running loop."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Pipe(self, up=True), self.address, self.port)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._cut)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def opened(self, pipe: "_Pipe") -> bool:
        if self._refusing and pipe.up:
            return False
        self.accepted += pipe.up
        self._pipes.add(pipe)
        return True

    def closed(self, pipe: "_Pipe") -> None:
        self._pipes.discard(pipe)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self.serve())
        self._ready.set()
        self._loop.run_forever()

    def _call(self, action: object) -> None:
        done = threading.Event()

        def act() -> None:
            with contextlib.suppress(Exception):
                action()  # type: ignore[operator]
            done.set()

        self._loop.call_soon_threadsafe(act)
        done.wait(5)

    def _resume(self) -> None:
        self.stalled = False
        for pipe in list(self._pipes):
            pipe.deliver()

    def _cut(self) -> None:
        for pipe in list(self._pipes):
            pipe.transport.abort()


class _Pipe(asyncio.Protocol):
    """One side of a connection; what it receives is delivered to its peer later."""

    transport: asyncio.Transport

    def __init__(self, link: Link, *, up: bool, peer: "_Pipe | None" = None) -> None:
        self.link = link
        self.up = up
        self.peer = peer
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.waiting_bytes = 0
        self.timer: asyncio.TimerHandle | None = None
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=1 << 30)
        if not self.link.opened(self):
            transport.abort()
        elif self.up:
            transport.pause_reading()
            self.connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(2 * self.link.delay)
        try:
            _, self.peer = await loop.create_connection(
                lambda: _Pipe(self.link, up=False, peer=self), "127.0.0.1", self.link.target_port
            )
        except OSError:
            self.transport.abort()
            return
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        link, now = self.link, asyncio.get_running_loop().time()
        sent = max(now, link.free_at[self.up]) + len(data) / link.bandwidth
        link.free_at[self.up] = sent
        if self.up:
            link.bytes_up += len(data)
        else:
            link.bytes_down += len(data)
        self.waiting.append((sent + link.delay, data))
        self.waiting_bytes += len(data)
        link.longest_queue = max(link.longest_queue, self.waiting_bytes)
        if self.waiting_bytes > link.held:
            self.transport.pause_reading()
        if self.timer is None:
            self.deliver()

    def eof_received(self) -> bool:
        self.ended = True
        self.deliver()
        return True

    def deliver(self) -> None:
        """Hand the peer all that is due and come back for the rest."""
        self.timer = None
        loop = asyncio.get_running_loop()
        if self.link.stalled or self.peer is None:
            return
        due, now = [], loop.time() + 0.0005
        while self.waiting and self.waiting[0][0] <= now:
            data = self.waiting.popleft()[1]
            self.waiting_bytes -= len(data)
            due.append(data)
        if due:
            self.peer.transport.write(b"".join(due))
        if not self.transport.is_reading() and self.waiting_bytes <= self.link.held and not self.ended:
            self.transport.resume_reading()
        if self.waiting:
            self.timer = loop.call_at(self.waiting[0][0], self.deliver)
        elif self.ended and not self.peer.transport.is_closing():
            self.peer.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.link.closed(self)
        if self.timer is not None:
            self.timer.cancel()
        if self.peer is not None and not self.peer.transport.is_closing():
            self.peer.transport.abort() if exc else self.peer.transport.close()


async def _main(target_port: int, round_trip_ms: float, megabits: float) -> None:
    link = Link(target_port, round_trip=round_trip_ms / 1000, bandwidth=megabits * 125_000)
    await link.serve()
    print(link.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
