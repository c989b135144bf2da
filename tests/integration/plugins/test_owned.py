"""Role sftp_target in mode owned, on a server with settings of its own: a login, or what is in the way."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.ansible import Outcome, run_playbook
from tests.support.docker import docker, systemd_image, unused_name
from tests.support.server import free_port, keygen, wait_for_banner

pytestmark = [pytest.mark.docker, pytest.mark.full, pytest.mark.timeout(1200)]

_PLAY = """
- hosts: sftp_hosts
  gather_facts: false
  roles:
    - role: freegee.mlflow_sftp.sftp_target
"""
_DROPIN = "/etc/ssh/sshd_config.d/00-sftp-freegee.conf"
_OTHER = "/etc/ssh/sshd_config.d/50-other.conf"
_AS_IT_WAS = f"""
userdel freegee || true; groupdel freegee || true
rm -rf {_DROPIN} {_OTHER} /etc/ssh/sftp_authorized_keys /srv/sftp
chmod 755 /etc/ssh; cp /root/pam /etc/pam.d/sshd; cp /root/access.conf /etc/security/access.conf
rm -rf /etc/systemd/system/ssh.socket.d /etc/systemd/system/ssh.service.d
systemctl daemon-reload; systemctl disable --now ssh.socket; systemctl reset-failed; systemctl enable --now ssh.service
systemctl restart ssh.service
"""


def sshd_has(line: str) -> str:
    """A command after which sshd has a setting."""
    return f"echo '{line}' >{_OTHER}; systemctl reload ssh.service"


@dataclass(frozen=True)
class Server:
    """A container with systemd and sshd; `key` is a key pair on this machine."""

    name: str
    port: int
    key: Path
    directory: Path

    def do(self, script: str) -> str:
        return docker("exec", self.name, "sh", "-ec", script)

    def run(self, **variables: object) -> Outcome:
        """Run the role."""
        local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        connection = {
            "ansible_connection": "community.docker.docker",
            "ansible_host": self.name,
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        settings = {
            "sftp_target_mode": "owned",
            "sftp_host": "127.0.0.1",
            "sftp_port": self.port,
            "sftp_user": "freegee",
            "sftp_path": "/agent.freegee.ch/artifacts",
            "sftp_target_authorized_keys": [self.key.with_suffix(".pub").read_text().strip()],
            "sftp_target_client_key_file": str(self.key),
        }
        inventory = {
            "docker_hosts": {"hosts": {"client": local}},
            "sftp_hosts": {"hosts": {"target": connection}},
            "all": {"vars": {**settings, **variables}},
        }
        (self.directory / "hosts.yml").write_text(json.dumps(inventory))
        playbook = self.directory / "play.yml"
        playbook.write_text(_PLAY)
        return run_playbook(playbook, "-i", str(self.directory / "hosts.yml"), timeout=400)

    def lets_in(self) -> bool:
        """Whether the key logs in, by OpenSSH's own client."""
        options = [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        ]
        command = ["sftp", "-q", "-P", str(self.port), "-i", str(self.key), "-b", "/dev/null"]
        command += [word for option in options for word in ("-o", option)]
        return subprocess.run([*command, "freegee@127.0.0.1"], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests, which each of them finds as it was first."""
    directory = tmp_path_factory.mktemp("owned")
    server = Server(unused_name(), free_port(), keygen(directory / "id_ed25519", "ed25519"), directory)
    options = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--cgroupns", "private"]
    options += ["--env", "container=docker", "--publish", f"127.0.0.1:{server.port}:22"]
    options += [word for path in ("/run", "/run/lock", "/tmp") for word in ("--tmpfs", path)]
    start = "ssh-keygen -A && exec /sbin/init"
    docker(
        "run",
        "--detach",
        "--pull",
        "never",
        "--name",
        server.name,
        *options,
        systemd_image(),
        "sh",
        "-ec",
        start,
    )
    try:
        wait_for_banner("127.0.0.1", server.port, 60)
        server.do("cp /etc/pam.d/sshd /root/pam; cp /etc/security/access.conf /root/access.conf")
        yield server
    finally:
        docker("rm", "--force", "--volumes", server.name)


@pytest.fixture
def server(machine: Server) -> Server:
    machine.do(_AS_IT_WAS)
    wait_for_banner("127.0.0.1", machine.port)
    return machine


# What is found there, words of the message, and what is asked of the role. Lists of users are cases of a unit test.
_REFUSED_AT_ONCE = {
    "AllowGroups": (sshd_has("AllowGroups sudo users"), "add freegee to AllowGroups"),
    "algorithms": (sshd_has("PubkeyAcceptedAlgorithms rsa-*"), "add ssh-ed25519 to PubkeyAcceptedAlgorithms"),
    "directory": ("chmod 0700 /etc/ssh", "chmod o+x /etc/ssh"),
}
_REFUSED_IN_THE_END = {
    "pam_access": (
        "echo 'account required pam_access.so' >>/etc/pam.d/sshd;"
        "echo '- : ALL EXCEPT root : ALL' >>/etc/security/access.conf",
        {},
    ),
    # Here nobody could log in, for want of the private key.
    "pam_shells": (
        "echo 'account required pam_shells.so' >>/etc/pam.d/sshd",
        {"sftp_target_client_key_file": "/nonexistent"},
    ),
}


def _in_tier(found: str) -> object:
    """The unit tests decide these as well; what is read on the host is the same as in their neighbours."""
    return pytest.param(found, marks=pytest.mark.sweep if found in ("algorithms", "pam_shells") else ())


@pytest.mark.parametrize("found", [_in_tier(found) for found in _REFUSED_AT_ONCE])
def test_what_is_in_the_way_is_named_before_anything_is_written(server: Server, found: str) -> None:
    script, words = _REFUSED_AT_ONCE[found]
    server.do(script)
    refused = server.run()
    assert refused.failed, refused.output
    assert words in refused.output
    assert "Nothing has been changed" in refused.output
    assert "changed=0" in refused.output


@pytest.mark.parametrize("found", [_in_tier(found) for found in _REFUSED_IN_THE_END])
def test_rule_of_pam_that_is_in_the_way_is_named(server: Server, found: str) -> None:
    script, variables = _REFUSED_IN_THE_END[found]
    server.do(script)
    refused = server.run(**variables)
    assert not server.lets_in()
    assert refused.failed, refused.output
    assert f"{found}.so in /etc/pam.d/sshd" in refused.output


def test_port_that_the_socket_unit_does_not_have(server: Server) -> None:
    # The published port leads to 22, where nothing listens then.
    server.do(
        f"{sshd_has('Port 22')}; systemctl disable --now ssh.service; mkdir -p /etc/systemd/system/ssh.socket.d"
    )
    server.do(
        "printf '[Socket]\\nListenStream=\\nListenStream=2222\\n' >/etc/systemd/system/ssh.socket.d/port.conf"
    )
    server.do("systemctl daemon-reload; systemctl enable --now ssh.socket")
    outcome = server.run(sftp_port=22, sftp_host=server.do("hostname -I").split()[0])
    assert outcome.failed, outcome.output
    assert "systemctl edit ssh.socket, with [Socket] and ListenStream=22" in " ".join(
        outcome.output.split()
    ), outcome.output


def test_reload_that_failed_is_made_up_for(server: Server) -> None:
    """The service has RHEL's name, and does not reload at first."""
    server.do(
        "mkdir -p /etc/systemd/system/ssh.service.d; systemctl stop ssh.service; systemctl disable ssh.service"
    )
    server.do(
        "sed 's/^Alias=.*//' /usr/lib/systemd/system/ssh.service >/etc/systemd/system/sshd.service;"
        "systemctl mask ssh.service; systemctl daemon-reload; systemctl start sshd.service;"
        "mkdir /etc/systemd/system/sshd.service.d;"
        "printf '[Service]\\nExecReload=\\nExecReload=/bin/false\\n' >/etc/systemd/system/sshd.service.d/fails.conf;"
        "systemctl daemon-reload"
    )
    try:
        refused = server.run()
        assert refused.failed
        assert "Reload sshd through" in refused.output, refused.output
        assert not server.lets_in()
        server.do("rm -r /etc/systemd/system/sshd.service.d; systemctl daemon-reload")
        done = server.run()
        assert not done.failed, done.output
        assert server.lets_in()
        again = server.run()
        assert "changed=0" in again.output, again.output
    finally:
        server.do(
            "systemctl stop sshd.service; rm -rf /etc/systemd/system/sshd.service /etc/systemd/system/sshd.service.d;"
            "systemctl unmask ssh.service; systemctl daemon-reload; systemctl enable --now ssh.service"
        )


def test_keys_whose_private_halves_are_elsewhere(server: Server) -> None:
    done = server.run(sftp_target_client_key_file="/nonexistent")
    assert not done.failed, done.output
    assert "Nobody has logged in" in done.output
    assert server.lets_in()
