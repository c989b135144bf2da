# SPDX-License-Identifier: Apache-2.0
"""Round trips, packets and pauses that a login and a transfer can do without.

Each of these is worth 7 to 10 per cent of the time of the first artifact, or of the throughput on a fast link
(docs/data-plane.md). Two of them reach below asyncssh's public interface; with an asyncssh whose insides differ they
have no effect.
"""

import contextlib
import socket
from typing import Any

import asyncssh

_MSG_IGNORE = 2
_SIGNED = b"\1"


class BriskClient(asyncssh.SSHClient):
    """Logs in with the first key at once, without asking what methods there are and whether that key would do.

    A server that wants something else says so then, and asyncssh goes on as ever. Only keys that are in files are
    used like this: an agent or a token may ask its user before it signs.
    """

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        methods = getattr(conn, "_auth_methods", None)
        if methods != [b"none"]:
            return
        methods.insert(0, b"publickey")
        send_request = conn.send_userauth_request

        async def sign_at_once(method: bytes, *args: bytes, key: Any = None, trivial: bool = True) -> None:
            pair = getattr(getattr(conn, "_auth", None), "_keypair", None)
            if key is None and method == b"publickey" and _is_in_file(pair):
                await send_request(method, _SIGNED, *args[1:], key=pair, trivial=False)
            else:
                await send_request(method, *args, key=key, trivial=trivial)

        conn.send_userauth_request = sign_at_once  # type: ignore[method-assign]  # of this one connection


def _is_in_file(pair: Any) -> bool:
    return (
        isinstance(pair, asyncssh.SSHKeyPair)
        and pair.get_key_type() == "local"
        and not getattr(pair, "use_executor", False)
    )


def acknowledge_at_once(ssh: asyncssh.SSHClientConnection) -> None:
    """Have the kernel acknowledge what comes next without delay; where it cannot (it is not Linux), do nothing.

    After a login sshd sends notices, and by Nagle's algorithm keeps the answer that is waited for until they are
    acknowledged, which a client with nothing to say puts off for 40 ms.
    """
    connection = ssh.get_extra_info("socket")
    if connection is not None and hasattr(socket, "TCP_QUICKACK"):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def stop_padding(ssh: asyncssh.SSHClientConnection) -> None:
    """Do without the empty packet that asyncssh sends before every other one.

    It protects the initialisation vectors of CBC, and costs a system call and a third of the time to send a packet.
    """
    send_packet = ssh.send_packet

    def send(pkttype: int, *args: Any, **kwargs: Any) -> None:
        if pkttype != _MSG_IGNORE:
            send_packet(pkttype, *args, **kwargs)

    if not str(ssh.get_extra_info("send_cipher")).endswith("-cbc"):
        ssh.send_packet = send  # type: ignore[method-assign]  # of this one connection
