"""The collection's tarball deploys a site from an empty directory, as the documentation tells whoever has no clone."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.packaging.conftest import ROOT, run_in_site
from tests.support.docker import docker, remove_leftovers
from tests.support.sshd import SshServer

pytestmark = [pytest.mark.sweep, pytest.mark.lab, pytest.mark.timeout(1800)]

PROJECT = "mlflow-no-clone"
# The first of three.
PORT = 15101


def documented(kind: str) -> str:
    """Return the block of code of a kind in the section for whoever has no clone."""
    section = (
        (ROOT / "docs/deploy.md").read_text().partition("\n## Without a clone\n")[2].partition("\n## ")[0]
    )
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[SshServer]:
    """An account that containers in the network of the stack reach."""
    remove_leftovers(PROJECT)
    docker("network", "create", PROJECT)
    try:
        server = SshServer(tmp_path / "server")
        server.host = docker("network", "inspect", "--format={{(index .IPAM.Config 0).Gateway}}", PROJECT)
        server.port = PORT
        with server:
            yield server
    finally:
        remove_leftovers(PROJECT)


@pytest.fixture
def site(tarball: Path, account: SshServer, tmp_path: Path) -> Path:
    """A directory with the collection, the documented inventory, and what of it is another on this machine."""
    directory = tmp_path / "site"
    (directory / "group_vars").mkdir(parents=True)
    (directory / "host_vars").mkdir()
    (directory / "inventory.yml").write_text(documented("yaml"))
    here = {
        "sftp_host": account.host,
        "sftp_port": account.port,
        "sftp_user": account.user,
        "sftp_path": str(account.root / "artifacts"),
        "sftp_private_key_file": str(account.client_key),
        "sftp_host_key_fingerprints": [account.host_key_fingerprint],
        "sftp_target_authorized_keys_file": str(tmp_path / "authorized_keys"),
        "mlflow_stack_dir": str(tmp_path / "stack"),
        "mlflow_stack_project": PROJECT,
        "mlflow_stack_network": PROJECT,
        "mlflow_stack_port": PORT + 1,
        "mlflow_stack_notebook_port": PORT + 2,
        "mlflow_stack_workers": 1,
    }
    (directory / "group_vars/all.yml").write_text(yaml.safe_dump(here))
    local = {"ansible_connection": "local", "ansible_become": os.getuid() != 0}
    (directory / "host_vars/docker.example.net.yml").write_text(yaml.safe_dump(local))
    run_in_site(
        directory, "ansible-galaxy", "collection", "install", "--no-deps", "-p", "collections", str(tarball)
    )
    return directory


def play(site: Path, playbook: str, *options: str) -> str:
    return run_in_site(
        site, "ansible-playbook", "-i", "inventory.yml", f"freegee.mlflow_sftp.{playbook}", *options
    )


def test_deploys_from_an_empty_directory(site: Path, account: SshServer) -> None:
    try:
        play(site, "site")
        again = play(site, "site")
        package = "pip show --files mlflow-sftp; ls -A /opt/mlflow_sftp"
        shown = docker("exec", f"{PROJECT}-mlflow-1", "sh", "-ec", package)
        images = docker("inspect", "--format={{.Config.Image}}", f"{PROJECT}-mlflow-1")
    finally:
        play(site, "teardown", "--extra-vars", "keep_data=false")

    assert set(re.findall(r"changed=(\d+)", again)) == {"0"}
    assert "freegee/mlflow-server:" in images
    assert shown.splitlines()[-1].endswith(".whl")
    assert list((account.root / "artifacts").iterdir())
    # Only what Ansible installs is in the directory of the collection.
    collection = site / "collections/ansible_collections/freegee/mlflow_sftp"
    assert not (collection / "src").exists()
