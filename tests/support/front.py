"""The way through the gateway of a lab, which a client finds on this machine under its name."""

import http.client
import socket
import ssl

from tests.support.lab import Lab


def trusted(lab: Lab) -> ssl.SSLContext:
    """Trust the authority that a lab has made, and no other, as strictly as Python 3.13 does everywhere."""
    context = ssl.create_default_context(cafile=str(lab.directory / "gateway" / "ca.crt"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def connect(
    name: str, port: int, context: ssl.SSLContext, timeout: float = 120, address: str = "127.0.0.1"
) -> http.client.HTTPSConnection:
    """Connect to a gateway, of this machine by default, as a client elsewhere does that has found its name."""
    plain = socket.create_connection((address, port), timeout=timeout)
    # As http.client does where it connects itself; otherwise each body waits for the acknowledgement of its header.
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = http.client.HTTPSConnection(name, port)
    connection.sock = context.wrap_socket(plain, server_hostname=name)
    return connection
