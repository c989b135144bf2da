# SPDX-License-Identifier: Apache-2.0
"""Logging in: the OpenSSH client configuration, habits of asyncssh and TCP that cost time, and what errors mean.

Each habit that is switched off here is worth 7 to 10 per cent of the time of the first artifact, or of the throughput
on a fast link (docs/data-plane.md). Two of them, and the sign of life, reach below asyncssh's public interface; with an
asyncssh whose insides differ they have no effect.
"""

import contextlib
import copy
import socket
from typing import Any

import asyncssh

from mlflow_sftp.errors import (
    AuthenticationFailedError,
    HostKeyRejectedError,
    InvalidSettingError,
    SessionRefusedError,
    SftpError,
    UnreachableError,
    UnresolvableError,
)
from mlflow_sftp.settings import Settings
from mlflow_sftp.uri import Endpoint
from mlflow_sftp.wire.client_config import connection_options
from mlflow_sftp.wire.packets import SessionLostError

# AES-GCM first: with the CPU's AES instructions about twice as fast as asyncssh's first choice.
_CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
# What asyncssh would take and OpenSSH's client has off, unless its configuration says otherwise.
_OUTDATED = {
    "kex_algs": ("KexAlgorithms", "-*-sha1"),
    "server_host_key_algs": ("HostKeyAlgorithms", "-ssh-rsa,ssh-rsa-cert-v01@openssh.com"),
}
_RSA_SIGNATURES = (b"rsa-sha2-512", b"rsa-sha2-256")
# What asyncssh says of what lies beside a private key.
_MISMATCHES = {
    "Certificate key mismatch": "the certificate beside the private key, KEY-cert.pub,",
    "Public key mismatch": "the public half beside the private key, KEY.pub,",
}
_MSG_IGNORE = 2
_SIGNED = b"\1"


class PublickeyFirstClient(asyncssh.SSHClient):
    """Logs in with the first key at once, without asking what methods there are and whether that key would do.

    A server that wants something else says so then, and asyncssh goes on as ever. Only keys that are in files are
    used like this: an agent or a token may ask its user before it signs.
    """

    _once_more: list[asyncssh.SSHKeyPair]

    def public_key_auth_requested(self) -> list[asyncssh.SSHKeyPair]:
        """Return the keys to go on with when all are refused."""
        pairs, self._once_more = self._once_more, []
        return pairs

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._once_more = _order_rsa_signatures(conn)
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


def _order_rsa_signatures(conn: asyncssh.SSHClientConnection) -> list[asyncssh.SSHKeyPair]:
    """Have RSA keys in files sign with SHA-512 first, as ssh does, and return them to sign with SHA-256 only.

    OpenSSH's server names both, also where its configuration takes but one.
    """
    pairs: list[Any] = getattr(conn, "_client_keys", [])
    once_more = []
    for position, pair in enumerate(pairs):
        if not _is_in_file(pair) or not set(_RSA_SIGNATURES) <= set(getattr(pair, "sig_algorithms", ())):
            continue
        if getattr(pair, "has_cert", False):
            continue
        # The pair itself belongs to all connections with these options.
        pairs[position] = _signing_with(pair, _RSA_SIGNATURES)
        once_more.append(_signing_with(pair, _RSA_SIGNATURES[1:]))
    return once_more


def _signing_with(pair: Any, algorithms: tuple[bytes, ...]) -> Any:
    pair = copy.copy(pair)
    pair.sig_algorithms = algorithms
    # What is used where the server does not say what it takes.
    pair.set_sig_algorithm(algorithms[0])
    return pair


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


async def ask_for_sign_of_life(ssh: asyncssh.SSHClientConnection) -> None:
    """Return when the server's SSH side answers a keepalive request, whatever its SFTP side is at."""
    request = getattr(ssh, "_make_global_request", None)
    if request is None:
        raise OSError("this asyncssh asks for no sign of life")
    await request(b"keepalive@openssh.com")


def suppress_ignore_packets(ssh: asyncssh.SSHClientConnection) -> None:
    """Do without the empty packet that asyncssh sends before every other one.

    It protects the initialisation vectors of CBC, and costs a system call and a third of the time to send a packet.
    """
    send_packet = ssh.send_packet

    def send(pkttype: int, *args: Any, **kwargs: Any) -> None:
        if pkttype != _MSG_IGNORE:
            send_packet(pkttype, *args, **kwargs)

    if not str(ssh.get_extra_info("send_cipher")).endswith("-cbc"):
        ssh.send_packet = send  # type: ignore[method-assign]  # of this one connection


def read_options(endpoint: Endpoint, settings: Settings) -> asyncssh.SSHClientConnectionOptions:
    """Read the OpenSSH client configuration and the keys it names; blocks on the disk.

    InvalidSettingError where no server's identity could be checked, and what asyncssh raises for a configuration or
    a key that it cannot read: `translate_error` tells what that means.
    """
    # Half a second for each RSA key, to find flaws in a file that is the user's own.
    asyncssh.set_default_skip_rsa_key_validation(True)
    given: dict[str, Any] = {"keepalive_interval": settings.keepalive, "keepalive_count_max": 3}
    if endpoint.password:
        given["password"] = endpoint.password
    if settings.key_passphrase:
        given["passphrase"] = settings.key_passphrase
    options = connection_options(endpoint, settings, **given)
    if options.known_hosts is None:
        # asyncssh reads "UserKnownHostsFile none" as "check nothing".
        raise InvalidSettingError(
            "UserKnownHostsFile none",
            str(endpoint),
            "without known hosts no server's identity could be checked",
            "Name a known_hosts file that lists the server's key.",
        )
    chosen: dict[str, Any] = {
        name: algorithms
        for name, (keyword, algorithms) in _OUTDATED.items()
        if not options.config.get(keyword)
    }
    if not options.config.get("Ciphers"):
        chosen["encryption_algs"] = list(_CIPHERS)
    return asyncssh.SSHClientConnectionOptions(options, **chosen)


def translate_error(error: Exception, endpoint: str, connect_timeout: float) -> SftpError:
    """Return what an exception raised while connecting to `endpoint` means to whoever has to mend it."""
    what, where = "connect", endpoint
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return HostKeyRejectedError(what, where, f"the server's host key is not trusted ({error.reason})")
    if isinstance(error, asyncssh.PermissionDenied):
        return AuthenticationFailedError(what, where, f"the server refused to log in ({error.reason})")
    if isinstance(error, asyncssh.ChannelOpenError):
        return SessionRefusedError(what, where, f"the server opened no SFTP session ({error.reason})")
    if isinstance(error, asyncssh.KeyImportError | asyncssh.KeyEncryptionError):
        return AuthenticationFailedError(what, where, f"the private key cannot be read ({error})")
    if isinstance(error, ValueError) and str(error) in _MISMATCHES:
        seen = f"{_MISMATCHES[str(error)]} is that of another key ({error})"
        return AuthenticationFailedError(what, where, seen, "Remove it, or put the one of this key there.")
    if isinstance(error, asyncssh.ConfigParseError):
        return InvalidSettingError("OpenSSH client configuration", where, str(error))
    if isinstance(error, socket.gaierror):
        seen = f"the host name does not resolve ({error.strerror})"
        temporary = error.errno == socket.EAI_AGAIN
        return UnreachableError(what, where, seen) if temporary else UnresolvableError(what, where, seen)
    if isinstance(error, TimeoutError):
        return UnreachableError(what, where, f"no SFTP session within {connect_timeout:g} s")
    if isinstance(error, SessionLostError | asyncssh.Error):
        return UnreachableError(what, where, f"the connection ended during set-up ({_reason(error)})")
    if isinstance(error, FileNotFoundError | PermissionError) and error.filename:
        return InvalidSettingError(
            "OpenSSH client configuration", where, f"{error.strerror}: {error.filename}"
        )
    if isinstance(error, OSError):
        return UnreachableError(what, where, f"the connection failed ({error.strerror or error})")
    if isinstance(error, ValueError):
        return InvalidSettingError("OpenSSH client configuration", where, str(error))
    return SftpError(what, where, f"{type(error).__name__}: {error}")


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error)
