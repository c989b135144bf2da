# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL's own programs: pg_dump, pg_restore, psql."""

import os
import shutil

import sqlalchemy as sa

from mlflow_sftp.database.database import CONNECT_TIMEOUT_S, Database


def is_installed(program: str) -> bool:
    return shutil.which(program) is not None


def address(database: Database) -> str:
    """The URI that libpq connects to, without a password: arguments are visible to every user of the host."""
    url = database.url
    query = {name: value for name, value in url.query.items() if name != "password"}
    return str(sa.URL.create("postgresql", url.username, None, url.host, url.port, url.database, query))


def environment(database: Database) -> dict[str, str]:
    """The environment with what libpq needs beside the address."""
    found = {"PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT_S), **os.environ}
    password = database.url.password or database.url.query.get("password")
    if password:
        found["PGPASSWORD"] = str(password)
    return found


def complaint(said: str) -> str:
    """The line of a program's standard error that tells what failed, with its detail."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    failed = [line for line in lines if "ERROR:" in line or "FATAL:" in line or "error:" in line]
    detail = [line for line in lines if line.startswith("DETAIL:")]
    return " ".join([*(failed or lines)[:1], *detail[:1]])
