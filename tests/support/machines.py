"""Other machines: each a network, a Docker engine and an sshd of its own, in namespaces of this one. Needs root.

They are plugged into one switch with this machine, which they reach at `Machine.gateway`, as other machines would, and
nothing that listens on loopback here.

    python -m tests.support.machines NAME...      starts some, prints their inventory, and removes them when interrupted
"""

import argparse
import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.docker import base_image, docker
from tests.support.sshd import SshServer

_DISK = Path("/var/tmp")
_END_SECONDS = 10.0


class Machine(SshServer):
    """sshd of another machine, with the engine beside it; they end together, as in a power cut.

    What was killed can be started again: its disk is as it was, and what lay in /run is gone.

    Args:
        directory: Where keys, configuration, images and containers go.
        name: Its hostname, and its port on the switch.
        switch: The switch that it is plugged into.
        address: Its own.
        gateway: This machine's.
    """

    def __init__(self, directory: Path, name: str, switch: str, address: str, gateway: str) -> None:
        super().__init__(directory, shell=True)
        self.name = name
        self.host = address
        self.gateway = gateway
        self._switch = switch
        self._engine = directory / "engine"
        for part in ("etc", "data"):
            (self._engine / part).mkdir(parents=True)
        (self._engine / "etc/daemon.json").write_text("{}")

    @property
    def variables(self) -> dict[str, object]:
        """How the inventory says to reach the machine, whose files are this one's."""
        return {**super().variables, "ansible_python_interpreter": sys.executable}

    @property
    def lives(self) -> bool:
        """Whether it runs."""
        return self._lives()

    @property
    def namespace(self) -> str:
        """Name of its network's namespace, and of its containers' control group."""
        return f"{self._switch}-{self.name}"

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

    def unplug(self) -> None:
        """Pull the cable out of the switch: connections stay open, and nothing comes through."""
        _ip("-n", self._switch, "link", "set", self.name, "down")

    def plug(self) -> None:
        """Put the cable back."""
        _ip("-n", self._switch, "link", "set", self.name, "up")

    def set_mtu(self, mtu: int) -> None:
        """Let the interface take packets of `mtu` bytes."""
        _ip("-n", self.namespace, "link", "set", "eth0", "mtu", str(mtu))

    @contextmanager
    def firewall(self, protocol: str, port: int, chain: str = "INPUT") -> Iterator[None]:
        """Drop what comes for a port; of the chain FORWARD, what containers send to one elsewhere."""
        rule = (chain, "-p", protocol, "--dport", str(port), "-j", "DROP")
        self.run("iptables", "-I", *rule)
        try:
            yield
        finally:
            self.run("iptables", "-D", *rule)

    def _ssh(self) -> list[str]:
        return ["ssh", "-F", str(self.ssh_config), self.host]

    def _command(self) -> list[str]:
        script = f"""
            hostname '{self.name}'
            mount -t tmpfs tmpfs /run
            mkdir /run/sshd
            mount --bind '{self._engine}/etc' /etc/docker
            mount --bind '{self._engine}/data' /var/lib/docker
            {shlex.join(super()._command())} &
            exec dockerd --host unix:///run/docker.sock --cgroup-parent /{self.namespace} \\
                --exec-opt native.cgroupdriver=cgroupfs
        """
        own = ["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "unshare", *own, "sh", "-ec", script]


@contextmanager
def machines(switch: str, network: str, *names: str) -> Iterator[list[Machine]]:
    """Running machines; nothing of them is left, nor of an interrupted run's before.

    Args:
        switch: Name of what connects them, with which everything begins that is made for them.
        network: The first three numbers of their addresses; this machine has the first address, they those after it.
        names: One for each.
    """
    _remove(switch)
    _add_switch(switch, f"{network}.1")
    # Overlays cannot lie on another one, as pytest's directory may.
    directory = Path(tempfile.mkdtemp(prefix=f"{switch}.", dir=_DISK))
    try:
        made = [
            Machine(directory / name, name, switch, f"{network}.{number}", f"{network}.1")
            for number, name in enumerate(names, start=2)
        ]
        for machine in made:
            _add_cable(machine, switch)
            machine.start()
        for machine in made:
            machine.wait_for_engine()
        yield made
    finally:
        _remove(switch)


def _add_switch(name: str, address: str) -> None:
    """A switch with a cable to this machine. Its namespace is its own: this one's firewall would drop what passes."""
    _ip("netns", "add", name)
    _ip("-n", name, "link", "add", "switch", "type", "bridge")
    _ip("-n", name, "link", "set", "switch", "up")
    _ip("link", "add", name, "type", "veth", "peer", "name", "uplink", "netns", name)
    _ip("-n", name, "link", "set", "uplink", "master", "switch", "up")
    _ip("addr", "add", f"{address}/24", "dev", name)
    _ip("link", "set", name, "up")


def _add_cable(machine: Machine, switch: str) -> None:
    own = machine.namespace
    _ip("netns", "add", own)
    _ip("-n", own, "link", "add", "eth0", "type", "veth", "peer", "name", machine.name, "netns", switch)
    _ip("-n", switch, "link", "set", machine.name, "master", "switch", "up")
    _ip("-n", own, "addr", "add", f"{machine.host}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _ip("-n", own, "link", "set", device, "up")
    _ip("-n", own, "route", "add", "default", "via", machine.gateway)


def _remove(switch: str) -> None:
    """Remove machines and switch: every process, network, control group and file."""
    # The kernel would take it with its other end, but only after a moment.
    if Path("/sys/class/net", switch).exists():
        _ip("link", "del", switch)
    namespaces = [line.split()[0] for line in _ip("netns", "list").splitlines()]
    for name in [each for each in namespaces if each == switch or each.startswith(f"{switch}-")]:
        _end_processes(name)
        _remove_control_groups(name)
        # Its end of each cable takes the other one with it.
        _ip("netns", "del", name)
    for directory in _DISK.glob(f"{switch}.*"):
        shutil.rmtree(directory)


def _end_processes(namespace: str) -> None:
    deadline = time.monotonic() + _END_SECONDS
    while pids := _ip("netns", "pids", namespace).split():
        assert time.monotonic() < deadline, f"{namespace}: {pids} do not end"
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.1)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def _remove_control_groups(name: str) -> None:
    """What an engine has left of its containers' groups, the innermost first."""
    groups = Path("/sys/fs/cgroup")
    deadline = time.monotonic() + _END_SECONDS
    for top in [*groups.glob(name), *groups.glob(f"*/{name}")]:
        for path in [*sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True), top]:
            _remove_control_group(path, deadline)


def _remove_control_group(path: Path, deadline: float) -> None:
    """The kernel ends a container's processes with the engine's, and takes a moment for it."""
    while True:
        try:
            path.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def images_of(server: str) -> list[str]:
    """Return the client image and the base image that belong to a running server's image."""
    image = docker("inspect", "--format", "{{.Config.Image}}", server)
    return [image.replace("mlflow-server", "mlflow-client"), base_image()]


def main() -> None:
    """Start machines, print their inventory, and remove them when interrupted."""
    arguments = _parse()
    # As an operator or a shell ends it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), machines(arguments.switch, arguments.network, *arguments.names) as made:
        hosts = {each.name: each.variables for each in made}
        print(json.dumps({"all": {"hosts": hosts}}, indent=2, sort_keys=True, default=str), flush=True)
        while True:
            signal.pause()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.support.machines", description=main.__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="of a machine")
    parser.add_argument(
        "--switch", default="lab", help="with which the names of all begin that is made (lab)"
    )
    parser.add_argument("--network", default="10.99.0", help="first numbers of their addresses (10.99.0)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
