# SPDX-License-Identifier: GPL-3.0-or-later
"""paramiko's SSH connection with the habits of OpenSSH's client: its algorithms, one request for the login, limits.

paramiko asks for the service ``ssh-userauth`` anew before every attempt to log in. Go's SSH servers (rclone, SFTPGo)
and asyncssh hang up at the second time, which looks as if they refused the key. `LoginHandler` asks once.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import paramiko
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import RSA_SIGNATURES
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp import chacha20
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.chacha20 import ChaCha20Poly1305
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.wire import Reader
from paramiko.auth_handler import AuthHandler
from paramiko.common import (
    MSG_SERVICE_ACCEPT,
    MSG_USERAUTH_BANNER,
    MSG_USERAUTH_FAILURE,
    MSG_USERAUTH_INFO_REQUEST,
    MSG_USERAUTH_SUCCESS,
    cMSG_SERVICE_REQUEST,
    cMSG_USERAUTH_INFO_RESPONSE,
    cMSG_USERAUTH_REQUEST,
)
from paramiko.kex_curve25519 import KexCurve25519
from paramiko.packet import Packetizer

# OpenSSH's own limit; paramiko would take in 4 GiB before it looks at a packet.
_LONGEST_PACKET = 256 << 10
_CERTIFICATE = "-cert-v01@openssh.com"
# What paramiko takes and OpenSSH's client has switched off; the older the paramiko, the more of them.
_OUTDATED = ("-cbc", "arcfour", "blowfish", "hmac-md5", "hmac-sha1-96", "ssh-dss")
_OUTDATED_NAMES = {
    "ssh-rsa",
    "diffie-hellman-group1-sha1",
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group-exchange-sha1",
}
# Its tables of algorithms are not part of its public interface, and not annotated.
_PARAMIKO: Any = paramiko.Transport
# What OpenSSH's client has on by default and paramiko, at least an older one, does not know.
OPENSSH_ONLY = frozenset(
    (
        "sntrup761x25519-sha512",
        "sntrup761x25519-sha512@openssh.com",
        "mlkem768x25519-sha256",
        "diffie-hellman-group18-sha512",
        "chacha20-poly1305@openssh.com",
        "umac-64@openssh.com",
        "umac-128@openssh.com",
        "umac-64-etm@openssh.com",
        "umac-128-etm@openssh.com",
        "hmac-sha1-etm@openssh.com",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    )
)
LISTS = ("key exchanges", "host keys", "ciphers", "MACs")


def _up_to_date(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        name for name in names if name not in _OUTDATED_NAMES and not any(part in name for part in _OUTDATED)
    )


class ServerEndedError(Exception):
    """The connection ended instead of an answer; the text says what is known of the reason."""


@dataclass(frozen=True)
class Refusal:
    """What a server says to an attempt to log in that is not enough.

    Attributes:
        methods: What may go on, as the server lists it.
        partial: Whether the attempt succeeded, and something more is wanted.
    """

    methods: tuple[str, ...]
    partial: bool


class _Packetizer(Packetizer):
    """paramiko's, with a limit for packets and the cipher `ChaCha20Poly1305`."""

    _inbound: ChaCha20Poly1305 | None = None
    _outbound: ChaCha20Poly1305 | None = None

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        """Read as paramiko does, but never more than a packet can be."""
        if n > _LONGEST_PACKET:
            raise paramiko.SSHException(f"a packet of {n} bytes is announced")
        data = bytes(super().read_all(n, check_rekey))
        # Only the start of a packet is waited for like this.
        return self._inbound.reveal_length(data) if check_rekey and self._inbound else data

    def write_all(self, out: Any) -> None:
        """Write a packet; its length is hidden where the cipher does so."""
        if self._outbound:
            out = self._outbound.hidden_length + out[len(self._outbound.hidden_length) :]
        super().write_all(out)

    def set_inbound_cipher(self, block_engine: Any, *arguments: Any, **named: Any) -> None:
        """Switch the cipher of what comes."""
        super().set_inbound_cipher(block_engine, *arguments, **named)
        self._inbound = self._counting(block_engine, "_Packetizer__sequence_number_in")

    def set_outbound_cipher(self, block_engine: Any, *arguments: Any, **named: Any) -> None:
        """Switch the cipher of what goes."""
        super().set_outbound_cipher(block_engine, *arguments, **named)
        self._outbound = self._counting(block_engine, "_Packetizer__sequence_number_out")

    def _counting(self, engine: Any, numbers: str) -> ChaCha20Poly1305 | None:
        if not isinstance(engine, ChaCha20Poly1305):
            return None
        engine.number = lambda: int(getattr(self, numbers))
        return engine


def _ciphers() -> dict[str, Any]:
    """Return paramiko's ciphers and ours, which needs a paramiko that knows of such (with AES-GCM)."""
    known: dict[str, Any] = dict(_PARAMIKO._cipher_info)
    if any(cipher.get("is_aead") for cipher in known.values()) and chacha20.is_supported():
        known[chacha20.NAME] = {
            "class": ChaCha20Poly1305,
            "block-size": 8,
            "iv-size": 12,
            "key-size": 64,
            "is_aead": True,
        }
    return known


class Transport(paramiko.Transport):
    """A connection whose every wait has the limit `timeout`.

    Attributes:
        goodbye: Why the server hung up, in its own words; empty as long as it said nothing.
        offered: The server's algorithms by name of `LISTS`; empty until it has said so.
    """

    _cipher_info: ClassVar[dict[str, Any]] = _ciphers()
    _preferred_ciphers = _up_to_date(
        (*_PARAMIKO._preferred_ciphers, *(_cipher_info.keys() - _PARAMIKO._cipher_info.keys()))
    )
    _preferred_macs = _up_to_date(_PARAMIKO._preferred_macs)
    _preferred_keys = _up_to_date(_PARAMIKO._preferred_keys)
    _preferred_pubkeys = _up_to_date(_PARAMIKO._preferred_pubkeys)
    # The name that the standard gave it (RFC 8731); paramiko knows only the first one.
    _preferred_kex = ("curve25519-sha256", *_up_to_date(_PARAMIKO._preferred_kex))
    _kex_info: ClassVar[dict[str, Any]] = {**_PARAMIKO._kex_info, "curve25519-sha256": KexCurve25519}

    server_extensions: dict[str, bytes]
    _send_message: Callable[[paramiko.Message], None]
    _auth_trigger: Callable[[], None]

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        super().__init__(sock)
        self.packetizer = _Packetizer(sock)
        self.packetizer.set_log(self.logger)
        self.banner_timeout = self.handshake_timeout = self.auth_timeout = timeout
        self.channel_timeout = self.clear_to_send_timeout = timeout
        self.timeout = timeout
        self.goodbye = ""
        self._ended_by: Exception | None = None
        self.offered: dict[str, tuple[str, ...]] = {}

    @property
    def wanted(self) -> dict[str, tuple[str, ...]]:
        """Our own algorithms, by name of `LISTS`."""
        lists = (self.preferred_kex, self.preferred_keys, self.preferred_ciphers, self.preferred_macs)
        return {kind: tuple(names) for kind, names in zip(LISTS, lists, strict=True)}

    @property
    def signature_algorithms(self) -> tuple[str, ...]:
        """Kinds of signatures that the server says it takes; empty if it does not say."""
        said = self.server_extensions.get("server-sig-algs", b"")
        return tuple(filter(None, said.decode("ascii", "replace").split(",")))

    @property
    def proved_key(self) -> paramiko.PKey:
        """The host key that the key exchange proved, also where the connection has ended since."""
        assert self.host_key is not None
        return self.host_key

    @property
    def is_malformed(self) -> bool:
        """Whether what came from the server, and not the line, ended this connection."""
        error = self._end()
        return error is not None and not isinstance(error, EOFError | OSError)

    def why_ended(self) -> str:
        """Say what is known of the end of this connection."""
        error = self._end()
        said = f"the server says {self.goodbye!r}" if self.goodbye else ""
        seen = "" if error is None or isinstance(error, EOFError) else str(error) or type(error).__name__
        return said or seen or "end of file"

    def _end(self) -> Exception | None:
        """Return what ended this connection; the library tells it once."""
        self._ended_by = self.get_exception() or self._ended_by
        return self._ended_by

    def _parse_disconnect(self, m: paramiko.Message) -> None:
        reader = Reader(m.get_remainder())
        reader.number()
        self.goodbye = reader.text()[:200]

    def _parse_kex_init(self, m: paramiko.Message) -> None:
        reader = Reader(m.get_remainder())
        reader.take(16)
        lists = [_algorithms(reader.text()) for _ in range(6)]
        self.offered = dict(zip(LISTS, (*lists[:3], lists[4]), strict=True))
        super()._parse_kex_init(m)  # type: ignore[misc]  # not part of its public interface


class LoginHandler(AuthHandler):
    """Attempts to log in, one after another, after one request for the service.

    Raises from every attempt: `ServerEndedError`, TimeoutError.
    """

    def __init__(self, transport: Transport, user: str) -> None:
        super().__init__(transport)
        self._connection = transport
        self._user = user
        self._service = threading.Event()
        self._answered = threading.Event()
        self._refusal: Refusal | None = None
        self._would_accept = False
        self._replies: Callable[[int], list[str]] = lambda prompts: []
        self.prompts = 0
        self.auth_event = self._answered
        transport.auth_handler = self

    @property
    def _handler_table(self) -> dict[int, Callable[..., None]]:
        """What is done with which message; older versions of paramiko pass the handler itself as well."""
        handlers = {
            MSG_SERVICE_ACCEPT: lambda message: self._service.set(),
            MSG_USERAUTH_SUCCESS: self._accepted,
            MSG_USERAUTH_FAILURE: self._refused,
            MSG_USERAUTH_BANNER: lambda message: None,
            MSG_USERAUTH_INFO_REQUEST: self._asked,
        }
        return {kind: _last_argument(handler) for kind, handler in handlers.items()}

    def without_proof(self) -> Refusal | None:
        """Log in without any proof; what the server says instead lists the methods."""
        return self._attempt("none")

    def with_password(self, password: str) -> Refusal | None:
        """Log in with a password; None if that is enough."""
        return self._attempt("password", False, password)

    def with_prompt(self, password: str) -> Refusal | None:
        """Answer one question with a password; `prompts` tells how many there were at once."""
        self._replies = lambda prompts: [password] if prompts == 1 else []
        return self._attempt("keyboard-interactive", "", "")

    def with_key(self, key: paramiko.PKey, algorithm: str) -> Refusal | None:
        """Log in with a private key and a kind of signature that `algorithms_for` names; None if that is enough."""
        blob = key.public_blob.key_blob if key.public_blob else key.asbytes()
        signed = paramiko.Message()
        signed.add_string(self._connection.session_id or b"")
        signed.add_bytes(self._request("publickey", True, algorithm, blob).asbytes())
        signature = key.sign_ssh_data(signed.asbytes(), algorithm)
        return self._attempt("publickey", True, algorithm, blob, signature.asbytes())

    def would_accept(self, algorithm: str, blob: bytes) -> bool:
        """Ask whether a public key may log in with a kind of signature, without the proof that is one."""
        self._would_accept = False
        self._attempt("publickey", False, algorithm, blob)
        return self._would_accept

    def _request(self, method: str, *fields: str | bytes | bool) -> paramiko.Message:
        message = paramiko.Message()
        message.add_byte(cMSG_USERAUTH_REQUEST)
        for field in (self._user, "ssh-connection", method, *fields):
            if isinstance(field, bool):
                message.add_boolean(field)
            else:
                message.add_string(field)
        return message

    def _attempt(self, method: str, *fields: str | bytes | bool) -> Refusal | None:
        self.auth_method = method
        if not self._service.is_set():
            request = paramiko.Message()
            request.add_byte(cMSG_SERVICE_REQUEST)
            request.add_string("ssh-userauth")
            self._send(request)
            self._wait(self._service)
        self._refusal = None
        self._answered.clear()
        self._send(self._request(method, *fields))
        self._wait(self._answered)
        if self._refusal is None and not self.authenticated and not self._would_accept:
            raise ServerEndedError(self._connection.why_ended())
        return self._refusal

    def _send(self, message: paramiko.Message) -> None:
        try:
            self._connection._send_message(message)
        except (EOFError, OSError):
            # What the server said last explains it, and comes on the other thread.
            self._connection.join(1)
            raise ServerEndedError(self._connection.why_ended()) from None

    def _wait(self, event: threading.Event) -> None:
        deadline = time.monotonic() + self._connection.timeout
        while not event.wait(0.05):
            if not self._connection.is_active():
                raise ServerEndedError(self._connection.why_ended())
            if time.monotonic() > deadline:
                raise TimeoutError

    def _accepted(self, message: paramiko.Message) -> None:
        self.authenticated = True
        self._connection._auth_trigger()
        self._answered.set()

    def _refused(self, message: paramiko.Message) -> None:
        reader = Reader(message.get_remainder())
        methods = tuple(filter(None, reader.text().split(",")))
        self._refusal = Refusal(methods, reader.take(1) != b"\0")
        self._answered.set()

    def _asked(self, message: paramiko.Message) -> None:
        # What a message of this number means depends on the method: of this one, "that key will do".
        if self.auth_method == "publickey":
            self._would_accept = True
            self._answered.set()
            return
        reader = Reader(message.get_remainder())
        for _ in range(3):
            reader.text()
        self.prompts = reader.number()
        replies = self._replies(self.prompts)
        response = paramiko.Message()
        response.add_byte(cMSG_USERAUTH_INFO_RESPONSE)
        response.add_int(len(replies))
        for reply in replies:
            response.add_string(reply)
        self._connection._send_message(response)


def algorithms_for(key: paramiko.PKey, taken: Sequence[str]) -> list[str]:
    """Return the kinds of signatures to try with a key, best first.

    Args:
        key: The private key, with a certificate or without.
        taken: What the server says it takes (`Transport.signature_algorithms`). OpenSSH lists all it knows there,
            also what its configuration refuses, so that being listed is no promise.
    """
    name = key.public_blob.key_type if key.public_blob else key.get_name()
    if "rsa" not in name:
        return [name]
    suffix = _CERTIFICATE if name.endswith(_CERTIFICATE) else ""
    return [algorithm + suffix for algorithm in RSA_SIGNATURES if not taken or algorithm in taken]


def _algorithms(names: str) -> tuple[str, ...]:
    """Split a list of a key exchange, without the marks in it that are no algorithms."""
    return tuple(name for name in names.split(",") if not name.startswith(("ext-info-", "kex-strict-")))


def _last_argument(handler: Callable[[Any], Any]) -> Callable[..., None]:
    def handle(*arguments: Any) -> None:
        handler(arguments[-1])

    return handle
