# SPDX-License-Identifier: Apache-2.0
"""The `--database` option, which opens what it names."""

from collections.abc import Callable
from typing import Any

import click

from mlflow_sftp.database.database import Database


def _open(ctx: click.Context, _: click.Parameter, uri: str | None) -> Database | None:
    return None if uri is None else ctx.with_resource(Database(uri))


def _option(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--database",
        envvar="MLFLOW_BACKEND_STORE_URI",
        required=required,
        callback=_open,
        help="SQLAlchemy URI of MLflow's database; with a password, better in MLFLOW_BACKEND_STORE_URI.",
    )


database_option = _option(required=True)
optional_database_option = _option(required=False)
