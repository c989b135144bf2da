"""Hosts that try the ports between them; each is an address of loopback here."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm import reach
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.reach import (
    Listener,
    Peer,
    Port,
    ask,
    meet,
)

HOSTS = {"one": "127.0.0.2", "two": "127.0.0.3"}
PORTS = (Port("tcp", 15201), Port("udp", 15201), Port("udp", 15202))
TOKEN = "token"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost on the way here."""
    monkeypatch.setattr(reach, "_PATIENCE", 0.2)
    monkeypatch.setattr(reach, "_LINGER", 0.2)
    monkeypatch.setattr(reach, "_PAUSE", 0.05)


@contextmanager
def taken(kind: socket.SocketKind, address: str, number: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((address, number))
        if kind == socket.SOCK_STREAM:
            holder.listen()
        yield holder


def met(name: str, seconds: float = 5, listens: bool = True, **given: Any) -> dict[str, Any]:
    peers = [Peer(other, HOSTS[other], PORTS, listens) for other in HOSTS if other != name]
    return meet(name, HOSTS[name], PORTS, peers, given.get("token", TOKEN), seconds)


def both(**given: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    with ThreadPoolExecutor() as threads:
        one, two = threads.submit(met, "one", **given), threads.submit(met, "two", **given)
        return one.result(), two.result()


def test_everybody_is_reached_and_the_clocks_agree() -> None:
    for told in both():
        assert told["held"] == []
        ((_, other),) = told["peers"].items()
        assert other["ports"] == {"tcp/15201": "reached", "udp/15201": "reached", "udp/15202": "reached"}
        assert abs(other["clock"]) < 0.5


def test_what_nobody_listens_on_is_not_reached() -> None:
    told = met("one", seconds=0.5)
    assert set(told["peers"]["two"]["ports"].values()) <= {"refused", "silent"}
    assert told["peers"]["two"]["clock"] is None


def test_a_port_that_something_else_has_is_held_and_no_answer() -> None:
    with taken(socket.SOCK_DGRAM, HOSTS["two"], 15202):
        one, two = both(seconds=2)
    assert two["held"] == ["udp/15202"]
    assert one["peers"]["two"]["ports"]["udp/15202"] == "silent"
    assert one["peers"]["two"]["ports"]["tcp/15201"] == "reached"


def test_of_a_node_of_a_swarm_a_connection_is_enough() -> None:
    with taken(socket.SOCK_STREAM, HOSTS["two"], 15201):
        peer = Peer("two", HOSTS["two"], PORTS[:1], listens=False)
        assert ask("one", TOKEN, peer, PORTS[0]).outcome == "reached"
        told = meet("one", HOSTS["one"], (), [peer], TOKEN, 1)
    assert told["peers"]["two"] == {"ports": {"tcp/15201": "reached"}, "clock": None}


@pytest.mark.parametrize("question", [b"", b"token", b"other one\n", b"token one more", b"\xff\xfe one"])
def test_who_does_not_know_the_token_gets_no_answer(question: bytes) -> None:
    listener = Listener(TOKEN)
    assert listener.answer(question, "udp/4789") is None
    assert not listener.has_heard(["one"], ["udp/4789"])


def test_a_question_is_answered_with_the_time() -> None:
    listener = Listener(TOKEN)
    answer = listener.answer(b"token one\n", "udp/4789")
    assert answer is not None
    assert answer.startswith(b"token 1")
    assert listener.has_heard(["one"], ["udp/4789"])
