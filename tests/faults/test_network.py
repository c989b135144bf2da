"""Faults before the server greets: name, route, port, and who answers there."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.faults.conftest import Diagnose, options
from tests.support.container import OpensshContainer
from tests.support.server import keygen
from tests.support.sshd import SshServer, connection_without_login

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")
needs_iptables = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("iptables") is None, reason="needs root and iptables"
)


@contextmanager
def firewall(port: int, *action: str) -> Iterator[None]:
    """Treat packets to a loopback port as a firewall would."""
    rule = ["OUTPUT", "-o", "lo", "-p", "tcp", "--dport", str(port), "-j", *action]
    subprocess.run(["iptables", "-w", "-I", *rule], check=True)
    try:
        yield
    finally:
        subprocess.run(["iptables", "-w", "-D", *rule], check=True)


@contextmanager
def listener(answer: bytes) -> Iterator[int]:
    """A port that says something to each client and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                client.sendall(answer)
                client.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_name_does_not_resolve(sshd: SshServer, diagnose: Diagnose) -> None:
    seen = diagnose(options(sshd, host="tajo.invalid"), "name_unresolved", remedy="tajo.invalid")
    assert "not known" in seen["detail"]


@pytest.fixture
def silent_resolver(tmp_path: Path) -> Iterator[str]:
    """A Python whose /etc/resolv.conf names a server that never answers."""
    resolv, program = tmp_path / "resolv.conf", tmp_path / "python"
    resolv.write_text("nameserver 127.0.0.54\noptions timeout:5\n")
    script = f'mount --bind {resolv} /etc/resolv.conf && exec {sys.executable} "$@"'
    program.write_text(f"#!/bin/sh\nexec unshare --mount sh -c '{script}' sh \"$@\"\n")
    program.chmod(0o755)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dns:
        dns.bind(("127.0.0.54", 53))
        yield str(program)


@needs_root
def test_no_name_server_answers(sshd: SshServer, diagnose: Diagnose, silent_resolver: str) -> None:
    changed = options(sshd, host="tajo.example")
    seen = diagnose(changed, "resolver_unavailable", remedy="/etc/resolv.conf", python=silent_resolver)
    assert "no answer about tajo.example within 2 s" in seen["detail"]


def test_connection_refused(sshd: SshServer, diagnose: Diagnose) -> None:
    sshd.stop()
    diagnose(options(sshd), "connection_refused", remedy=f"sftp_port ({sshd.port})")


@needs_iptables
def test_packets_are_dropped(sshd: SshServer, diagnose: Diagnose) -> None:
    with firewall(sshd.port, "DROP"):
        seen = diagnose(options(sshd), "connection_timeout", remedy=f"TCP port {sshd.port}")
    assert "within 2 s" in seen["detail"]


@needs_iptables
def test_default_timeout_is_ten_seconds(sshd: SshServer, diagnose: Diagnose) -> None:
    with firewall(sshd.port, "DROP"):
        diagnose(options(sshd, connect_timeout=10), "connection_timeout", remedy="firewalls", limit=16)


@needs_iptables
def test_no_route(sshd: SshServer, diagnose: Diagnose) -> None:
    with firewall(sshd.port, "REJECT", "--reject-with", "icmp-host-unreachable"):
        diagnose(options(sshd), "no_route", remedy="ip route get 127.0.0.1")


@needs_iptables
def test_firewall_resets(sshd: SshServer, diagnose: Diagnose) -> None:
    with firewall(sshd.port, "REJECT", "--reject-with", "tcp-reset"):
        diagnose(options(sshd), "connection_refused", remedy=f"sftp_port ({sshd.port})")


def test_web_server_on_the_port(sshd: SshServer, diagnose: Diagnose) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        seen = diagnose(options(sshd, port=port), "not_ssh", remedy=f"sftp_port ({port})")
        server.shutdown()
    assert "Error response" in seen["detail"]


def test_mail_server_on_the_port(sshd: SshServer, diagnose: Diagnose) -> None:
    with listener(b"220 mail.host.ch ESMTP Postfix\r\n") as port:
        seen = diagnose(options(sshd, port=port), "not_ssh", remedy=f"sftp_port ({port})")
    assert "220 mail.host.ch ESMTP Postfix" in seen["detail"]


def test_server_is_stopped_in_its_tracks(sshd: SshServer, diagnose: Diagnose) -> None:
    os.kill(sshd.pid, signal.SIGSTOP)
    try:
        diagnose(options(sshd), "banner_timeout", remedy=f"{sshd.host}:{sshd.port}")
    finally:
        os.kill(sshd.pid, signal.SIGCONT)


def test_server_hangs_up_at_once(sshd: SshServer, diagnose: Diagnose) -> None:
    with listener(b"") as port:
        diagnose(options(sshd, port=port), "closed_early", remedy="fail2ban")


def test_too_many_connections(misbehaving: Callable[[str], SshServer], diagnose: Diagnose) -> None:
    server = misbehaving("MaxStartups 1")
    with connection_without_login(server):
        diagnose(options(server), "too_many_connections", remedy="MaxStartups")


@pytest.mark.docker
def test_penalised_client(tmp_path: Path, diagnose: Diagnose) -> None:
    stranger = keygen(tmp_path / "stranger", "ed25519")
    with OpensshContainer(tmp_path / "server", config="PerSourcePenalties authfail:60s min:1s") as server:
        diagnose(options(server, private_key_file=str(stranger)), "auth_refused", remedy=str(stranger))
        # The penalty begins when the server has noticed the end of that login.
        time.sleep(1)
        seen = diagnose(options(server), "client_penalised", remedy="PerSourcePenalties")
    assert "Not allowed at this time" in seen["detail"]
