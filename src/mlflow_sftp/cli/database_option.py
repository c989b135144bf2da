# SPDX-License-Identifier: Apache-2.0
"""The `--database` option, which opens what it names."""

import click

from mlflow_sftp.database.database import Database


def _open(ctx: click.Context, _: click.Parameter, uri: str) -> Database:
    return ctx.with_resource(Database(uri))


database_option = click.option(
    "--database",
    envvar="MLFLOW_BACKEND_STORE_URI",
    required=True,
    callback=_open,
    help="SQLAlchemy URI of MLflow's database; with a password, better in MLFLOW_BACKEND_STORE_URI.",
)
