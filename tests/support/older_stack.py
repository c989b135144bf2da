"""A stack that runs an older MLflow, as a team has that has not upgraded for a while."""

import re
import subprocess
from pathlib import Path

from tests.support.lab import Lab

_DOCKERFILE = """
FROM {image}
USER root
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=extra_ca \\
    pip install --no-cache-dir {packages}
# These compare the version of a model as text with a number, which PostgreSQL takes from psycopg2 only.
RUN sed -i 's/^\\( *\\)_validate_model_version(version)$/\\1version = int(version)/' \\
    /opt/venv/lib/python3*/site-packages/mlflow/store/model_registry/sqlalchemy_store.py
USER mlflow
"""
# What its releases did not limit, and newer ones of which they do not work with.
_PACKAGES = {"3.10.1": ["mlflow==3.10.1"], "3.13.0": ["mlflow==3.13.0"]}


def older_images(lab: Lab, version: str) -> dict[str, str]:
    """Build images of an older MLflow out of those of a deployed stack, once; return their names by those."""
    compose = (lab.stack / "compose.yml").read_text()
    made = {}
    for image in sorted(set(re.findall(r"freegee/mlflow-(?:server|client):\S+", compose))):
        made[image] = older_image(lab, image, version)
    return made


def older_image(lab: Lab, image: str, version: str) -> str:
    """Build an older MLflow's image out of one that was built for a lab, once; return its name."""
    name = f"{image}-older-{version}"
    if subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode:
        packages = " ".join(_PACKAGES[version])
        _build(lab.stack, _DOCKERFILE.format(image=image, packages=packages), name)
    return name


def go_back_to(lab: Lab, images: dict[str, str], database: str) -> None:
    """Let a stack begin anew, with an empty database, on older images."""
    lab.compose("--profile", "*", "down")
    subprocess.run(["docker", "volume", "rm", f"{lab.name}_{database}"], check=True, capture_output=True)
    path = lab.stack / "compose.yml"
    text = path.read_text()
    for newer, older in images.items():
        text = text.replace(f"image: {newer}\n", f"image: {older}\n")
    path.write_text(text)
    lab.compose("up", "--detach", "--no-build", "--wait")


def _build(stack: Path, dockerfile: str, name: str) -> None:
    command = ["docker", "build", "--quiet", f"--tag={name}", "--label=freegee.mlflow_sftp.tests=older"]
    command += [f"--secret=id=pip_conf,src={stack}/.secrets/pip.conf"]
    command += ["--secret=id=extra_ca,src=/etc/ssl/certs/ca-certificates.crt", "-"]
    done = subprocess.run(command, input=dockerfile, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
