# SPDX-License-Identifier: GPL-3.0-or-later
"""Round trips through MLflow from every service of a stack, all at once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import failure_of, run_once
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack

SECONDS = 900

RoundTrips = Mapping[str, "subprocess.Popen[str]"]


def clients(stack: Stack) -> Iterator[tuple[str, str]]:
    """Return the services with a container for each, that of the training job started; whoever asks removes it."""
    project = stack.project
    if "train" in project.services:
        docker.remove(stack.trainer)
        stack.compose.run(
            *("run", "--detach", "--rm", "--no-deps", f"--name={stack.trainer}"),
            *("train", "sleep", str(SECONDS)),
        )
    for name in project.clients:
        yield name, stack.trainer if name == "train" else f"{project.name}-{name}-1"


def start(stack: Stack, access: str, containers: Mapping[str, str]) -> RoundTrips:
    """Start a round trip in each of these containers, by name of the service, which must be by `access`."""
    arguments = ("--tracking-uri", "http://mlflow:5000", "--access", access)
    return {
        name: run_once(each, "roundtrip", *arguments, "--experiment", stack.experiment_of(name))
        for name, each in containers.items()
    }


def failures(started: RoundTrips) -> list[str]:
    """Wait for round trips and return what went wrong, a sentence for each service."""
    return [f"{name}: {failure}" for name, each in started.items() if (failure := _failure(each))]


def _failure(process: subprocess.Popen[str]) -> str:
    try:
        output, errors = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"no answer within {SECONDS} s"
    return failure_of(output, errors) if process.returncode else ""
