# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp monitor`."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from mlflow_sftp.cli.output import FILE, ErrorReportingCommand
from mlflow_sftp.errors import StorageError
from mlflow_sftp.monitor.alerts import ACCOUNT_SPACE, SPACE, Limits, subjects
from mlflow_sftp.monitor.checks import MLFLOW_SFTP, Check
from mlflow_sftp.monitor.delivery import Messenger
from mlflow_sftp.monitor.monitor import Monitor
from mlflow_sftp.monitor.space import Amount
from mlflow_sftp.operations.client_waits import shorten_waits
from mlflow_sftp.uri import SftpUri

_ACCOUNT_CHECK = "ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.command"
_HOUR = 3600.0
_SECONDS = click.FloatRange(min=0, min_open=True)
_DIRECTORY = click.Path(path_type=Path, file_okay=False)
# Of the database, another check asks.
_STORE_ALONE = {"MLFLOW_BACKEND_STORE_URI": "", "MLFLOW_SFTP_RETRY_TIMEOUT": "1"}


@dataclass(frozen=True)
class Watched:
    """What there is to watch; what is empty is not.

    Attributes:
        store: Where artifacts are, a path or an sftp:// URI.
        tracking_uri: The MLflow server.
        database: Whether MLFLOW_BACKEND_STORE_URI names MLflow's database.
        check_program: Directory with the collection's program, which checks an SFTP account.
        ssh_config: OpenSSH client configuration.
        places: Paths of which the free space counts, by name.
        interval: Seconds between two quick checks.
        round_trip_interval: Seconds between two round trips; 0 for none.
        experiment: Of the round trips.
        limit: Seconds after which a quick check is ended; a slow one gets ten times that.
        quota: Bytes that the SFTP account may hold; 0 for no quota.
    """

    store: str
    tracking_uri: str
    database: bool
    check_program: Path | None
    ssh_config: Path | None
    places: dict[str, str]
    interval: float
    round_trip_interval: float
    experiment: str
    limit: float
    quota: int

    def checks(self) -> Iterator[Check]:
        """Yield the checks."""
        quick, slow = self.limit, self.limit * 10
        hourly = max(_HOUR, self.interval)
        if self.store.startswith("sftp:"):
            if self.check_program is not None:
                yield self._account_check(self.check_program, quick)
            yield self._account_space_check(hourly, slow)
        for name, path in self.places.items():
            yield self._space_check(f"{SPACE}{name}", path)
        if self.tracking_uri:
            program = (sys.executable, "-m", "mlflow_sftp.monitor.server_check", self.tracking_uri)
            yield Check("server", program, self.interval, quick, asks_mlflow=True)
        if self.tracking_uri and self.round_trip_interval:
            arguments = ("roundtrip", "--tracking-uri", self.tracking_uri, "--experiment", self.experiment)
            command = (*MLFLOW_SFTP, *arguments, "--json")
            yield Check("round_trip", command, self.round_trip_interval, slow, heavy=True, asks_mlflow=True)
        if self.database:
            yield Check(
                "database", (*MLFLOW_SFTP, "info", "--json"), hourly, slow, heavy=True, asks_mlflow=True
            )
            yield Check(
                "schema", (*MLFLOW_SFTP, "schema", "--json"), hourly, slow, heavy=True, asks_mlflow=True
            )

    def _account_check(self, program: Path, limit: float) -> Check:
        uri = SftpUri.parse(self.store)
        options = {
            "host": uri.endpoint.host,
            "port": uri.endpoint.port,
            "user": uri.endpoint.user,
            "path": uri.path,
            "ssh_config_file": str(self.ssh_config) if self.ssh_config else None,
        }
        return Check(
            "account",
            (sys.executable, "-m", _ACCOUNT_CHECK),
            self.interval,
            limit,
            json.dumps(options),
            {"PYTHONPATH": str(program)},
        )

    def _space_check(self, name: str, location: str) -> Check:
        return Check(
            name,
            (*MLFLOW_SFTP, "info", location, "--space", "--json"),
            self.interval,
            self.limit,
            environment=_STORE_ALONE,
        )

    def _account_space_check(self, every: float, limit: float) -> Check:
        """With a quota, count what the account holds, which takes a listing of all of it; otherwise only ask."""
        if not self.quota:
            return self._space_check(ACCOUNT_SPACE, self.store)
        command = (*MLFLOW_SFTP, "info", self.store, "--json")
        return Check(ACCOUNT_SPACE, command, every, limit, environment=_STORE_ALONE, heavy=True)


def _amount(_: click.Context, option: click.Parameter, text: str) -> Amount:
    try:
        return Amount.parse(text)
    except ValueError as error:
        raise click.UsageError(
            f"{option.name} {text}: expected a percentage as 10%, or a number of bytes"
        ) from error


@click.command("monitor", cls=ErrorReportingCommand)
@click.option(
    "--listen", default="127.0.0.1:9464", show_default=True, help="Address and port of the metrics."
)
@click.option("--stack", default="mlflow", show_default=True, help="What alerts call what is watched.")
@click.option(
    "--store", envvar="MLFLOW_ARTIFACT_URI", default="", help="Where artifacts are: a path or an sftp:// URI."
)
@click.option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", default="", help="The MLflow server.")
@click.option(
    "--database",
    envvar="MLFLOW_BACKEND_STORE_URI",
    default="",
    help="MLflow's database; with a password, better in MLFLOW_BACKEND_STORE_URI.",
)
@click.option(
    "--check-program", type=_DIRECTORY, help="The collection's program, which checks an SFTP account."
)
@click.option("--ssh-config", type=FILE, help="OpenSSH client configuration of the account.")
@click.option(
    "--place", "places", multiple=True, metavar="NAME=PATH", help="Directory whose free space counts."
)
@click.option(
    "--interval", type=_SECONDS, default=300, show_default=True, help="Seconds between two quick checks."
)
@click.option(
    "--round-trip-interval",
    type=click.FloatRange(min=0),
    default=86400,
    show_default=True,
    help="Seconds between two round trips through MLflow; 0 for none.",
)
@click.option(
    "--experiment", default="mlflow-sftp-verify", show_default=True, help="Experiment of the round trips."
)
@click.option(
    "--limit", type=_SECONDS, default=60, show_default=True, help="Seconds after which a check is ended."
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    help="Seconds of failing until an alert, and of another state until the next.",
)
@click.option("--status", type=_DIRECTORY, help="Directory with backup.json and cutover.json.")
@click.option(
    "--certificate", "certificates", type=FILE, multiple=True, help="Certificate whose end is watched."
)
@click.option(
    "--backup-hours", type=float, default=0, help="Age of the last good backup that is worth an alert."
)
@click.option(
    "--expiry-days", type=float, default=14, show_default=True, help="Days before a certificate ends."
)
@click.option(
    "--space-warn",
    callback=_amount,
    default="0",
    show_default=True,
    help="Free space below which somebody is told, as 10% or in bytes.",
)
@click.option(
    "--space-refuse",
    callback=_amount,
    default="0",
    show_default=True,
    help="Free space below which no storage switch to there is begun, likewise.",
)
@click.option(
    "--quota",
    type=click.IntRange(min=0),
    default=0,
    help="Bytes that the SFTP account may hold; what it holds is counted every hour then.",
)
@click.option(
    "--alerts", type=FILE, help="JSON file that names whom to tell: url, smtp_url, mail_from, mail_to."
)
@click.option("--state", type=FILE, required=True, help="File that keeps what was told.")
def monitor_command(
    listen: str,
    stack: str,
    store: str,
    tracking_uri: str,
    database: str,
    check_program: Path | None,
    ssh_config: Path | None,
    places: tuple[str, ...],
    interval: float,
    round_trip_interval: float,
    experiment: str,
    limit: float,
    patience: float,
    status: Path | None,
    certificates: tuple[Path, ...],
    backup_hours: float,
    expiry_days: float,
    space_warn: Amount,
    space_refuse: Amount,
    quota: int,
    alerts: Path | None,
    state: Path,
) -> None:
    """Look at a stack by the clock, show Prometheus metrics, and tell somebody what changes.

    Each check is a program that is ended when it does not end by itself. A webhook and mail are told once for each
    change of state; what could not be told is told at the next check.
    """
    watched = Watched(
        store,
        tracking_uri,
        bool(database),
        check_program,
        ssh_config,
        dict(_place(each) for each in places),
        interval,
        round_trip_interval,
        experiment,
        limit,
        quota,
    )
    # The checks are programs of their own.
    if database:
        os.environ["MLFLOW_BACKEND_STORE_URI"] = database
    if ssh_config:
        os.environ["MLFLOW_SFTP_SSH_CONFIG"] = str(ssh_config)
    shorten_waits(sftp=5, http=20)
    checks = tuple(watched.checks())
    known = subjects((check.name for check in checks), (path.name for path in certificates))
    limits = Limits(patience, backup_hours, expiry_days, space_warn, space_refuse, quota)
    messenger = Messenger(stack, alerts, state, patience, known)
    monitor = Monitor(checks, interval, limits, messenger, status, certificates)
    host, port = _address(listen)
    try:
        end = monitor.serve(host, port)
    except OSError as error:
        raise StorageError(
            f"{listen} cannot be listened on: {error.strerror}", "name another with --listen"
        ) from error
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: monitor.stop())
    click.echo(f"metrics at http://{listen}/metrics", err=True)
    monitor.run()
    end()


def _place(text: str) -> tuple[str, str]:
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise click.UsageError(f"--place {text}: expected NAME=PATH")
    return name, path


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise click.UsageError(f"--listen {text}: expected ADDRESS:PORT")
    return host.strip("[]"), int(port)
