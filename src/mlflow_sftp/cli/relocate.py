# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp relocate`: plan, apply, state, undo, redo, scan."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mlflow_sftp.cli.database_option import database_option
from mlflow_sftp.cli.output import (
    EXIT_INCOMPLETE,
    FILE,
    ErrorReportingGroup,
    json_option,
    print_json,
)
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations import relocate
from mlflow_sftp.operations.relocate import Plan, Request

_journal = click.option("--journal", type=FILE, required=True, help="Journal file of the relocation.")
_check = click.option("--check", is_flag=True, help="Only tell how many rows would change.")
_directory = click.option("--working-directory", help="Where relative paths in the database start.")


def _request_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        _directory,
        click.option("--new-runs-only", is_flag=True, help="Only change where artifacts of new runs go."),
        click.option("--experiment", "experiments", type=int, multiple=True, help="Only these; repeatable."),
        click.option("--to", "new", required=True, help="New root."),
        click.option("--from", "old", required=True, multiple=True, help="Old root; repeat for its aliases."),
    ):
        command = option(command)
    return command


@click.group("relocate", cls=ErrorReportingGroup)
def relocate_group() -> None:
    """Change the root of every artifact location in MLflow's database. Files are not touched."""


@relocate_group.command("plan")
@database_option
@_request_options
@click.option("--rows", is_flag=True, help="List every row, not only the counts.")
@json_option
def plan_command(database: Database, rows: bool, as_json: bool, **options: Any) -> None:
    """Show what would change and what cannot; changes nothing. Exit code 3 if a row cannot move."""
    request = _request(**options)
    plan, places_after = relocate.plan_with_places(database, request)
    findings = relocate.scan(database, request.old, request.working_directory)
    report_only = _count(found for found in findings if found.kind == "report_only")
    if as_json:
        print_json(
            {
                **plan.as_dict(rows),
                "directories": plan.directories_below(request),
                "already_moved": sorted(plan.already_moved),
                "places_after": places_after,
                "report_only": report_only,
            }
        )
    else:
        _print_plan(plan, rows)
        _print_counts("Mentions of the old root that MLflow does not follow, left as they are:", report_only)
    if plan.blocked:
        raise click.exceptions.Exit(EXIT_INCOMPLETE)


@relocate_group.command("apply")
@database_option
@_request_options
@_journal
@click.option("--backup", type=FILE, help="Where to put a copy of the database first.")
@click.option("--no-backup", is_flag=True, help="Make no copy: there is one already.")
@click.option("--skip-blocked", is_flag=True, help="Leave rows that cannot move where they are.")
@json_option
def apply_command(
    database: Database,
    journal: Path,
    backup: Path | None,
    no_backup: bool,
    skip_blocked: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Re-root every location in one transaction. Stop the MLflow server first."""
    if (backup is None) is not no_backup:
        raise click.UsageError("give either --backup PATH or --no-backup")
    done = relocate.apply(database, _request(**options), journal, backup=backup, skip_blocked=skip_blocked)
    if as_json:
        rows = len(done.plan.moves)
        print_json(
            {
                "changed": done.changed,
                "rows": rows,
                "journal": _text(done.journal),
                "backup": _text(done.backup),
            }
        )
    elif done.changed:
        click.echo(f"{len(done.plan.moves)} locations changed; undo with --journal {done.journal}")
    else:
        click.echo("Nothing to do: every location is where it should be.")


@relocate_group.command("state")
@database_option
@_journal
@json_option
def state_command(database: Database, journal: Path, as_json: bool) -> None:
    """Tell whether the transaction of a journal is in the database: applied, not_applied or diverged."""
    found = relocate.state(database, journal)
    if as_json:
        print_json(asdict(found))
    else:
        click.echo(
            f"{found.verdict} ({found.new} new, {found.old} old, {found.other} other, {found.gone} gone)"
        )


@relocate_group.command("undo")
@database_option
@_journal
@_check
@json_option
def undo_command(database: Database, journal: Path, check: bool, as_json: bool) -> None:
    """Give every row of a journal its old value back, in one transaction."""
    _print_replayed(relocate.undo(database, journal, check=check), check, as_json)


@relocate_group.command("redo")
@database_option
@_journal
@_check
@json_option
def redo_command(database: Database, journal: Path, check: bool, as_json: bool) -> None:
    """Give every row of a journal its new value again, once it was undone, in one transaction."""
    _print_replayed(relocate.redo(database, journal, check=check), check, as_json)


@relocate_group.command("scan")
@database_option
@click.argument("roots", nargs=-1, required=True)
@_directory
@json_option
def scan_command(
    database: Database, roots: tuple[str, ...], working_directory: str | None, as_json: bool
) -> None:
    """Search every text column for ROOTS. Exit code 3 if a location that MLflow follows is among them."""
    found = list(relocate.scan(database, roots, working_directory))
    if as_json:
        print_json({"findings": [finding.as_dict() for finding in found]})
    for finding in [] if as_json else found:
        key = ", ".join(f"{name}={value}" for name, value in finding.key.items())
        click.echo(f"{finding.kind:12} {finding.table}.{finding.column} [{key}] {finding.excerpt}")
    if any(finding.kind == "location" for finding in found):
        raise click.exceptions.Exit(EXIT_INCOMPLETE)


def _request(experiments: Sequence[int], **options: Any) -> Request:
    return Request(experiments=tuple(experiments) or None, **options)


def _count(findings: Iterator[relocate.Finding]) -> dict[str, int]:
    return dict(Counter(f"{found.table}.{found.column}" for found in findings))


def _print_plan(plan: Plan, rows: bool) -> None:
    for name, counter in plan.counts.items():
        described = ", ".join(f"{count} {what}" for what, count in sorted(counter.items())) or "none"
        click.echo(f"{name:40} {described}")
    for move in plan.as_dict()["moves"] if rows else ():
        click.echo(f"  {move['table']}.{move['column']}: {move['old']} -> {move['new']}")
    for row in plan.as_dict(rows=False)["blocked"]:
        word = "ambiguous" if row["ambiguous"] else "blocked"
        row_name = f"{row['table']}.{row['column']} {json.dumps(row['key'])}"
        click.echo(f"{word}: {row_name} = {row['value']}: {row['reason']}")


def _print_counts(title: str, counts: dict[str, int]) -> None:
    if counts:
        click.echo(title)
    for name, count in sorted(counts.items()):
        click.echo(f"  {name:38} {count}")


def _print_replayed(done: relocate.Replayed, check: bool, as_json: bool) -> None:
    if as_json:
        print_json({"changed": done.changed, "rows": done.rows, "gone": done.gone})
    else:
        click.echo(f"{done.rows} locations {'would be ' if check else ''}changed, {done.gone} rows are gone")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
