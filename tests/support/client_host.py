"""Another machine: a network, a Docker engine and an sshd of its own, in namespaces of this one. Needs root.

It reaches this machine at `ClientHost.gateway`, as another machine would, and nothing that listens on loopback here.
"""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.docker import base_image, docker
from tests.support.sshd import SshServer

NAME = "mlflow-client"
GATEWAY = "10.78.0.1"
ADDRESS = "10.78.0.2"


class ClientHost(SshServer):
    """sshd of the other machine, with the engine beside it; they end together, as in a power cut.

    Args:
        directory: Where keys, configuration, images and containers go.
    """

    gateway = GATEWAY

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, shell=True)
        self.host = ADDRESS
        self._engine = directory / "engine"
        for name in ("etc", "data"):
            (self._engine / name).mkdir(parents=True)
        (self._engine / "etc/daemon.json").write_text("{}")

    @property
    def variables(self) -> dict[str, object]:
        """How the inventory says to reach the machine, whose files are this one's."""
        return {**super().variables, "ansible_python_interpreter": sys.executable}

    def run(self, *command: str, text: str | None = None) -> str:
        """Run a command on the machine and return what it prints, on both channels."""
        done = subprocess.run(
            [*self._ssh(), shlex.join(command)],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout.strip()

    def load(self, *images: str) -> None:
        """Give the engine images of this machine's."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saved:
            subprocess.run([*self._ssh(), "docker load"], stdin=saved.stdout, check=True, capture_output=True)

    def wait_for_engine(self) -> None:
        """Wait until the engine answers."""
        self.run(
            "sh",
            "-c",
            "for i in $(seq 300); do docker version >/dev/null 2>&1 && exit; sleep 0.1; done; exit 1",
        )

    def _ssh(self) -> list[str]:
        return ["ssh", "-F", str(self.ssh_config), self.host]

    def _command(self) -> list[str]:
        script = f"""
            mount -t tmpfs tmpfs /run
            mkdir /run/sshd
            mount --bind '{self._engine}/etc' /etc/docker
            mount --bind '{self._engine}/data' /var/lib/docker
            {shlex.join(super()._command())} &
            exec dockerd --host unix:///run/docker.sock --cgroup-parent /{NAME} \\
                --exec-opt native.cgroupdriver=cgroupfs
        """
        own = ["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
        return ["nsenter", f"--net=/run/netns/{NAME}", "unshare", *own, "sh", "-ec", script]


@contextmanager
def client_host() -> Iterator[ClientHost]:
    """The machine, with a cable to this one."""
    # Overlays cannot lie on another one, as pytest's directory may.
    with tempfile.TemporaryDirectory(prefix=f"{NAME}.", dir="/var/tmp") as directory, _cable():
        host = ClientHost(Path(directory))
        host.start()
        try:
            host.wait_for_engine()
            yield host
        finally:
            host.kill()
            _remove_control_groups()


@contextmanager
def _cable() -> Iterator[None]:
    _ip("netns", "del", NAME, check=False)
    _ip("netns", "add", NAME)
    try:
        _ip("link", "add", NAME, "type", "veth", "peer", "name", "eth0", "netns", NAME)
        _ip("addr", "add", f"{GATEWAY}/24", "dev", NAME)
        _ip("link", "set", NAME, "up")
        _ip("-n", NAME, "addr", "add", f"{ADDRESS}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", NAME, "link", "set", device, "up")
        _ip("-n", NAME, "route", "add", "default", "via", GATEWAY)
        yield
    finally:
        # Its end of the cable takes the other one with it.
        _ip("netns", "del", NAME)


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


def _remove_control_groups() -> None:
    """What the engine has left of its containers' groups, the innermost first."""
    groups = Path("/sys/fs/cgroup")
    for top in [*groups.glob(NAME), *groups.glob(f"*/{NAME}")]:
        for path in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
            path.rmdir()
        top.rmdir()


def images_of(server: str) -> list[str]:
    """Return the client image and the base image that belong to a running server's image."""
    image = docker("inspect", "--format", "{{.Config.Image}}", server)
    return [image.replace("mlflow-server", "mlflow-client"), base_image()]
