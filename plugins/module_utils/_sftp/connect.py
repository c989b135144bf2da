# SPDX-License-Identifier: GPL-3.0-or-later
"""From a name to an encrypted connection without login: one stage a function, each with a limit."""

from __future__ import annotations

import errno
import logging
import re
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import paramiko
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError

# paramiko logs whole tracebacks of what it also raises.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

SocketAddress = tuple[int, Any]
_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL}
_REFUSALS = {"Exceeded MaxStartups": "too_many_connections", "Not allowed at this time": "client_penalised"}
_SSH_GREETING = re.compile(rb"(^|\n)SSH-")


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


def read_banner(sock: socket.socket, timeout: float) -> str:
    """Return the server's greeting line and leave it in the socket for the SSH library.

    A server that waits for its client to speak first (HTTP, for one) is spoken to after half the time,
    so that it shows what it is.

    Raises:
        DiagnosedError: not_ssh, banner_timeout, closed_early, too_many_connections, client_penalised.
    """
    sock.settimeout(timeout / 2)
    greeting = _peek(sock)
    if greeting is None:
        sock.sendall(b"SSH-2.0-sftp_check\r\n\r\n")
        greeting = _peek(sock)
    sock.settimeout(timeout)
    if greeting is None:
        raise DiagnosedError("banner_timeout", f"connected, then silence for {timeout:g} s")
    if not greeting:
        raise DiagnosedError("closed_early", "connected, then the server hung up without a word")
    text = greeting.decode("utf-8", "replace")
    shown = repr(text.strip()[:120])
    for words, code in _REFUSALS.items():
        if words in text:
            raise DiagnosedError(code, f"the server says {shown}")
    match = _SSH_GREETING.search(greeting)
    if not match:
        raise DiagnosedError("not_ssh", f"the greeting is {shown}")
    return text[match.start() :].strip().splitlines()[0]


def _peek(sock: socket.socket) -> bytes | None:
    """Return what has arrived, leaving it there: empty if the peer hung up, None if nothing came in time."""
    try:
        return sock.recv(1024, socket.MSG_PEEK)
    except TimeoutError:
        return None
    except OSError:
        return b""


def negotiate(sock: socket.socket, key_types: Sequence[str] | None, timeout: float) -> paramiko.Transport:
    """Agree on keys with the server; the host key is then known but not yet trusted.

    Args:
        sock: Connected, the greeting still unread.
        key_types: Host key algorithms to accept, best first; None for the library's own choice.
        timeout: Seconds.

    Raises:
        DiagnosedError: no_common_algorithm, server_stalled, connection_lost.
    """
    transport = paramiko.Transport(sock)
    transport.banner_timeout = timeout
    if key_types is not None:
        transport.get_security_options().key_types = tuple(key_types)
    try:
        transport.start_client(timeout=timeout)
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        raise negotiation_fault(error, timeout) from error
    return transport


def negotiation_fault(error: Exception, timeout: float) -> DiagnosedError:
    """Name the cause of an exception that ended a key exchange."""
    if "Incompatible" in type(error).__name__ or "Incompatible" in str(error):
        return DiagnosedError("no_common_algorithm", str(error))
    if "Timeout" in str(error) or isinstance(error, TimeoutError):
        return DiagnosedError("server_stalled", f"no answer in the key exchange within {timeout:g} s")
    return DiagnosedError("connection_lost", f"in the key exchange: {error or type(error).__name__}")
