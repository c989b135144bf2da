# SPDX-License-Identifier: GPL-3.0-or-later
"""What images have."""

from __future__ import annotations

import json

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.plan import Image

# Also in images of earlier versions, whose program knows no such command.
_TELL = """
import json, os, re, subprocess
import mlflow
import mlflow.store.db_migrations as migrations
from alembic.script import ScriptDirectory
directory = os.path.dirname(migrations.__file__) if migrations.__file__ else list(migrations.__path__)[0]
try:
    said = subprocess.run(["pg_dump", "--version"], capture_output=True, text=True).stdout
except OSError:
    said = ""
pg_dump = (re.findall(r"[0-9]+", said) or [""])[0]
heads = list(ScriptDirectory(directory).get_heads())
print(json.dumps({"mlflow": mlflow.__version__, "heads": heads, "pg_dump": pg_dump}))
"""
_TELL_POSTGRES = "ls /usr/lib/postgresql; id -u postgres"


def look_into(image: str, postgres_image: str = "") -> Image:
    """Return what an image of the MLflow server has, and that of PostgreSQL beside it.

    Raises:
        CutoverError: It is not there, or no such image.
    """
    told = json.loads(_run(image, "/opt/venv/bin/python", "-c", _TELL))
    return Image(told["mlflow"], tuple(told["heads"]), told["pg_dump"], *_postgres(postgres_image))


def postgres_version(image: str) -> str:
    """Return the major version of PostgreSQL that an image has; empty without an image.

    Raises:
        CutoverError: It is not there, or no such image.
    """
    return _postgres(image)[0]


def _postgres(image: str) -> tuple[str, str]:
    """Return major version and user id."""
    if not image:
        return "", ""
    *versions, uid = _run(image, "sh", "-c", _TELL_POSTGRES).split()
    return max(versions, key=int, default=""), uid


def _run(image: str, program: str, *arguments: str) -> str:
    options = ("--rm", "--pull=never", "--network=none", *docker.RESTRICTED, *docker.NO_PROXIES)
    try:
        return docker.run("container", "run", *options, f"--entrypoint={program}", image, *arguments)
    except CutoverError as error:
        raise CutoverError(f"the image {image} does not tell what it has: {error.seen}") from error
