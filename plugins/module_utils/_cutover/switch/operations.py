# SPDX-License-Identifier: GPL-3.0-or-later
"""What a storage switch does."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import (
    ROUND_TRIP_SECONDS,
    WORK,
    Deeds,
    translated,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import INCOMPLETE, Program
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.decisions import (
    require_no_workers,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import SwitchRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import (
    Store,
    needed_accounts,
)

_HOME = "/home/mlflow"


class Switch(Deeds[SwitchRecord]):
    """The deeds of a storage switch: `switch.engine.SwitchOperations` on real containers."""

    done_before = "Everything is copied and nothing else was changed"
    preloaded = ("relocate", "copy", "backup", "info")

    def make_directories(self, record: SwitchRecord) -> None:
        """Make the switch's directories, and bring the journal of the switch that this one undoes."""
        super().make_directories(record)
        journal = self._settings.switches / record.undoes / "work" / "journal.json"
        if record.undoes and journal.exists() and not (self.work / "undone.json").exists():
            shutil.copy2(journal, self.work / "undone.json")
            os.chown(self.work / "undone.json", self._settings.uid, self._settings.gid)
        if self._has_second_account:
            self._stack.configure_both_accounts(self.work / "ssh_config")

    def copy_command(self, record: SwitchRecord) -> list[str]:
        """Return the copy as a command; the directories of all runs would be too many for one, and are in files."""
        for name, paths in (("include", record.directories), ("exclude", record.already_moved)):
            path = self.work / f"{name}.json"
            path.write_text(json.dumps(list(paths)))
            os.chown(path, self._settings.uid, self._settings.gid)
        everything = copy_arguments(record.updated(directories=(), already_moved=()))
        return [
            *everything,
            "--include-from",
            f"{WORK}/include.json",
            "--exclude-from",
            f"{WORK}/exclude.json",
        ]

    def make_next_directory(self, record: SwitchRecord) -> None:
        """Begin the directory of the next files, with what does not come from a template."""
        following = self._make_next()
        here = self._settings
        renamed = {f"{name}_next": name for name in (here.config_dir, here.key_dir)}
        client = self._directory / "client"
        with translated("the next files cannot be written"):
            files.complete(following, here.directory, client if self._has_second_account else None, renamed)
            (following / ".other_stores.json").write_text(json.dumps(list(record.accounts)))

    def volumes(self) -> list[str]:
        """Return what a container needs for both stores, and the switch's directory."""
        return [
            *self._stack.credentials(self._before if self._before.exists() else None),
            *self._stack.credentials(self._directory / "client", "_next"),
            f"{self.work}:{WORK}:z",
        ]

    @property
    def ssh_config(self) -> str:
        """Where such a container has OpenSSH's configuration; empty for where the stack's containers have it."""
        return f"{WORK}/ssh_config" if self._has_second_account else ""

    def start(self, name: str, *command: str, labels: Mapping[str, str] | None = None) -> None:
        """Start a container that has both stores, the database and the switch's directory."""
        self._stack.start_tool(name, self.volumes(), *command, labels=labels, ssh_config=self.ssh_config)

    @property
    def _has_second_account(self) -> bool:
        return bool(self._stack.credentials(self._directory / "client"))

    def require_steady(self, record: SwitchRecord, replicas: int) -> None:
        """Require services that nobody else is changing, of so many servers; 0 where nobody has said how many.

        Raises:
            RefusedError: It is not the time to begin.
        """
        self._driver.require_steady(replicas, closes=True)
        if self._stack.project.on_swarm:
            require_no_workers(record, self._stack.project.services)

    # What follows is `SwitchOperations`.

    def save_files(self, record: SwitchRecord) -> None:
        super().save_files(record)
        with translated("the next files cannot be brought up to date"):
            files.renew(self._directory / "next", self._settings.directory)
        with translated("the next servers cannot be described"):
            self._driver.describe_store(self._directory / "next")

    def drain(self, record: SwitchRecord) -> None:
        # The copy may have taken hours.
        self.require_steady(record, 0)
        super().drain(record)

    def prepare(self, record: SwitchRecord) -> None:
        self._restart_tool()
        docker.remove(self._stack.copier)
        # MLflow serves still: nobody's password or permissions may become what they are at a start.
        self._start_candidate("--env=MLFLOW_SFTP_KEEP_USERS=true")
        self._provide_maintenance()
        self._require_candidate().wait()
        self._require_tool().wait()

    def copy_rest(self, record: SwitchRecord) -> None:
        if record.copies:
            self._copy([*copy_arguments(record), "--trust-target"])

    def relocate(self, record: SwitchRecord) -> None:
        if (self.work / "undone.json").exists():
            self._require_tool().call("relocate", "undo", "--journal", f"{WORK}/undone.json")
        if record.moves_rows:
            self._require_tool().call(
                *("relocate", "apply", *relocate_arguments(record)),
                *("--journal", f"{WORK}/journal.json", "--no-backup"),
            )

    def compare(self, record: SwitchRecord) -> None:
        places = self._require_tool().call("info")["database"]["places"]
        needed = needed_accounts((place["place"] for place in places), record.target)
        # What the next files depend on is whether there are any.
        if bool(needed) != bool(record.accounts):
            raise CutoverError(
                f"rows lead to the SFTP accounts {needed}, and the next configuration knows "
                f"{list(record.accounts)} besides the new store: rows have changed since the plan",
                "Run the switch again",
            )

    def try_candidate(self, record: SwitchRecord) -> None:
        server = ("--tracking-uri", "http://localhost:5000")
        self._read_back(self._require_candidate(), record, self.runs_while_closed, *server)
        # In an experiment of its own, which goes with it.
        self._require_candidate().call(
            "roundtrip", "--access", record.target.access, *server, seconds=ROUND_TRIP_SECONDS
        )

    def count_left(self, record: SwitchRecord) -> int:
        everything = record.updated(experiments=(), migrate="all")
        found = self._require_tool().call(
            "relocate", "plan", *relocate_arguments(everything), accepted=(0, INCOMPLETE)
        )
        return int(found["rows_to_move"])

    def forget_trial(self, record: SwitchRecord) -> None:
        # What stays is a deleted run, and an experiment of round trips: the next purge removes both.
        with contextlib.suppress(CutoverError):
            self._require_candidate().call(
                *self._purge_arguments(record),
                "--tracking-uri",
                "http://localhost:5000",
                seconds=ROUND_TRIP_SECONDS,
            )

    def copy_back(self, record: SwitchRecord) -> str:
        command = ["copy", record.target.uri, record.source.uri, "--manifest", f"{WORK}/logged-since.db"]
        try:
            self._copy([*command, "--verify", "size"])
        except CutoverError as error:
            return str(error)
        return ""

    def restore_rows(self, record: SwitchRecord) -> None:
        if (self.work / "journal.json").exists():
            self._require_tool().call("relocate", "undo", "--journal", f"{WORK}/journal.json")
        if (self.work / "undone.json").exists():
            self._require_tool().call("relocate", "redo", "--journal", f"{WORK}/undone.json")

    def relocate_since(self, record: SwitchRecord) -> None:
        back = record.updated(source=record.target, target=record.source)
        self._require_tool().call(
            *("relocate", "apply", *relocate_arguments(back)),
            *("--journal", f"{WORK}/logged-since.json", "--no-backup", "--skip-blocked"),
        )

    def tidy(self, record: SwitchRecord) -> None:
        if not record.interrupted:
            # What stays is removed by the next deployment.
            with contextlib.suppress(CutoverError, OSError):
                self._driver.forget(self._directory)
        super().tidy(record)

    def _store(self, record: SwitchRecord) -> Store:
        return record.target

    def _verify_meanwhile(self, record: SwitchRecord) -> None:
        asked = self._settings.verify_runs
        if asked != self.runs_while_closed:
            self._read_back(self._require_tool(), record, asked)

    def _copy(self, arguments: Sequence[str]) -> None:
        found = self._require_tool().call(*arguments, accepted=(0, INCOMPLETE))
        if found["failed"]:
            first = "; ".join(f"{path}: {reason}" for path, reason in list(found["failed"].items())[:3])
            raise CutoverError(f"{len(found['failed'])} files could not be copied: {first}")

    def _read_back(self, program: Program, record: SwitchRecord, runs: str, *server: str) -> None:
        arguments = [*read_back_arguments(record, runs), *server]
        self.read_back(program, arguments, ROUND_TRIP_SECONDS if server else None)


def copy_arguments(record: SwitchRecord) -> list[str]:
    """Return the copy of a switch, as arguments of the package's program."""
    return [
        *("copy", record.source.uri, record.target.uri, "--for-mlflow", "--manifest", f"{WORK}/manifest.db"),
        *(word for each in record.directories for word in ("--include", each)),
        *(word for each in record.already_moved for word in ("--exclude", each)),
    ]


def relocate_arguments(record: SwitchRecord) -> list[str]:
    """Return which locations change, as arguments of the package's program."""
    return [
        *("--from", record.source.root, "--to", record.target.root, "--working-directory", _HOME),
        *(word for each in record.experiments for word in ("--experiment", str(each))),
        *(["--new-runs-only"] if record.migrate == "none" else []),
    ]


def read_back_arguments(record: SwitchRecord, runs: str) -> list[str]:
    """Return which old runs are read back, as arguments of the package's program."""
    old = record.source if record.migrate == "none" else record.target
    manifest = ("--manifest", f"{WORK}/manifest.db") if record.copies else ()
    return ["read-back", old.root, "--store", old.uri, "--runs", runs, *manifest]
