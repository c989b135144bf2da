# SPDX-License-Identifier: GPL-3.0-or-later
"""From a name to an encrypted connection without login: one stage a function, each with a limit."""

from __future__ import annotations

import contextlib
import errno
import logging
import random
import re
import select
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import paramiko
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.transport import (
    OPENSSH_ONLY,
    Transport,
)

# paramiko logs whole tracebacks of what it also raises.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

SocketAddress = tuple[int, Any]
_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL}
_REFUSALS = {"Exceeded MaxStartups": "too_many_connections", "Not allowed at this time": "client_penalised"}
_REFUSALS_SAID = tuple(words.encode() for words in _REFUSALS)
_SSH_GREETING = re.compile(rb"(?:^|(?<=\n))SSH-")
_SSH_LINE = re.compile(rb"(?:^|\n)SSH-[^\n]*\n")
# Bytes; a server may say more before its greeting than this, but none is known to.
_LONGEST_GREETING = 8192
# Seconds to leave a server alone that has too many connections.
_LONGEST_PAUSE = 0.6
# Seconds for a server of another kind to show itself.
_LAST_WORD = 2.0


@dataclass(frozen=True)
class Endpoint:
    """Where a server is and what it is called.

    Attributes:
        host: The name the server is known by; host keys are looked up under it.
        port: TCP port.
        address: Name or IP address to connect to; often the same as `host`.
        host_key_alias: Replaces ``[host]:port`` in known_hosts where given.
    """

    host: str
    port: int
    address: str
    host_key_alias: str | None = None

    @property
    def label(self) -> str:
        """``host:port``, and the address if it is another one; for messages."""
        via = "" if self.address == self.host else f" (at {self.address})"
        return f"{self.host}:{self.port}{via}"

    @property
    def known_hosts_name(self) -> str:
        """The name in known_hosts, as OpenSSH writes it: bare only for port 22."""
        if self.host_key_alias:
            return self.host_key_alias
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"


def resolve(endpoint: Endpoint, timeout: float) -> list[SocketAddress]:
    """Look up the TCP addresses of an endpoint as (family, sockaddr) pairs.

    Raises:
        DiagnosedError: name_unresolved, resolver_unavailable.
    """
    outcome: list[list[SocketAddress] | OSError] = []

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(endpoint.address, endpoint.port, type=socket.SOCK_STREAM)
            outcome.append([(family, sockaddr) for family, _, _, _, sockaddr in found])
        except OSError as error:
            outcome.append(error)

    # getaddrinfo knows no time limit of its own.
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(timeout)
    if not outcome:
        raise DiagnosedError(
            "resolver_unavailable", f"no answer about {endpoint.address} within {timeout:g} s"
        )
    if isinstance(outcome[0], OSError):
        error = outcome[0]
        code = "resolver_unavailable" if error.errno == socket.EAI_AGAIN else "name_unresolved"
        raise DiagnosedError(code, f"{endpoint.address}: {error.strerror}")
    return outcome[0]


def connect(addresses: Sequence[SocketAddress], timeout: float) -> socket.socket:
    """Connect to the first address that accepts; all of them share the time limit.

    Raises:
        DiagnosedError: connection_refused, connection_timeout, no_route; the first address' failure decides.
    """
    faults: list[DiagnosedError] = []
    for family, sockaddr in addresses:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(timeout / len(addresses))
        try:
            sock.connect(sockaddr)
        except OSError as error:
            sock.close()
            faults.append(_connect_fault(error, f"{sockaddr[0]} port {sockaddr[1]}", timeout))
            continue
        sock.settimeout(timeout)
        return sock
    raise DiagnosedError(faults[0].cause.code, "; ".join(fault.seen for fault in faults))


def _connect_fault(error: OSError, where: str, timeout: float) -> DiagnosedError:
    if isinstance(error, TimeoutError):
        return DiagnosedError("connection_timeout", f"{where}: no answer within {timeout:g} s")
    code = "no_route" if error.errno in _NO_ROUTE else "connection_refused"
    return DiagnosedError(code, f"{where}: {error.strerror or error}")


def greet(
    addresses: Sequence[SocketAddress], timeout: float, sock: socket.socket | None = None
) -> tuple[socket.socket, str]:
    """Connect and read the greeting; a server that has too many clients for the moment is asked again.

    Args:
        addresses: The server.
        timeout: Seconds for each step, and for all attempts together.
        sock: A connection that is open already, for the first attempt.

    Raises:
        DiagnosedError: as `connect` and `read_banner`.
    """
    deadline = time.monotonic() + timeout
    while True:
        sock = sock or connect(addresses, timeout)
        try:
            return sock, read_banner(sock, timeout)
        except DiagnosedError as error:
            sock.close()
            if error.cause.code != "too_many_connections" or time.monotonic() > deadline:
                raise
        sock = None
        # Not all of those that were turned away at once come back at once.
        time.sleep(_LONGEST_PAUSE * random.random())  # noqa: S311  # nothing secret


def read_banner(sock: socket.socket, timeout: float) -> str:
    """Return the server's greeting line and leave it in the socket for the SSH library.

    A server that waits for its client to speak first (HTTP, for one) is spoken to when the time is over, so that it
    shows what it is.

    Raises:
        DiagnosedError: not_ssh, banner_timeout, closed_early, too_many_connections, client_penalised.
    """
    greeting, ended = _peek_line(sock, timeout)
    if not greeting and not ended:
        with contextlib.suppress(OSError):
            sock.sendall(b"SSH-2.0-sftp_check\r\n\r\n")
        greeting, ended = _peek_line(sock, min(timeout / 4, _LAST_WORD))
        if _SSH_GREETING.search(greeting) or not (greeting or ended):
            raise DiagnosedError("banner_timeout", f"connected, then silence for {timeout:g} s")
    sock.settimeout(timeout)
    if not greeting:
        raise DiagnosedError("closed_early", "connected, then the server hung up without a word")
    text = greeting.decode("utf-8", "replace")
    shown = repr(text.strip()[:120])
    for words, code in _REFUSALS.items():
        if words in text:
            raise DiagnosedError(code, f"the server says {shown}")
    match = _SSH_GREETING.search(greeting)
    if match and (ended or _SSH_LINE.search(greeting)):
        return greeting[match.start() :].decode("utf-8", "replace").strip().splitlines()[0]
    if match or b"SSH-".startswith(greeting[:4]):
        seen = f"the greeting stops after {shown} for {timeout:g} s"
        raise DiagnosedError("banner_timeout", seen)
    raise DiagnosedError("not_ssh", f"the greeting is {shown}")


def _peek_line(sock: socket.socket, timeout: float) -> tuple[bytes, bool]:
    """Return what has arrived, leaving it there, and whether the peer hung up.

    Returns when a line of SSH is complete, as much was said as is looked at, the peer hung up, or the time is over.
    """
    deadline = time.monotonic() + timeout
    seen = b""
    while (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            now = sock.recv(_LONGEST_GREETING, socket.MSG_PEEK)
        except TimeoutError:
            break
        except OSError:
            return seen, True
        if _SSH_LINE.search(now) or len(now) == _LONGEST_GREETING or any(w in now for w in _REFUSALS_SAID):
            return now, False
        # Where the peer has hung up, what is left can be seen again and again, and nothing is added to it.
        if not now or (now == seen and _has_hung_up(sock)):
            return now, True
        seen = now
        time.sleep(0.02)
    return seen, False


def _has_hung_up(sock: socket.socket) -> bool:
    """Whether the peer has closed its side; what it said before may still be unread."""
    if not hasattr(select, "POLLRDHUP"):
        return False
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))


def negotiate(sock: socket.socket, key_types: Sequence[str] | None, timeout: float) -> Transport:
    """Agree on keys with the server; the host key is then known but not yet trusted.

    Args:
        sock: Connected, the greeting still unread.
        key_types: Host key algorithms to accept, best first; None for the library's own choice.
        timeout: Seconds.

    Raises:
        DiagnosedError: no_common_algorithm, algorithm_missing_here, server_stalled, connection_lost, ssh_malformed.
    """
    transport = Transport(sock, timeout)
    if key_types is not None:
        transport.get_security_options().key_types = tuple(key_types)
    started = time.monotonic()
    try:
        transport.start_client(timeout=timeout)
    except Exception as error:
        # Whatever stumbles over what the server sent ends up here, in the library's words.
        transport.close()
        raise _negotiation_fault(transport, error, time.monotonic() - started) from error
    if not transport.initial_kex_done:
        transport.close()
        raise _stalled_exchange(timeout)
    return transport


def _negotiation_fault(transport: Transport, error: Exception, seconds: float) -> DiagnosedError:
    """Name the cause of an exception that ended a key exchange."""
    if transport.goodbye:
        return _no_algorithm(transport) or DiagnosedError(
            "connection_lost", f"in the key exchange the server says {transport.goodbye!r}"
        )
    if isinstance(error, paramiko.SSHException) and "ncompatible" in f"{type(error).__name__} {error}":
        return _no_algorithm(transport) or DiagnosedError("no_common_algorithm", str(error))
    if isinstance(error, TimeoutError) or seconds >= transport.timeout:
        return _stalled_exchange(transport.timeout)
    # A server that has nothing in common may just hang up.
    ended = isinstance(error, EOFError | OSError) or str(error) == "Negotiation failed."
    if ended or "banner" in str(error):
        return _no_algorithm(transport) or DiagnosedError(
            "connection_lost", f"in the key exchange: {transport.why_ended()}"
        )
    return DiagnosedError("ssh_malformed", f"in the key exchange: {error or type(error).__name__}")


def _stalled_exchange(timeout: float) -> DiagnosedError:
    return DiagnosedError("server_stalled", f"no answer in the key exchange within {timeout:g} s")


def _no_algorithm(transport: Transport) -> DiagnosedError | None:
    """Say of what kind of algorithm client and server have none in common; None if there is none like that."""
    for kind, offered in transport.offered.items():
        wanted = transport.wanted[kind]
        if set(offered) & set(wanted):
            continue
        seen = f"{kind}: the server takes only {', '.join(offered)}; this side {', '.join(wanted)}"
        missing = sorted(set(offered) & OPENSSH_ONLY)
        if missing:
            library = f"paramiko {paramiko.__version__}"
            return DiagnosedError(
                "algorithm_missing_here", seen, library=library, algorithms=", ".join(missing)
            )
        return DiagnosedError("no_common_algorithm", seen)
    return None
