# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp login-server`."""

from pathlib import Path

import click

from mlflow_sftp.cli.output import ErrorReportingCommand
from mlflow_sftp.operations.login import prepare, read_login, serve


@click.command(
    "login-server",
    cls=ErrorReportingCommand,
    context_settings={"ignore_unknown_options": True},
    options_metavar="",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF MLFLOW SERVER]...")
@click.option(
    "--database", envvar="MLFLOW_BACKEND_STORE_URI", required=True, help="URI of MLflow's database."
)
@click.option(
    "--keep-users",
    is_flag=True,
    envvar="MLFLOW_SFTP_KEEP_USERS",
    help="Leave users as they are, beside another server that has them.",
)
@click.option(
    "--users-only",
    is_flag=True,
    help="Make tables and users, and run no server: before several are started at once.",
)
def login_server_command(
    file: Path, arguments: tuple[str, ...], database: str, keep_users: bool, users_only: bool
) -> None:
    """Run MLflow's server with its own login.

    FILE names the users that it begins with, and holds secrets. They get the passwords that it says, whatever they
    have changed; other users are left alone. The login's tables are made in MLflow's database.
    """
    prepare(read_login(file), database, keep_users=keep_users)
    if not users_only:
        serve(arguments)
