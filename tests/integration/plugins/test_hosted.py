"""Role sftp_target in mode hosted: an account with nothing but SFTP, on three kinds of servers."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import dropbear, proftpd
from tests.support.ansible import REPOSITORY, Outcome, run_playbook
from tests.support.docker import base_image, docker
from tests.support.sshd import SshServer, fingerprint, free_port, keygen, wait_for_banner

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")

_on_openssh = pytest.mark.parametrize("site", ["openssh"], indirect=True)

_PASSWORD_SERVER = """
useradd --create-home --shell /bin/sh freegee
echo "freegee:$PASSWORD" | chpasswd
ssh-keygen -A
mkdir -p /run/sshd
exec /usr/sbin/sshd -D -e -o PasswordAuthentication=yes
"""

_PLAY = """
- hosts: sftp_hosts
  gather_facts: false
  roles:
    - role: freegee.mlflow_sftp.sftp_target
"""


@dataclass
class Site:
    """An inventory for one server, and what the server holds."""

    directory: Path
    root: Path
    keys: Path
    variables: dict[str, Any]

    def run(self, *arguments: str, **variables: Any) -> Outcome:
        """Run the role."""
        host = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        inventory = {
            "docker_hosts": {"hosts": {"client": host}},
            "sftp_hosts": {"hosts": {"target": None}},
            "all": {"vars": {**self.variables, **variables}},
        }
        (self.directory / "hosts.yml").write_text(yaml.safe_dump(inventory))
        (self.directory / "play.yml").write_text(_PLAY)
        playbook = self.directory / "play.yml"
        return run_playbook(playbook, "-i", str(self.directory / "hosts.yml"), "--diff", *arguments)


def recap(outcome: Outcome) -> dict[str, int]:
    """Numbers of the play recap of the target."""
    line = next(line for line in outcome.output.splitlines() if line.startswith("target") and "ok=" in line)
    return {name: int(number) for name, _, number in (field.partition("=") for field in line.split()[2:])}


@pytest.fixture(params=["openssh", "proftpd", "dropbear"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A server that knows the administrator's key but not yet the one of the stack."""
    # sshd wants a chroot that nobody but root can write to, which /tmp is not.
    place = Path(tempfile.mkdtemp(dir="/run"))
    server: Any
    if request.param == "openssh":
        home = place / "home"
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        keys = home / ".ssh/authorized_keys"
        config = f"ChrootDirectory {home}\nForceCommand internal-sftp -d /\nAuthorizedKeysFile {keys}"
        server = SshServer(place / "server", config=config)
        keys.write_text(server.client_key.with_suffix(".pub").read_text())
        root, view = home, keys.relative_to(home)
    elif request.param == "proftpd":
        if not proftpd.installed():
            pytest.skip("proftpd is not installed")
        server = proftpd.ProftpdServer(place / "server")
        keys = place / "server/proftpd/authorized_keys"
        root, view = server.root, keys
    else:
        if not dropbear.installed():
            pytest.skip("dropbear is not installed")
        server = dropbear.DropbearServer(place / "server")
        keys, root, view = server.authorized_keys, server.root, Path(".ssh/authorized_keys")
    with server:
        new = keygen(tmp_path / "id_ed25519", "ed25519", comment="stack")
        public = tmp_path / "host_key.pub"
        public.write_text(server.known_hosts.read_text().partition(" ")[2])
        variables = {
            "sftp_target_mode": "hosted",
            "sftp_host": "tajo.host.ch",
            "sftp_address": server.host,
            "sftp_port": server.port,
            "sftp_user": server.user,
            "sftp_path": "/agent/artifacts" if request.param == "openssh" else f"{root}/agent/artifacts",
            "sftp_host_key_fingerprints": [fingerprint(public)],
            "sftp_target_authorized_keys": [new.with_suffix(".pub").read_text().strip()],
            "sftp_target_authorized_keys_file": str(view),
            "sftp_target_client_key_file": str(new),
            "sftp_target_bootstrap_key_file": str(server.client_key),
        }
        yield Site(tmp_path, root, keys, variables)
    shutil.rmtree(place)


def test_provisioning(site: Site) -> None:
    before = site.keys.read_text()
    predicted = site.run("--check")
    assert not predicted.failed, predicted.output
    assert site.keys.read_text() == before
    assert not (site.root / "agent").exists()
    done = site.run()
    assert not done.failed, done.output
    assert recap(done)["changed"] == recap(predicted)["changed"] == 2
    assert site.keys.read_text().startswith(before)
    assert (site.root / "agent/artifacts").is_dir()
    # The key is in: what led there first is not needed any more.
    again = site.run(sftp_target_bootstrap_key_file="")
    assert not again.failed, again.output
    assert recap(again)["changed"] == 0


@_on_openssh
def test_no_way_in(site: Site) -> None:
    refused = site.run(sftp_target_bootstrap_key_file="")
    assert refused.failed
    assert "sftp_target_bootstrap_password" in refused.output
    assert not (site.root / "agent").exists()


@_on_openssh
def test_wrong_pin(site: Site) -> None:
    refused = site.run(sftp_host_key_fingerprints=[f"SHA256:{'A' * 43}"])
    assert refused.failed
    assert "playbooks/pin_host_key.yml" in refused.output
    assert site.variables["sftp_host_key_fingerprints"][0] in refused.output


@_on_openssh
def test_pinning_playbook_calls_nothing_verified(site: Site) -> None:
    arguments = ["-i", str(site.directory / "hosts.yml")]
    site.run("--list-tasks", sftp_host_key_fingerprints=[])
    shown = run_playbook(REPOSITORY / "playbooks/pin_host_key.yml", *arguments)
    assert not shown.failed, shown.output
    assert f"- {site.variables['sftp_host_key_fingerprints'][0]}  # " in shown.output
    assert "NOT VERIFIED" in shown.output
    assert "pinned already" not in shown.output


@pytest.fixture
def password_site(tmp_path: Path) -> Iterator[Site]:
    """An account of a container, which knows a password and no key."""
    name, port, password = f"mlflow-sftp-test-{secrets.token_hex(3)}", free_port(), secrets.token_hex(8)
    publish = ["--publish", f"127.0.0.1:{port}:22", "--env", f"PASSWORD={password}"]
    try:
        docker(
            "run", "--detach", "--init", "--name", name, *publish, base_image(), "sh", "-c", _PASSWORD_SERVER
        )
        wait_for_banner("127.0.0.1", port)
        public = tmp_path / "host_key.pub"
        public.write_text(docker("exec", name, "cat", "/etc/ssh/ssh_host_ed25519_key.pub"))
        new = keygen(tmp_path / "id_ed25519", "ed25519", comment="stack")
        variables = {
            "sftp_target_mode": "hosted",
            "sftp_host": "tajo.host.ch",
            "sftp_address": "127.0.0.1",
            "sftp_port": port,
            "sftp_user": "freegee",
            "sftp_path": "/home/freegee/agent/artifacts",
            "sftp_host_key_fingerprints": [fingerprint(public)],
            "sftp_target_authorized_keys": [new.with_suffix(".pub").read_text().strip()],
            "sftp_target_client_key_file": str(new),
            "sftp_target_bootstrap_password": password,
        }
        yield Site(tmp_path, Path("/home/freegee"), Path(), variables)
    finally:
        docker("rm", "--force", "--volumes", name)


@pytest.mark.docker
def test_password_is_for_the_first_contact_only(password_site: Site) -> None:
    first = password_site.run("-vvv")
    assert not first.failed, first.output
    assert recap(first)["changed"] == 2
    assert password_site.variables["sftp_target_bootstrap_password"] not in first.output
    again = password_site.run(sftp_target_bootstrap_password="")
    assert not again.failed, again.output
    assert recap(again)["changed"] == 0
