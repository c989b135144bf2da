"""Which HAProxy can be a gateway: what programs and releases tell."""

import os
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.haproxy import (
    release_problem,
    version_of,
    version_problem,
)
from ansible_collections.freegee.mlflow_sftp.plugins.modules.mlflow_gateway_image_info import look

_TAIL = "Status: long-term supported branch - will stop receiving fixes around Q2 2029.\n"


@pytest.mark.parametrize(
    ("said", "version", "problem"),
    [
        (
            f"HAProxy version 3.0.11-1+deb13u1 2025/06/27 - https://haproxy.org/\n{_TAIL}",
            "3.0.11-1+deb13u1",
            "",
        ),
        ("HAProxy version 3.2.0-abc 2025/05/28 - https://haproxy.org/\n", "3.2.0-abc", ""),
        ("HAProxy version 10.1 2040/01/01\n", "10.1", ""),
        ("[WARNING] something first\nHAProxy version 3.1.0\n", "3.1.0", ""),
        ("HAProxy version 2.9.99 2024/01/01\n", "2.9.99", "its HAProxy is 2.9.99"),
        ("HAProxy version 2.6.12-1+deb12u2 2025/04/25\n", "2.6.12-1+deb12u2", "a gateway needs 3.0 or newer"),
        (
            "HA-Proxy version 2.2.9-2+deb11u6 2023/04/10\n",
            "2.2.9-2+deb11u6",
            "its HAProxy is 2.2.9-2+deb11u6",
        ),
        ("HA-Proxy version 1.8.19-1 2019/02/12\n", "1.8.19-1", "its HAProxy is 1.8.19-1"),
        ("", "", "it tells of no HAProxy"),
        ("nginx version: nginx/3.0\n", "", "it tells of no HAProxy"),
        ("HAProxy version\n", "", "it tells of no HAProxy"),
    ],
)
def test_what_a_program_tells(said: str, version: str, problem: str) -> None:
    assert version_of(said) == version
    found = version_problem(said)
    assert problem in found
    assert bool(found) == bool(problem)


@pytest.mark.parametrize(
    ("suite", "is_old"),
    [
        ("buster", True),
        ("bullseye", True),
        ("bookworm", True),
        ("trixie", False),
        ("forky", False),
        ("sid", False),
        ("", False),
    ],
)
def test_releases(suite: str, is_old: bool) -> None:
    assert bool(release_problem(suite)) == is_old


def docker_that(directory: Path, monkeypatch: pytest.MonkeyPatch, deed: str) -> None:
    """A client of Docker that has no image, and does one thing with a container."""
    client = directory / "docker"
    client.write_text(f'#!/bin/sh\n[ "$1" = image ] && exit 1\n{deed}\n')
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("deed", "check_mode", "version", "finding"),
    [
        ("echo HAProxy version 3.2.1", False, "3.2.1", ""),
        (
            "echo HAProxy version 2.8.1",
            False,
            "2.8.1",
            "own:1: its HAProxy is 2.8.1, and a gateway needs 3.0",
        ),
        (
            "echo no bash >&2; exit 127",
            False,
            "",
            "own:1 does not tell which HAProxy it has: docker container",
        ),
        # It would be pulled: nobody knows.
        ("exit 1", True, "", ""),
    ],
)
def test_what_an_image_has(
    deed: str, check_mode: bool, version: str, finding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_that(tmp_path, monkeypatch, deed)
    found = look("own:1", check_mode)
    assert found["version"] == version
    assert finding in " ".join(found["findings"])  # type: ignore[arg-type]
    assert bool(found["findings"]) == bool(finding)
