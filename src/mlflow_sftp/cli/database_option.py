# SPDX-License-Identifier: Apache-2.0
"""The `--database` option, which opens what it names."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from mlflow_sftp.errors import MissingPackageError

if TYPE_CHECKING:
    from mlflow_sftp.database.database import Database


# What brings SQLAlchemy.
DATABASE_REMEDY = "pip install 'mlflow-sftp[database]'"


def _open(ctx: click.Context, uri: str | None, *, missing_ok: bool) -> "Database | None":
    if uri is None:
        return None
    # Imported here: whoever names no database need not have what reads one.
    try:
        from mlflow_sftp.database.database import Database
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"--database needs the Python package {error.name}", DATABASE_REMEDY
        ) from error
    return ctx.with_resource(Database(uri, missing_ok=missing_ok))


def _option(
    *, required: bool, missing_ok: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--database",
        envvar="MLFLOW_BACKEND_STORE_URI",
        required=required,
        callback=lambda ctx, _, uri: _open(ctx, uri, missing_ok=missing_ok),
        help="SQLAlchemy URI of MLflow's database; with a password, better in MLFLOW_BACKEND_STORE_URI.",
    )


database_option = _option(required=True)
optional_database_option = _option(required=False)
# For who can do something with an SQLite file that is not there yet.
missing_database_option = _option(required=True, missing_ok=True)
