"""Docker as it is found: used, installed, started, or refused by name."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.engine import (
    Host,
    Unit,
    daemon_error,
    refusal,
    warnings,
)

DEAD = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
DENIED = "permission denied while trying to connect to the Docker daemon socket"
# As docker info --format '{{json .}}' shows them, cut to what is looked at.
ANSWER = {
    "ServerVersion": "28.5.1",
    "DockerRootDir": "/srv/docker",
    "SecurityOptions": ["name=seccomp,profile=default"],
}
SILENT = {"ServerErrors": [DEAD], "ClientInfo": {}}
PODMAN = {"host": {"buildahVersion": "1.28.2"}, "store": {}, "version": {}}
CE = {
    "client": "/usr/bin/docker",
    "daemon": "/usr/bin/dockerd",
    "info": SILENT,
    "packages": ("docker-ce", "docker-ce-cli"),
}
DISTRIBUTION_S = CE | {"packages": ("docker.io",)}
MASKED = {"docker.service": Unit("masked", "inactive")}
FAILED = {"docker.service": Unit("loaded", "failed")}
SNAP = {"snap.docker.dockerd.service": Unit("loaded", "inactive")}
COMMA = '{\n  "mtu": 1400,\n  oops\n}\n'


@pytest.mark.parametrize(
    ("found", "code", "words"),
    [
        # Nothing there, or what the role starts itself
        ({}, "", ""),
        ({"client": "/usr/bin/docker", "info": SILENT, "said": DEAD}, "", ""),
        (DISTRIBUTION_S, "", ""),
        (DISTRIBUTION_S | {"units": FAILED}, "", ""),
        (DISTRIBUTION_S | {"sockets": ("/run/user/1000/docker.sock",)}, "", ""),
        # An engine that answers, whatever it is and whatever else is there
        (CE | {"info": ANSWER}, "", ""),
        (CE | {"info": ANSWER, "daemon_json": COMMA}, "", ""),
        (DISTRIBUTION_S | {"info": ANSWER, "missing": ("compose",)}, "", ""),
        (CE | {"info": ANSWER, "endpoint": "unix:///run/docker.sock"}, "", ""),
        # From elsewhere, and silent
        (CE, "engine_stopped", "docker-ce is installed and does not answer"),
        (CE | {"units": FAILED}, "engine_stopped", "docker.service is failed"),
        (CE | {"units": MASKED}, "engine_masked", "systemctl unmask docker.service"),
        (DISTRIBUTION_S | {"units": MASKED}, "engine_masked", "docker.service is masked"),
        ({"packages": ("docker-ce-cli",)}, "engine_stopped", "docker-ce-cli"),
        ({"packages": ("moby-engine",), "units": FAILED}, "engine_stopped", "enable --now docker.service"),
        ({"client": "/snap/bin/docker", "said": DEAD, "units": SNAP}, "engine_stopped", "snap.docker.dockerd"),
        ({"daemon": "/usr/local/bin/dockerd"}, "engine_stopped", "/usr/local/bin/dockerd is installed"),
        (CE | {"daemon_json": COMMA, "units": FAILED}, "daemon_json_invalid", "/etc/docker/daemon.json, line 3"),
        ({"daemon_json": COMMA}, "daemon_json_invalid", "line 3, column 3"),
        (DISTRIBUTION_S | {"daemon_json": "[]"}, "daemon_json_invalid", "list instead of an object"),
        (CE | {"said": DENIED, "user": "alice"}, "engine_denied", "put alice into the group docker"),
        # Of another kind
        ({"client": "/usr/bin/podman"}, "engine_podman", "/usr/bin/podman"),
        ({"client": "/usr/bin/docker", "info": PODMAN}, "engine_podman", "remove podman-docker"),
        ({"sockets": ("/run/user/1000/docker.sock",)}, "engine_rootless", "/run/user/1000/docker.sock"),
        (CE | {"info": ANSWER | {"SecurityOptions": ["name=rootless"]}}, "engine_rootless", "docker.io"),
        (
            CE | {"info": ANSWER | {"SecurityOptions": ["name=seccomp,profile=default", "name=userns"]}},
            "engine_remaps_users",
            "take userns-remap out of /etc/docker/daemon.json",
        ),
        (CE | {"info": ANSWER, "missing": ("compose",)}, "engine_incomplete", "docker-compose-plugin"),
        (CE | {"info": ANSWER, "endpoint": "ssh://other"}, "engine_elsewhere", "ssh://other leads to"),
        (
            CE | {"info": ANSWER, "endpoint": "unix:///home/me/.docker/desktop/docker.sock"},
            "engine_elsewhere",
            "Ansible's modules ask unix:///var/run/docker.sock",
        ),
    ],
)  # fmt: skip
def test_refusal(found: dict[str, Any], code: str, words: str) -> None:
    error = refusal(Host(**found))
    assert (error.cause.code if error else "") == code
    assert words in (f"{error}. {error.remedy}" if error else "")


@pytest.mark.parametrize("text", ["", " \n", "{}", '{"data-root": "/srv"}'])
def test_a_daemon_json_that_is_valid(text: str) -> None:
    assert daemon_error(text) == ""


def test_where_images_are_kept() -> None:
    assert Host().root_directory == "/var/lib/docker"
    assert Host(daemon_json='{"data-root": "/srv"}').root_directory == "/srv"
    assert Host(daemon_json=COMMA).root_directory == "/var/lib/docker"
    assert Host(info=ANSWER, daemon_json='{"data-root": "/next"}').root_directory == "/srv/docker"


def test_warnings() -> None:
    assert warnings(Host(info=ANSWER), ["4", "6"]) == []
    assert warnings(Host(), []) == []
    (broken,) = warnings(Host(info=ANSWER, daemon_json=COMMA), ["4"])
    assert "line 3, column 3" in broken
    (snap,) = warnings(Host(client="/snap/bin/docker", info=ANSWER), ["4"])
    assert "mlflow_stack_dir" in snap
    (six,) = warnings(Host(info=ANSWER), ["6"])
    assert "mlflow_stack_network" in six
