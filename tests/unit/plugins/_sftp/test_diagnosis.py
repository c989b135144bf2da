"""What a server does, and what the doctor says of it: a key is blamed only where the server refused that key."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.check import (
    CheckOptions,
    check_account,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.options import CONNECTION_OPTIONS
from paramiko.common import AUTH_FAILED, AUTH_PARTIALLY_SUCCESSFUL, AUTH_SUCCESSFUL

from tests.support.server import keygen

# Seconds: enough for a busy machine, and what a server that says nothing costs.
_AMPLE, _SHORT = 8.0, 0.5


class Misbehaving(paramiko.ServerInterface):
    """Logs everybody in; each method may be replaced by a test.

    Attributes:
        transport: The server's side of the connection.
        sock: What it goes through.
    """

    def __init__(self, transport: paramiko.Transport, sock: socket.socket) -> None:
        self.transport = transport
        self.sock = sock
        self.keys_seen = 0

    def hang_up(self, reset: bool = False) -> int:
        """End the connection without a word."""
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.sock.shutdown(socket.SHUT_RDWR)
        self.transport.close()
        return AUTH_FAILED

    def say_goodbye(self, words: str) -> int:
        """End the connection as the protocol has it."""
        message = paramiko.Message()
        message.add_byte(b"\x01")
        message.add_int(2)
        message.add_string(words)
        message.add_string("")
        self.transport._send_message(message)  # type: ignore[attr-defined]
        return self.hang_up()

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.keys_seen += 1
        return AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return 0


class HangsUpBeforeAnyKey(Misbehaving):
    def check_auth_none(self, username: str) -> int:
        return self.hang_up()


class HangsUpAtTheKey(Misbehaving):
    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return self.hang_up()


class ResetsAtTheKey(Misbehaving):
    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return self.hang_up(reset=True)


class RestartsAtTheKey(Misbehaving):
    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return self.say_goodbye("server shutting down")


class SaysNothingToTheKey(Misbehaving):
    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        time.sleep(_AMPLE)
        return AUTH_FAILED


class RefusesTheKey(Misbehaving):
    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_FAILED


class RefusesOneAndHangsUp(Misbehaving):
    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.keys_seen += 1
        return AUTH_FAILED if self.keys_seen == 1 else self.say_goodbye("Too many authentication failures")


class RefusesOneAndBreaks(Misbehaving):
    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.keys_seen += 1
        return AUTH_FAILED if self.keys_seen == 1 else self.hang_up()


class SendsRubbish(Misbehaving):
    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.sock.sendall(bytes(range(256)))
        time.sleep(_SHORT)
        return AUTH_FAILED


class WantsMore(Misbehaving):
    def get_allowed_auths(self, username: str) -> str:
        return "publickey,keyboard-interactive"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_PARTIALLY_SUCCESSFUL


class TakesPasswordsOnly(Misbehaving):
    def get_allowed_auths(self, username: str) -> str:
        return "password"


class HangsUpAfterTheLogin(Misbehaving):
    def check_channel_request(self, kind: str, chanid: int) -> int:
        self.hang_up()
        return 0


class OpensNoSession(Misbehaving):
    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED


class HasNoSftp(Misbehaving):
    pass


class StopsAtTheSubsystem(Misbehaving):
    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        time.sleep(_AMPLE)
        return False


CAUSES = {
    HangsUpBeforeAnyKey: "connection_lost",
    HangsUpAtTheKey: "connection_lost",
    ResetsAtTheKey: "connection_lost",
    RestartsAtTheKey: "connection_lost",
    SaysNothingToTheKey: "server_stalled",
    RefusesTheKey: "auth_refused",
    RefusesOneAndHangsUp: "auth_attempts_used_up",
    RefusesOneAndBreaks: "connection_lost",
    SendsRubbish: "ssh_malformed",
    WantsMore: "auth_incomplete",
    TakesPasswordsOnly: "auth_method_refused",
    HangsUpAfterTheLogin: "login_cut_short",
    OpensNoSession: "no_sftp_subsystem",
    HasNoSftp: "no_sftp_subsystem",
    StopsAtTheSubsystem: "server_stalled",
}


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port of 127.0.0.1 whose connections go to `serve`, each on a thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = server.accept()
                    threading.Thread(target=serve, args=(sock,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def ssh_server(kind: type[Misbehaving], host_key: paramiko.PKey) -> Callable[[socket.socket], None]:
    def serve(sock: socket.socket) -> None:
        transport = paramiko.Transport(sock)
        transport.add_server_key(host_key)
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            transport.start_server(server=kind(transport, sock))

    return serve


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    directory = tmp_path_factory.mktemp("keys")
    return [keygen(directory / name, "ed25519") for name in ("host", "one", "two")]


def diagnose(port: int, keys: list[Path], config: Path, timeout: float = _AMPLE) -> dict[str, Any]:
    """Check an account whose host key is trusted, with two keys, and return what failed."""
    host, one, two = keys
    known = config.with_name("known_hosts")
    known.write_text(f"[127.0.0.1]:{port} {host.with_suffix('.pub').read_text()}")
    config.write_text(
        f"Host *\n  User u\n  IdentityFile {one}\n  IdentityFile {two}\n  UserKnownHostsFile {known}\n"
    )
    defaults = {name: spec.get("default") for name, spec in CONNECTION_OPTIONS.items()}
    given = {"host": "127.0.0.1", "port": port, "ssh_config_file": str(config), "connect_timeout": timeout}
    return check_account({**defaults, **given}, CheckOptions(None, 0))


@pytest.mark.parametrize("kind", CAUSES, ids=lambda kind: kind.__name__)
def test_cause(kind: type[Misbehaving], keys: list[Path], tmp_path: Path) -> None:
    host_key = paramiko.Ed25519Key.from_private_key_file(str(keys[0]))
    with listening(ssh_server(kind, host_key)) as port:
        silent = CAUSES[kind] == "server_stalled"
        result = diagnose(port, keys, tmp_path / "config", 3 * _SHORT if silent else _AMPLE)
    assert result["cause"] == CAUSES[kind], result["msg"]
    if CAUSES[kind] != "auth_refused":
        assert "authorized_keys" not in result["msg"]


def test_words_of_a_server_that_hangs_up_are_shown(keys: list[Path], tmp_path: Path) -> None:
    host_key = paramiko.Ed25519Key.from_private_key_file(str(keys[0]))
    with listening(ssh_server(RestartsAtTheKey, host_key)) as port:
        assert "server shutting down" in diagnose(port, keys, tmp_path / "config")["msg"]


def saying(*parts: bytes, stay: bool = True) -> Callable[[socket.socket], None]:
    """Say something in pieces, and then stay silent or hang up."""

    def serve(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            for part in parts:
                sock.sendall(part)
                time.sleep(0.1)
            if stay:
                time.sleep(_AMPLE)
            else:
                # A reset would take away what was said.
                sock.shutdown(socket.SHUT_WR)
                time.sleep(0.5)

    return serve


GREETINGS = {
    "silence": (saying(), "banner_timeout"),
    "half a greeting": (saying(b"SSH-2.0-"), "banner_timeout"),
    "a few letters": (saying(b"SS"), "banner_timeout"),
    "nothing but the end": (saying(stay=False), "closed_early"),
    "MaxStartups": (saying(b"Exceeded MaxStartups\r\n", stay=False), "too_many_connections"),
    "penalty": (saying(b"Not allowed at this time\r\n", stay=False), "client_penalised"),
    "mail": (saying(b"220 mail ESMTP\r\n"), "not_ssh"),
    "a greeting, then the end": (saying(b"SSH-2.0-x\r\n", stay=False), "connection_lost"),
    "a greeting, then silence": (saying(b"SSH-2.0-x\r\n"), "server_stalled"),
    "a greeting in pieces": (
        saying(b"Wel", b"come\r\nSS", b"H-2.0-x", b"\r\n", stay=False),
        "connection_lost",
    ),
    "no SSH after it": (saying(b"SSH-2.0-x\r\n", b"\x00\x00\x00\x0c\x04" + bytes(11)), "ssh_malformed"),
    "a huge packet": (saying(b"SSH-2.0-x\r\n", b"\x7f\xff\xff\xff\x04" + bytes(11)), "ssh_malformed"),
    "lines without end": (saying(b"SSH-2.0-x", *([b"x" * 1000] * 5)), "banner_timeout"),
}


@pytest.mark.parametrize("name", GREETINGS)
def test_greeting(name: str, keys: list[Path], tmp_path: Path) -> None:
    serve, cause = GREETINGS[name]
    with listening(serve) as port:
        silent = cause in ("banner_timeout", "server_stalled", "not_ssh")
        result = diagnose(port, keys, tmp_path / "config", _SHORT if silent else _AMPLE)
    assert result["cause"] == cause, result["msg"]
