# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether hosts reach one another on the ports of a swarm, tried before there is a swarm.

Each host listens on its own ports and asks those of the others, at the same time as they do. What is asked for with the
run's token is answered with the time, which also shows clocks that are apart. Nobody else gets an answer.
"""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any

# Seconds for an answer, between two attempts, and for which others may repeat a question whose answer was lost.
_PATIENCE = 1.0
_PAUSE = 0.3
_LINGER = 1.5
_LONGEST = 512
# Questions that are open at once.
_THREADS = 32
_Answering = Callable[[bytes], bytes | None]


@dataclass(frozen=True)
class Port:
    """A port of a host's, ``tcp/2377`` in words."""

    protocol: str
    number: int

    @classmethod
    def parse(cls, text: str) -> Port:
        """Return the port that a text names."""
        protocol, _, number = text.partition("/")
        return cls(protocol, int(number))

    def __str__(self) -> str:
        return f"{self.protocol}/{self.number}"


@dataclass(frozen=True)
class Peer:
    """Another host.

    Attributes:
        name: Its name in the inventory.
        address: Where it is to be reached.
        ports: To be asked.
        listens: Whether it takes part; otherwise its engine has the ports, and only connections can be tried.
    """

    name: str
    address: str
    ports: tuple[Port, ...]
    listens: bool = True


@dataclass(frozen=True)
class Answer:
    """What came of one attempt: ``reached``, ``refused`` or ``silent``; clock and delay in seconds, where known."""

    outcome: str
    clock: float | None = None
    delay: float = 0.0


class Listener:
    """A host's own ports while others ask them.

    Args:
        token: What a question has to begin with.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self._heard: set[tuple[str, str]] = set()

    def answer(self, question: bytes, port: str) -> bytes | None:
        """Return the answer to a question of the form ``token name``; None for whoever does not know the token."""
        words = question.decode(errors="replace").split()
        if len(words) != 2 or words[0] != self._token:
            return None
        self._heard.add((words[1], port))
        return f"{self._token} {time.time():.6f}\n".encode()

    def has_heard(self, names: Sequence[str], ports: Sequence[str]) -> bool:
        """Whether all of these have asked on all of these ports."""
        return {(name, port) for name in names for port in ports} <= self._heard

    def serve(self, address: str, port: Port, stack: ExitStack) -> bool:
        """Listen until the stack is closed; False where somebody else has the port."""
        kind = _Tcp if port.protocol == "tcp" else _Udp
        try:
            server = kind(address, port.number, partial(self.answer, port=str(port)))
        except OSError:
            return False
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        return True


class _Answerer(socketserver.TCPServer):
    """What both kinds of servers have, by their sockets' type."""

    handler: type[socketserver.BaseRequestHandler]

    def __init__(self, address: str, number: int, answer: _Answering) -> None:
        self.address_family = _family(address)
        self.answer = answer
        super().__init__((address, number), self.handler)


class _TcpHandler(socketserver.StreamRequestHandler):
    timeout = 5

    def handle(self) -> None:
        assert isinstance(self.server, _Answerer)
        reply = self.server.answer(self.rfile.readline(_LONGEST))
        if reply:
            self.wfile.write(reply)


class _UdpHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Answerer)
        question, connection = self.request
        reply = self.server.answer(question)
        if reply:
            connection.sendto(reply, self.client_address)


class _Tcp(socketserver.ThreadingMixIn, _Answerer):
    allow_reuse_address = True
    daemon_threads = True
    handler = _TcpHandler


class _Udp(_Answerer, socketserver.UDPServer):
    max_packet_size = _LONGEST
    handler = _UdpHandler


def ask(own_name: str, token: str, peer: Peer, port: Port) -> Answer:
    """Ask another host once on one of its ports."""
    question = f"{token} {own_name}\n".encode()
    began, asked = time.monotonic(), time.time()
    kind = socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM
    try:
        with socket.socket(_family(peer.address), kind) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect((peer.address, port.number))
            if not peer.listens:
                return Answer("reached")
            connection.sendall(question)
            words = connection.recv(_LONGEST).decode(errors="replace").split()
    except ConnectionRefusedError:
        return Answer("refused")
    except OSError:
        return Answer("silent")
    delay = time.monotonic() - began
    if len(words) != 2 or words[0] != token:
        return Answer("refused")
    return Answer("reached", float(words[1]) - asked - delay / 2, delay)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET


def meet(
    own_name: str, address: str, own_ports: Sequence[Port], peers: Sequence[Peer], token: str, seconds: float
) -> dict[str, Any]:
    """Listen and ask until everybody has been reached and heard, `seconds` at most.

    Returns:
        ``held``, the own ports that somebody else has, and ``peers``: by name, ``ports`` (outcome by port) and
        ``clock``, the seconds that the other host is ahead, None where it did not say.
    """
    deadline = time.monotonic() + seconds
    listener = Listener(token)
    with ExitStack() as stack:
        held = [str(port) for port in own_ports if not listener.serve(address, port, stack)]
        listening = [str(port) for port in own_ports if str(port) not in held]
        answers = _ask_all(own_name, token, peers, deadline)
        names = [peer.name for peer in peers]
        while not listener.has_heard(names, listening) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        time.sleep(_LINGER if listening else 0)
    return {"held": held, "peers": {peer.name: _told(peer, answers) for peer in peers}}


def _ask_all(
    own_name: str, token: str, peers: Sequence[Peer], deadline: float
) -> Mapping[tuple[str, Port], Answer]:
    answers: dict[tuple[str, Port], Answer] = {}
    waiting = [(peer, port) for peer in peers for port in peer.ports]
    with ThreadPoolExecutor(_THREADS) as threads:
        while waiting:
            found = threads.map(lambda each: ask(own_name, token, *each), waiting)
            answers |= {
                (peer.name, port): answer for (peer, port), answer in zip(waiting, found, strict=True)
            }
            waiting = [each for each in waiting if answers[each[0].name, each[1]].outcome != "reached"]
            if time.monotonic() > deadline:
                break
            if waiting:
                time.sleep(_PAUSE)
    return answers


def _told(peer: Peer, answers: Mapping[tuple[str, Port], Answer]) -> dict[str, Any]:
    own = {port: answers[peer.name, port] for port in peer.ports}
    timed = [each for each in own.values() if each.clock is not None]
    # The quicker the answer, the less is unknown.
    best = min(timed, key=lambda each: each.delay, default=None)
    return {
        "ports": {str(port): answer.outcome for port, answer in own.items()},
        "clock": best.clock if best else None,
    }
