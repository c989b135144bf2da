# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions of what a stack runs."""

from __future__ import annotations

import contextlib

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack

_ASK_MLFLOW = "from importlib.metadata import version; print(version('mlflow'))"


def versions(stack: Stack) -> dict[str, str]:
    """Return versions by what they are of, for people; what does not answer is left out."""
    project = stack.project.name
    questions = {
        "MLflow": ("exec", f"{project}-mlflow-1", "python", "-c", _ASK_MLFLOW),
        "Docker engine": ("version", "--format", "{{.Server.Version}}"),
        "images": (
            *("container", "ls", "--filter", f"label=com.docker.compose.project={project}"),
            *("--format", "{{.Image}}"),
        ),
    }
    found: dict[str, str] = {}
    for name, question in questions.items():
        with contextlib.suppress(CutoverError):
            found[name] = ", ".join(sorted(set(docker.run(*question).split())))
    return {name: told for name, told in found.items() if told}
