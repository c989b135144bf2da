"""An ACME server on this machine: pebble, which is made for tests, beside a DNS server that knows every name."""

import json
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from tests.support.front import make_certificate
from tests.support.process_server import require

_START_SECONDS = 10.0


@dataclass(frozen=True)
class AcmeServer:
    """Where an ACME server is, and is started.

    `port` is the first of four ports; `asked` is where it asks, on this machine, who wants a certificate for any name.
    """

    home: Path
    port: int
    asked: int

    @property
    def directory(self) -> str:
        return f"https://localhost:{self.port}/dir"

    @property
    def ca_file(self) -> Path:
        """Whom to trust in order to trust the server itself."""
        return self.home / "localhost.crt"

    @contextmanager
    def running(self) -> Iterator[Path]:
        """Run it, with an authority that is new each time, and yield whose certificates it issues."""
        for program in ("pebble", "pebble-challtestsrv"):
            require(program)
        context = make_certificate(self.home, "localhost", "localhost")
        settings = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.port + 1}",
            "certificate": str(self.ca_file),
            "privateKey": str(self.home / "localhost.key"),
            "httpPort": self.asked,
            "tlsPort": self.asked,
        }
        (self.home / "pebble.json").write_text(json.dumps({"pebble": settings}))
        names = f"127.0.0.1:{self.port + 2}"
        commands: list[list[str]] = [
            [
                "pebble-challtestsrv",
                f"-dns01={names}",
                f"-management=127.0.0.1:{self.port + 3}",
                *(f"-{unused}=" for unused in ("defaultIPv6", "http01", "https01", "tlsalpn01")),
            ],
            ["pebble", "-strict", "-config", str(self.home / "pebble.json"), "-dnsserver", names],
        ]
        with (self.home / "log").open("ab") as log:
            # It dawdles otherwise, and refuses one request of twenty, which is what clients have to live with.
            started = [
                subprocess.Popen(each, stdout=log, stderr=log, env={"PEBBLE_VA_NOSLEEP": "1"})
                for each in commands
            ]
            try:
                root = self.home / "root.crt"
                root.write_bytes(self._root(context))
                yield root
            finally:
                for each in started:
                    each.terminate()
                    each.wait(_START_SECONDS)

    def _root(self, context: ssl.SSLContext) -> bytes:
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                with urlopen(
                    f"https://localhost:{self.port + 1}/roots/0", context=context, timeout=5
                ) as answer:
                    found: bytes = answer.read()
                    return found
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
