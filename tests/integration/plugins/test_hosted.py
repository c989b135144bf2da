"""Role sftp_target in mode hosted: an account with nothing but SFTP, on three kinds of servers."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.ansible import REPOSITORY, Outcome, run_playbook
from tests.support.container import ContainerServer, DropbearContainer, OpensshContainer, ProftpdContainer
from tests.support.server import fingerprint, keygen, rfc4716

pytestmark = pytest.mark.docker

_on_openssh = pytest.mark.parametrize("site", [OpensshContainer], indirect=True)

# The account is nobody special, also where the tests run as root.
_UID = os.getuid() or 1000

_PLAY = """
- hosts: sftp_hosts
  gather_facts: false
  roles:
    - role: freegee.mlflow_sftp.sftp_target
"""


@dataclass
class Site:
    """An inventory for one server, and where on this machine its `artifacts` and `keys` are."""

    directory: Path
    artifacts: Path
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
        return run_playbook(
            playbook, "-i", str(self.directory / "hosts.yml"), "--diff", *arguments, timeout=300
        )


def recap(outcome: Outcome) -> dict[str, int]:
    """Numbers of the play recap of the target."""
    line = next(line for line in outcome.output.splitlines() if line.startswith("target") and "ok=" in line)
    return {name: int(number) for name, _, number in (field.partition("=") for field in line.split()[2:])}


@pytest.fixture(params=[OpensshContainer, ProftpdContainer, DropbearContainer])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A server that knows the administrator's key but not yet the one of the stack."""
    with request.param(tmp_path / "server", uid=_UID) as server:
        yield site_of(server, tmp_path, {"sftp_target_bootstrap_key_file": str(server.client_key)})


@pytest.fixture
def password_site(tmp_path: Path) -> Iterator[Site]:
    """An account that knows a password and no key."""
    password = secrets.token_hex(8)
    config = "PasswordAuthentication yes"
    with OpensshContainer(tmp_path / "server", config=config, uid=_UID, password=password) as server:
        server.authorized_keys.write_text("")
        yield site_of(server, tmp_path, {"sftp_target_bootstrap_password": password})


def site_of(server: ContainerServer, directory: Path, way_in: dict[str, str]) -> Site:
    """Name a server as an inventory does."""
    new = keygen(directory / "id_ed25519", "ed25519", comment="stack")
    variables = {
        "sftp_target_mode": "hosted",
        "sftp_host": "tajo.host.ch",
        "sftp_address": server.host,
        "sftp_port": server.port,
        "sftp_user": server.user,
        "sftp_path": "/home/freegee/agent.freegee.ch/artifacts",
        "sftp_host_key_fingerprints": [server.host_key_fingerprint],
        "sftp_target_authorized_keys": [new.with_suffix(".pub").read_text().strip()],
        "sftp_target_authorized_keys_file": f"/home/freegee/{server.keys}",
        "sftp_target_client_key_file": str(new),
        **way_in,
    }
    return Site(directory, server.home / "agent.freegee.ch/artifacts", server.authorized_keys, variables)


def test_provisioning(site: Site) -> None:
    before = site.keys.read_text()
    predicted = site.run("--check")
    assert not predicted.failed, predicted.output
    assert site.keys.read_text() == before
    assert not site.artifacts.parent.exists()
    done = site.run()
    assert not done.failed, done.output
    assert recap(done)["changed"] == recap(predicted)["changed"] == 2
    assert site.keys.read_text().startswith(before)
    assert site.artifacts.is_dir()
    # The key is in: what led there first is not needed any more.
    again = site.run(sftp_target_bootstrap_key_file="")
    assert not again.failed, again.output
    assert recap(again)["changed"] == 0


@_on_openssh
def test_check_mode_before_the_key_is_on_its_host(site: Site) -> None:
    """An account that takes the key already: a real run would copy it from the controller first."""
    admin = site.variables["sftp_target_bootstrap_key_file"]
    way_in = {"sftp_target_bootstrap_key_file": "", "sftp_private_key_file": admin}
    predicted = site.run("--check", sftp_target_client_key_file=str(site.directory / "not yet"), **way_in)
    assert not predicted.failed, predicted.output
    assert recap(predicted)["changed"] == 1
    assert not site.artifacts.parent.exists()


@_on_openssh
def test_no_way_in(site: Site) -> None:
    refused = site.run(sftp_target_bootstrap_key_file="")
    assert refused.failed
    assert "sftp_target_bootstrap_password" in refused.output
    assert not site.artifacts.parent.exists()


@_on_openssh
def test_wrong_pin(site: Site) -> None:
    refused = site.run(sftp_host_key_fingerprints=[f"SHA256:{'A' * 43}"])
    assert refused.failed
    assert "playbooks/pin_host_key.yml" in refused.output
    assert site.variables["sftp_host_key_fingerprints"][0] in refused.output
    pins = run_playbook(REPOSITORY / "playbooks/pin_host_key.yml", "-i", str(site.directory / "hosts.yml"))
    assert pins.failed
    assert "site.yml would refuse the server" in " ".join(pins.output.split())


@_on_openssh
def test_pinning_playbook_calls_nothing_verified(site: Site) -> None:
    arguments = ["-i", str(site.directory / "hosts.yml")]
    site.run("--list-tasks", sftp_host_key_fingerprints=[])
    shown = run_playbook(REPOSITORY / "playbooks/pin_host_key.yml", *arguments)
    assert not shown.failed, shown.output
    assert f"- {site.variables['sftp_host_key_fingerprints'][0]}  # " in shown.output
    assert "NOT VERIFIED" in shown.output
    assert "pinned already" not in shown.output


def test_password_is_for_the_first_contact_only(password_site: Site) -> None:
    first = password_site.run("-vvv")
    assert not first.failed, first.output
    assert recap(first)["changed"] == 2
    assert password_site.variables["sftp_target_bootstrap_password"] not in first.output
    again = password_site.run(sftp_target_bootstrap_password="")
    assert not again.failed, again.output
    assert recap(again)["changed"] == 0


@pytest.fixture
def strict_site(tmp_path: Path) -> Iterator[tuple[Site, OpensshContainer]]:
    """A server that penalises as it does by default and takes three strangers at once; its RSA key alone is pinned."""
    rsa = keygen(tmp_path / "rsa_host_key", "rsa")
    # The container's server reads its keys from this directory.
    config = "PerSourcePenalties yes\nMaxStartups 3\nLogLevel VERBOSE\nHostKey /etc/sftp-server/rsa_host_key"
    server = OpensshContainer(tmp_path / "server", config=config, uid=_UID)
    for name in (rsa, rsa.with_suffix(".pub")):
        name.rename(tmp_path / "server/server" / name.name)
    with server:
        site = site_of(server, tmp_path, {"sftp_target_bootstrap_key_file": str(server.client_key)})
        pin = fingerprint(tmp_path / "server/server/rsa_host_key.pub")
        site.variables["sftp_host_key_fingerprints"] = [pin]
        yield site, server


@pytest.mark.full
def test_server_that_punishes(strict_site: tuple[Site, OpensshContainer]) -> None:
    """The first run is not turned away, nor is one right after it, and each connection but few is a login."""
    site, server = strict_site
    first = site.run()
    assert not first.failed, first.output
    log = server.said()
    connections, logins = log.count("Connection from"), log.count("Accepted publickey")
    # Of the support's own wait for the greeting one, two for the scan, one for the key that is not authorized yet.
    assert (logins, connections) == (3, 7), log
    again = site.run()
    assert not again.failed, again.output
    assert server.said().count("Connection from") - connections <= 5
    assert "penalty" not in server.said() or "drop connection" not in server.said()


@pytest.mark.full
def test_key_in_the_form_that_the_server_reads(tmp_path: Path) -> None:
    """ProFTPD passes over a line of OpenSSH's form, so that one is no sign of what it reads; nor does the comment."""
    password = secrets.token_hex(8)
    other = keygen(tmp_path / "other", "rsa").with_suffix(".pub").read_text()
    config = "SFTPAuthMethods publickey password"
    with ProftpdContainer(tmp_path / "server", config=config, uid=_UID, password=password) as server:
        server.authorized_keys.write_text(f"# the operator's\n{other}")
        site = site_of(server, tmp_path, {"sftp_target_bootstrap_password": password})
        done = site.run()
        assert not done.failed, done.output
        assert site.keys.read_text().startswith(f"# the operator's\n{other}---- BEGIN SSH2")


@pytest.mark.full
def test_key_beside_one_of_another_form(tmp_path: Path) -> None:
    other = rfc4716(keygen(tmp_path / "other", "rsa").with_suffix(".pub").read_text())
    with OpensshContainer(tmp_path / "server", uid=_UID) as server:
        before = f"{other}# both of them\n{server.authorized_keys.read_text()}"
        server.authorized_keys.write_text(before)
        site = site_of(server, tmp_path, {"sftp_target_bootstrap_key_file": str(server.client_key)})
        done = site.run()
        assert not done.failed, done.output
        assert site.keys.read_text().startswith(f"{before}restrict ssh-ed25519 ")
