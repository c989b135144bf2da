# SPDX-License-Identifier: Apache-2.0
"""The `mlflow-sftp` program: its commands by name, each imported when it is called."""

import importlib

import click

from mlflow_sftp.cli.output import ErrorReportingGroup, printable
from mlflow_sftp.errors import MissingPackageError
from mlflow_sftp.light_import import import_mlflow

# Where a command is, and its line of help: for the list of commands nothing has to be imported or installed.
COMMANDS = {
    "audit": ("audit.audit_command", "Compare MLflow's database with the files below ROOT, both ways."),
    "backup": ("backup.backup_command", "Write a complete copy of MLflow's database to the file TARGET."),
    "bench": ("files.bench_command", "Measure this server: many small files and a large one, up and down."),
    "check": ("files.check_command", "Connect, then write, read, list and delete a probe file."),
    "clean": ("clean.clean_command", "Remove the temporary files of transfers that died below STORE."),
    "clean-downloads": (
        "clean_downloads.clean_downloads_command",
        "Delete what was downloaded into this machine's temporary directory and never removed.",
    ),
    "copy": ("copy.copy_command", "Copy a file, or all that a directory holds, and prove it."),
    "copy-database": (
        "copy_database.copy_database_command",
        "Copy MLflow's database into an empty one, from SQLite to PostgreSQL or back, and compare every value.",
    ),
    "empty-database": (
        "empty_database.empty_database_command",
        "Remove all that MLflow has made in a database: its tables, or the SQLite file.",
    ),
    "entities": (
        "entities.entities_command",
        "Write what MLflow tells of runs, models and traces to FILE, or compare.",
    ),
    "empty-quarantine": (
        "empty_quarantine.empty_quarantine_command",
        "Delete what audits moved aside long ago below STORE.",
    ),
    "gc": ("gc.gc_command", "Remove for good what users deleted long ago in MLflow, rows and artifacts."),
    "info": ("info.info_command", "Tell what a store and MLflow's database hold, in numbers."),
    "login-server": ("login_server.login_server_command", "Run MLflow's server with its own login."),
    "ls": ("files.ls_command", "List a directory: size, time of last change, name."),
    "migrate": (
        "migrate.migrate_command",
        "Bring the database to the schema of the MLflow that is installed.",
    ),
    "monitor": (
        "monitor.monitor_command",
        "Look at a stack by the clock, show Prometheus metrics, and tell somebody what changes.",
    ),
    "prune": ("prune.prune_command", "Delete from SOURCE what a copy brought to TARGET."),
    "purge-roundtrips": (
        "purge_round_trips.purge_round_trips_command",
        "Remove for good what round trips left in MLflow, rows and artifacts.",
    ),
    "read-back": (
        "read_back.read_back_command",
        "Download runs and models through MLflow, and compare them.",
    ),
    "relocate": (
        "relocate.relocate_group",
        "Change the root of every artifact location in MLflow's database.",
    ),
    "restore": ("restore.restore_command", "Give MLflow's database the content of the backup FILE."),
    "rm": ("files.rm_command", "Remove a file, a directory, or a link but never what it points to."),
    "roundtrip": (
        "round_trip.round_trip_command",
        "Log, list, download and compare artifacts through MLflow.",
    ),
    "schema": (
        "schema.schema_command",
        "Compare the database's schema with the MLflow that is installed.",
    ),
    "serve": ("serve.serve_command", "Carry out commands that come as lines of JSON, and answer likewise."),
}
# Those that are MLflow's client, or use its store: they have no need of data frames.
_LIGHT = frozenset({"entities", "purge-roundtrips", "read-back", "roundtrip"})
# What brings a package that is not installed.
_EXTRAS = {
    "sqlalchemy": "mlflow-sftp[database]",
    "mlflow": "mlflow",
    "alembic": "mlflow",
    "prometheus_client": "mlflow-sftp[monitor]",
}


class _LazyGroup(ErrorReportingGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a stand-in, which is enough for the list of commands and for completion."""
        if cmd_name not in COMMANDS:
            return None
        return click.Command(cmd_name, short_help=COMMANDS[cmd_name][1])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        if found is None:
            return name, found, rest
        try:
            return name, _load(str(name)), rest
        except MissingPackageError:
            if not ctx.resilient_parsing:
                raise
            return name, found, rest  # Completion has nothing to say then.


def _load(name: str) -> click.Command:
    module, _, attribute = COMMANDS[name][0].partition(".")
    if name in _LIGHT:
        import_mlflow()
    try:
        command: click.Command = getattr(importlib.import_module(f"mlflow_sftp.cli.{module}"), attribute)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        remedy = f"pip install '{_EXTRAS.get(package, package)}'"
        raise MissingPackageError(f"{name} needs the Python package {package}", remedy) from error
    return command


@click.group(cls=_LazyGroup)
@click.version_option(package_name="mlflow-sftp")
def main() -> None:
    """Artifacts on an SFTP server: check, list, copy, move, prove.

    A URI is sftp://[user@]host[:port]/path. Host, key and known hosts come from the OpenSSH client configuration,
    everything else from MLFLOW_SFTP_* variables.

    Exit codes: 0 done; 1 failed, the reason is on standard error; 2 wrong usage; 3 done, but something was found or
    left behind; 130 interrupted. With --json, a command prints one object on standard output, also when it fails:
    {"contract": 1, "error": {"cause": ..., "message": ..., "seen": ..., "remedy": ...}}.
    """
    _log_to_standard_error()


def _log_to_standard_error() -> None:
    """Say what is left out, and what is waited for: what the package logs."""
    import logging

    class ToStandardError(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            click.echo(printable(self.format(record)), err=True)

    logger = logging.getLogger("mlflow_sftp")
    logger.handlers = [ToStandardError()]
    logger.setLevel(logging.INFO)
    logger.propagate = False
