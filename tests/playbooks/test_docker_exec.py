"""The connection docker_exec: a container is entered on its Docker host, which is reached as the inventory says."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ansible import REPOSITORY, run_playbook
from tests.support.docker import base_image, docker, unused_name
from tests.support.docker_host import PASSWORD, USER, DockerHost, docker_host

EVERYTHING = REPOSITORY / "tests/playbooks/docker_exec.yml"
# What JSON, shells and terminals like to change.
TEXT = "hällo 'x' \"y\" $HOME\r\n\ttab\n"

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.getuid() != 0, reason="sshd with other accounts needs root"),
]


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    name = unused_name()
    docker(
        "run",
        "--detach",
        f"--name={name}",
        f"--hostname={name}",
        "--init",
        "--network=none",
        base_image(),
        "sleep",
        "999",
    )
    try:
        yield name
    finally:
        docker("rm", "--force", name)


@pytest.fixture(scope="module")
def remote() -> Iterator[DockerHost]:
    with docker_host() as host:
        yield host


@pytest.fixture(scope="module")
def remote_with_password() -> Iterator[DockerHost]:
    with docker_host("PASSWD") as host:
        yield host


def write_inventory(
    directory: Path, container: str, host: dict[str, object], common: dict[str, object] | None = None
) -> Path:
    """`container` of the Docker host `engine`, which is `host`; `common` holds for all hosts."""
    entered = {
        "ansible_connection": "freegee.mlflow_sftp.docker_exec",
        "ansible_docker_exec_host": "engine",
        "ansible_host": container,
        "ansible_become": False,
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    path = directory / "hosts.json"
    # A variable that the connection does not ask for may be of no use on a container.
    unused = {"unused": "{{ no_such_variable }}"}
    groups = {
        "all": {
            "hosts": {"engine": host | unused, "container": entered, "again": entered},
            "vars": common or {},
        }
    }
    path.write_text(json.dumps(groups))
    return path


def enter(inventory: Path, *options: str) -> str:
    """What `hostname` says in the container, or why that could not be asked."""
    program = Path(sys.executable).with_name("ansible")
    command = [
        program,
        "container",
        "-i",
        inventory,
        "-m",
        "ansible.builtin.command",
        "-a",
        "hostname",
        *options,
    ]
    # No configuration of the operator's own ssh has a part in it.
    environment = {**os.environ, "HOME": str(inventory.parent), "ANSIBLE_NOCOLOR": "true"}
    # Nor has a shared connection, whose socket has no room in a long path.
    environment["ANSIBLE_SSH_ARGS"] = "-C"
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    return (
        done.stdout.splitlines()[-1]
        if done.returncode == 0
        else " ".join((done.stdout + done.stderr).split())
    )


LOCAL: dict[str, tuple[dict[str, object], list[str]]] = {
    "local": ({"ansible_connection": "local"}, []),
    "local by its full name": ({"ansible_connection": "ansible.builtin.local"}, []),
    "local by the command line": ({}, ["-c", "local"]),
    "local with become": ({"ansible_connection": "local", "ansible_become": True}, []),
}


@pytest.mark.parametrize("case", LOCAL)
def test_the_controller_is_the_docker_host(tmp_path: Path, container: str, case: str) -> None:
    variables, options = LOCAL[case]
    assert enter(write_inventory(tmp_path, container, variables), *options) == container


def test_a_user_with_sudo_who_may_not_use_docker(tmp_path: Path, container: str, remote: DockerHost) -> None:
    """Modules, files there and back, jobs in the background."""
    inventory = write_inventory(tmp_path, container, remote.variables)
    extra = json.dumps({"answers": str(tmp_path), "text": TEXT})
    outcome = run_playbook(EVERYTHING, "-i", str(inventory), "--extra-vars", extra)
    assert not outcome.failed, outcome.output
    assert json.loads((tmp_path / "seen").read_text()) == [container, TEXT.rstrip("\n"), TEXT]
    assert (tmp_path / "fetched").read_bytes() == TEXT.encode()


def test_what_holds_for_all_hosts_does_not_reach_into_the_container(
    tmp_path: Path, container: str, remote: DockerHost
) -> None:
    """Many inventories name user, port and become once, for everything."""
    own = ("ansible_host", "ansible_python_interpreter")
    host = {name: value for name, value in remote.variables.items() if name in own}
    common = {name: value for name, value in remote.variables.items() if name not in own}
    assert enter(write_inventory(tmp_path, container, host, common)) == container


def test_user_key_and_become_of_the_command_line(tmp_path: Path, container: str, remote: DockerHost) -> None:
    left = ("ansible_user", "ansible_ssh_private_key_file", "ansible_become", "ansible_ssh_common_args")
    host = {name: value for name, value in remote.variables.items() if name not in left}
    common = str(remote.variables["ansible_ssh_common_args"])
    options = [
        "--user",
        USER,
        "--private-key",
        str(remote.client_key),
        "--become",
        f"--ssh-common-args={common}",
    ]
    assert enter(write_inventory(tmp_path, container, host), *options) == container


def test_a_jump_host(tmp_path: Path, container: str, remote: DockerHost) -> None:
    """The last leg begins on the jump host: from here there is no such name."""
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host jump\n HostName {remote.host}\n Port {remote.port}\n"
        f"Host *\n User {USER}\n IdentityFile {remote.client_key}\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {remote.known_hosts}\n StrictHostKeyChecking yes\n"
        f" HostKeyAlias [{remote.host}]:{remote.port}\n"
    )
    jump = {"ansible_host": "localhost", "ansible_ssh_common_args": f"-F {config} -o ProxyJump=jump"}
    assert enter(write_inventory(tmp_path, container, remote.variables | jump)) == container


def test_sudo_with_a_password(tmp_path: Path, container: str, remote_with_password: DockerHost) -> None:
    host = remote_with_password.variables
    named = write_inventory(tmp_path, container, host | {"ansible_become_password": PASSWORD})
    assert enter(named) == container
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    asked = write_inventory(tmp_path, container, host)
    assert enter(asked, "--become-password-file", str(password)) == container


def test_a_user_who_may_not_use_docker_and_does_not_become_another(
    tmp_path: Path, container: str, remote: DockerHost
) -> None:
    output = enter(write_inventory(tmp_path, container, remote.variables | {"ansible_become": False}))
    assert f"docker exec in the container {container} on engine found no way in" in output
    assert "Set ansible_become: true for engine in the inventory" in output


def test_a_container_that_does_not_run(tmp_path: Path, remote: DockerHost) -> None:
    output = enter(write_inventory(tmp_path, "no-such-container", remote.variables))
    assert "No such container: no-such-container" in output
    assert "`docker ps --all --filter name=no-such-container` on engine" in output
    # What is unreachable, no rescue catches.
    assert "UNREACHABLE" not in output
