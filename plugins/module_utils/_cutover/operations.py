# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cutover does, with Docker's client and the package's program in containers."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import record as records
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.plan import readable_size
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import (
    INCOMPLETE,
    Program,
    failure_of,
    run_once,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import LABEL
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import (
    Project,
    Store,
    environment_of,
    needed_accounts,
)

WORK = "/var/lib/mlflow-storage"
# Says which step a cutover is at.
STEP_FILE = "step"
_HOME = "/home/mlflow"
_DATABASE = "/var/lib/mlflow"
# How many old runs are read back while MLflow is closed; what is asked for beyond them follows afterwards.
_RUNS_WHILE_CLOSED = 10
_ROUND_TRIP_SECONDS = 900
_RESERVE = ".reserve"
_RESERVE_BYTES = 4 << 20


@dataclass(frozen=True)
class Settings:
    """How a stack is laid out.

    Attributes:
        directory: The stack's, with ``compose.yml`` and ``.env``.
        local_root: Where containers have the local store.
        config_dir: Where containers have the SSH client's configuration.
        key_dir: Where containers have the private key.
        uid: Of the containers' user.
        gid: Of the containers' group.
        experiment: Of the round trips.
        wait_timeout: Seconds within which the services must be healthy.
        verify_runs: How many old runs are read back, or ``all``.
        stop_jobs: Whether running jobs may be stopped.
    """

    directory: Path
    local_root: str = "/mlruns"
    config_dir: str = "/etc/mlflow_sftp"
    key_dir: str = "/run/secrets/mlflow_sftp_key"
    uid: int = 10001
    gid: int = 10001
    experiment: str = "mlflow-sftp-verify"
    wait_timeout: int = 180
    verify_runs: str = "10"
    stop_jobs: bool = False

    def __post_init__(self) -> None:
        """Refuse what means no number of runs."""
        if self.verify_runs != "all" and not (self.verify_runs.isdecimal() and int(self.verify_runs)):
            raise RefusedError(f"verify_runs is {self.verify_runs!r}", "Give a number above 0, or all")

    @property
    def switches(self) -> Path:
        """The directory of all records."""
        return self.directory / "switches"


class Stack:
    """A deployed stack, and the containers that a cutover starts beside it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.compose = docker.Compose(str(settings.directory))
        try:
            environment = environment_of((settings.directory / ".env").read_text())
            self.project = Project.from_config(self.compose.config())
        except PermissionError as error:
            raise RefusedError(
                f"{error.filename} cannot be read by user {os.getuid()}", "Set become for this host"
            ) from error
        except (OSError, KeyError, CutoverError) as error:
            raise RefusedError(
                f"{settings.directory} holds no deployed stack ({error})".rstrip("."), "Run site.yml first"
            ) from error
        self.store = Store.from_environment(environment)
        self.database = environment.get("MLFLOW_BACKEND_STORE_URI", "")
        if not self.store.uri:
            raise RefusedError(f"{settings.directory} holds no deployed stack", "Run site.yml first")

    @property
    def tool(self) -> str:
        """Name of the container that reaches both stores and the database."""
        return f"{self.project.name}-storage"

    @property
    def copier(self) -> str:
        """Name of the container that copies while MLflow serves."""
        return f"{self.project.name}-storage-copy"

    @property
    def planner(self) -> str:
        """Name of the container that only looks, beside whatever goes on."""
        return f"{self.project.name}-storage-look"

    @property
    def candidate(self) -> str:
        """Name of the next server, before it is opened."""
        return f"{self.project.name}-candidate"

    @property
    def trainer(self) -> str:
        """Name of the training job that makes a round trip."""
        return f"{self.project.name}-train-storage"

    @property
    def maintenance(self) -> str:
        """Name of the container that answers while MLflow is closed."""
        return f"{self.project.name}-maintenance"

    def start_tool(
        self,
        name: str,
        volumes: Sequence[str],
        *command: str,
        labels: Mapping[str, str] | None = None,
        ssh_config: str = "",
    ) -> None:
        """Start a container that has the local store, the database and what `volumes` give it besides."""
        docker.remove(name)
        docker.run(
            *("container", "run", "--detach", "--name", name, "--pull=never", "--stop-timeout=2"),
            # What the copy reports is read from there.
            "--log-driver=json-file",
            *docker.RESTRICTED,
            *docker.NO_PROXIES,
            f"--label={LABEL}={self.settings.directory}",
            *(f"--label={name}={value}" for name, value in (labels or {}).items()),
            f"--network={self.project.networks[0]}",
            *(f"--volume={volume}" for volume in (*self._data(), *volumes)),
            # The value has a password: only the client's environment holds it.
            "--env=MLFLOW_BACKEND_STORE_URI",
            "--env=MLFLOW_TRACKING_URI=http://mlflow:5000",
            *([f"--env=MLFLOW_SFTP_SSH_CONFIG={ssh_config}"] if ssh_config else []),
            self.project.image,
            *(command or ("sleep", "infinity")),
            environment={"MLFLOW_BACKEND_STORE_URI": self.database},
        )
        try:
            for network in self.project.networks[1:]:
                docker.run("network", "connect", network, name)
        except CutoverError:
            docker.remove(name)
            raise

    def credentials(self, directory: Path | None = None, suffix: str = "") -> list[str]:
        """Return the volumes with an account's credentials, if the directory, by default the stack's, has any."""
        directory = directory or self.settings.directory
        if not (directory / "mlflow" / "known_hosts").exists():
            return []
        return [
            f"{directory}/mlflow:{self.settings.config_dir}{suffix}:ro,z",
            f"{directory}/.secrets/mlflow_sftp_key:{self.settings.key_dir}{suffix}:ro,z",
        ]

    def configure_both_accounts(self, path: Path) -> None:
        """Configure OpenSSH for two accounts.

        Both may be on one server, for which OpenSSH takes the first value that it meets: known_hosts lists both files.
        """
        here = self.settings.config_dir
        path.write_text(
            f"Host *\n  UserKnownHostsFile {here}_next/known_hosts {here}/known_hosts\n"
            f"Include {here}_next/ssh_config\nInclude {here}/ssh_config\n"
        )
        path.chmod(0o600)
        os.chown(path, self.settings.uid, self.settings.gid)

    def jobs(self) -> list[str]:
        """Return the names of running jobs of the stack, those of a cutover aside."""
        filters = (
            f"label=com.docker.compose.project={self.project.name}",
            "label=com.docker.compose.oneoff=True",
        )
        options = [f"--filter={each}" for each in filters]
        names = docker.run("container", "ls", *options, "--format={{.Names}}").split()
        return [name for name in names if name not in (self.candidate, self.trainer)]

    def start(self, seconds: int, *options: str) -> float:
        """Start MLflow, then the other services; return when MLflow answered.

        Raises:
            CutoverError: They are not well within so many seconds.
        """
        up = ("up", "--detach", "--no-build")
        try:
            self.compose.run(*up, "mlflow")
            answered_at = self._wait_for_answer(seconds)
            self.compose.run(*up, *options, "--wait", f"--wait-timeout={seconds}")
        except CutoverError as error:
            services = (f"{self.project.name}-{name}-1" for name in self.project.services)
            raise CutoverError(error.seen, docker.complaints(services)) from error
        return answered_at

    def _wait_for_answer(self, seconds: float) -> float:
        """Return when MLflow answered a question that reaches the database."""
        url = f"http://{_address(self.project.ports)}/api/2.0/mlflow/experiments/search?max_results=1"
        # An address of the Docker host itself.
        opener = build_opener(ProxyHandler({}))
        end = time.monotonic() + seconds
        said = "nothing"
        while time.monotonic() < end:
            try:
                with opener.open(url, timeout=10):
                    return time.monotonic()
            except HTTPError as error:
                said = str(error)
            except OSError as error:
                said = str(error.reason) if hasattr(error, "reason") else str(error)
            time.sleep(0.1)
        raise CutoverError(f"MLflow did not answer at {url} within {seconds:.0f} s; last was seen: {said}")

    def _data(self) -> list[str]:
        volumes = [f"{self.project.name}_artifacts:{self.settings.local_root}"]
        if self.database.startswith("sqlite:"):
            volumes.append(f"{self.project.name}_database:{_DATABASE}")
        return volumes


class Switch:
    """The deeds of a storage switch: `engine.Operations` on real containers."""

    def __init__(self, stack: Stack, record: Record) -> None:
        self._stack = stack
        self._settings = stack.settings
        self._directory = self._settings.switches / record.id
        self._tool: Program | None = None
        self._candidate: Program | None = None
        self.notes: list[str] = []

    @property
    def work(self) -> Path:
        """What the tools write."""
        return self._directory / "work"

    def make_directories(self, record: Record) -> None:
        """Make the switch's directories, and bring the journal of the switch that this one undoes."""
        for path in (self._settings.switches, self._directory, self.work):
            path.mkdir(mode=0o700, exist_ok=True)
        os.chown(self.work, self._settings.uid, self._settings.gid)
        journal = self._settings.switches / record.undoes / "work" / "journal.json"
        if record.undoes and journal.exists() and not (self.work / "undone.json").exists():
            shutil.copy2(journal, self.work / "undone.json")
            os.chown(self.work / "undone.json", self._settings.uid, self._settings.gid)
        if self._has_second_account:
            self._stack.configure_both_accounts(self.work / "ssh_config")

    def copy_command(self, record: Record) -> list[str]:
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

    def make_next_directory(self, record: Record) -> None:
        """Begin the directory of the next files, with what does not come from a template."""
        following = self._directory / "next"
        shutil.rmtree(following, ignore_errors=True)
        following.mkdir(mode=0o755)
        here = self._settings
        renamed = {f"{name}_next": name for name in (here.config_dir, here.key_dir)}
        client = self._directory / "client"
        with _translated("the next files cannot be written"):
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

    @property
    def _before(self) -> Path:
        """The files from before, which the tools go on with once the stack has others."""
        return self._directory / "before"

    # What follows is `engine.Operations`.

    def write(self, record: Record) -> None:
        try:
            self._write(record)
        except OSError as error:
            raise CutoverError(
                f"the record {self._directory / records.FILE} cannot be written: {error.strerror}",
                "Make room on that file system, or mend it",
            ) from error

    def announce(self, step: str) -> None:
        # Nothing depends on it.
        with contextlib.suppress(OSError):
            (self._directory / STEP_FILE).write_text(f"{step}\n")

    def prepare(self, record: Record) -> None:
        self._restart_tool()
        docker.remove(self._stack.candidate, self._stack.copier)
        docker.Compose(str(self._directory / "next")).run(
            *("run", "--detach", "--no-deps", f"--name={self._stack.candidate}"),
            *(f"--volume={self.work}:{WORK}:z", "mlflow"),
        )
        docker.wait_until_healthy(self._stack.candidate, self._settings.wait_timeout)
        self._candidate = Program(self._stack.candidate, ["read-back", "roundtrip"])
        self._provide_maintenance()
        self._candidate.wait()
        self._require_tool().wait()

    def save_files(self, record: Record) -> None:
        with _translated("the stack's files cannot be kept"):
            files.save(self._settings.directory, self._directory / "before.tar")
            shutil.rmtree(self._before, ignore_errors=True)
            self._before.mkdir(mode=0o755)
            files.extract(self._directory / "before.tar", self._before)
            # Given up where the file system is full, so that the record of the way back can be written.
            (self._directory / _RESERVE).write_bytes(os.urandom(_RESERVE_BYTES))

    def drain(self, record: Record) -> None:
        # A stopped job loses its work, one that goes on would write to the old store.
        jobs = self._stack.jobs()
        if jobs and not self._settings.stop_jobs:
            raise RefusedError(
                f"Jobs are running and would lose their work: {', '.join(jobs)}. Everything is copied and "
                "nothing else was changed",
                "Run this playbook again when they have ended (it only copies what is new), or with -e "
                "stop_jobs=true to stop them",
            )
        if jobs:
            docker.run("container", "stop", "-t=60", *jobs)

    def close(self, record: Record) -> float:
        docker.remove(self._stack.trainer)
        self._provide_maintenance()
        # Whoever uses MLflow from elsewhere need not wait for these to end.
        if self._stack.project.stopped:
            self._stack.compose.run("stop", *self._stack.project.stopped)
        closed_at = time.monotonic()
        self._stack.compose.run("stop", "mlflow")
        docker.run("container", "start", self._stack.maintenance)
        return closed_at

    def copy_rest(self, record: Record) -> None:
        if record.copies:
            self._copy([*copy_arguments(record), "--trust-target"])

    def back_up(self, record: Record) -> None:
        # A resumed cutover finds the backup from before its first change.
        if not (self.work / "database.backup").exists():
            self._require_tool().call("backup", f"{WORK}/database.backup")

    def relocate(self, record: Record) -> None:
        if (self.work / "undone.json").exists():
            self._require_tool().call("relocate", "undo", "--journal", f"{WORK}/undone.json")
        if record.moves_rows:
            self._require_tool().call(
                *("relocate", "apply", *relocate_arguments(record)),
                *("--journal", f"{WORK}/journal.json", "--no-backup"),
            )

    def compare(self, record: Record) -> None:
        places = self._require_tool().call("info")["database"]["places"]
        needed = needed_accounts((place["place"] for place in places), record.target)
        # What the next files depend on is whether there are any.
        if bool(needed) != bool(record.accounts):
            raise CutoverError(
                f"rows lead to the SFTP accounts {needed}, and the next configuration knows "
                f"{list(record.accounts)} besides the new store: rows have changed since the plan",
                "Run the switch again",
            )

    def try_candidate(self, record: Record) -> None:
        server = ("--tracking-uri", "http://localhost:5000")
        self._read_back(self._require_candidate(), record, self._runs_while_closed, *server)
        # In an experiment of its own, which goes with it.
        self._require_candidate().call(
            "roundtrip", "--access", record.target.access, *server, seconds=_ROUND_TRIP_SECONDS
        )

    def install_files(self, record: Record) -> None:
        with _translated("the next files cannot be installed"):
            files.install(self._directory / "next", self._settings.directory)

    def open(self, record: Record) -> float:
        # Made while there is still an answer.
        self._stack.compose.run("up", "--no-start", "--no-build", "mlflow")
        docker.remove(self._stack.maintenance)
        opened_at = self._stack.start(self._settings.wait_timeout)
        docker.remove(self._stack.candidate)
        return opened_at

    def verify(self, record: Record) -> None:
        project = self._stack.project
        if "train" in project.services:
            docker.remove(self._stack.trainer)
            self._stack.compose.run(
                *("run", "--detach", "--rm", "--no-deps", f"--name={self._stack.trainer}"),
                *("train", "sleep", str(_ROUND_TRIP_SECONDS)),
            )
        containers = {name: f"{project.name}-{name}-1" for name in project.clients}
        if "train" in containers:
            containers["train"] = self._stack.trainer
        options = (
            *("--tracking-uri", "http://mlflow:5000", "--experiment", self._settings.experiment),
            *("--access", record.target.access),
        )
        started = {name: run_once(each, "roundtrip", *options) for name, each in containers.items()}
        self._read_back_rest(record)
        failures = [f"{name}: {failure}" for name, each in started.items() if (failure := _failure(each))]
        docker.remove(self._stack.trainer)
        if failures:
            raise CutoverError("the round trip failed from " + "; ".join(failures))

    def count_left(self, record: Record) -> int:
        everything = record.updated(experiments=(), migrate="all")
        found = self._require_tool().call(
            "relocate", "plan", *relocate_arguments(everything), accepted=(0, INCOMPLETE)
        )
        return int(found["rows_to_move"])

    def prepare_rollback(self, record: Record) -> None:
        (self._directory / _RESERVE).unlink(missing_ok=True)
        if self._candidate is None:
            docker.remove(self._stack.candidate)
        # The one that runs may be what failed.
        self._restart_tool()

    def forget_trial(self, record: Record) -> None:
        # What stays is a deleted run, and an experiment of round trips: the next purge removes both.
        with contextlib.suppress(CutoverError):
            self._require_candidate().call(
                *purge_arguments(record),
                "--tracking-uri",
                "http://localhost:5000",
                seconds=_ROUND_TRIP_SECONDS,
            )

    def copy_back(self, record: Record) -> str:
        command = ["copy", record.target.uri, record.source.uri, "--manifest", f"{WORK}/logged-since.db"]
        try:
            self._copy([*command, "--verify", "size"])
        except CutoverError as error:
            return str(error)
        return ""

    def restore_rows(self, record: Record) -> None:
        if (self.work / "journal.json").exists():
            self._require_tool().call("relocate", "undo", "--journal", f"{WORK}/journal.json")
        if (self.work / "undone.json").exists():
            self._require_tool().call("relocate", "redo", "--journal", f"{WORK}/undone.json")

    def relocate_since(self, record: Record) -> None:
        back = record.updated(source=record.target, target=record.source)
        self._require_tool().call(
            *("relocate", "apply", *relocate_arguments(back)),
            *("--journal", f"{WORK}/logged-since.json", "--no-backup", "--skip-blocked"),
        )

    def restore_files(self, record: Record) -> None:
        with _translated("the files from before the switch cannot be restored"):
            files.restore(self._directory / "before.tar", self._settings.directory)

    def tidy(self, record: Record) -> None:
        for program in filter(None, (self._tool, self._candidate)):
            program.end()
        self._tool = self._candidate = None
        containers = [self._stack.tool, self._stack.candidate, self._stack.trainer]
        if not record.interrupted:
            containers.append(self._stack.maintenance)
        with contextlib.suppress(CutoverError):
            docker.remove(*containers)
        with contextlib.suppress(OSError):
            (self._directory / _RESERVE).unlink()
        if record.state in ("done", "undone"):
            for path in (self._directory / "next", self._before):
                shutil.rmtree(path, ignore_errors=True)

    def purge(self, record: Record) -> None:
        """Remove for good what the round trips left."""
        try:
            self._require_tool().call(*purge_arguments(record))
        finally:
            self.tidy(record)

    def _restart_tool(self) -> None:
        if self._tool is not None:
            self._tool.end()
            self._tool = None
        self._start_tool()

    def _start_tool(self) -> None:
        if self._tool is None:
            self.start(self._stack.tool)
            self._tool = Program(self._stack.tool, ["relocate", "copy", "backup", "info"])

    def _require_tool(self) -> Program:
        if self._tool is None:
            self._start_tool()
        assert self._tool is not None
        return self._tool

    def _require_candidate(self) -> Program:
        if self._candidate is None:
            raise CutoverError("the next server is not running")
        return self._candidate

    def _copy(self, arguments: Sequence[str]) -> None:
        found = self._require_tool().call(*arguments, accepted=(0, INCOMPLETE))
        if found["failed"]:
            first = "; ".join(f"{path}: {reason}" for path, reason in list(found["failed"].items())[:3])
            raise CutoverError(f"{len(found['failed'])} files could not be copied: {first}")

    def _provide_maintenance(self) -> None:
        if docker.inspect(self._stack.maintenance) is not None:
            return
        project = self._stack.project
        docker.run(
            *("container", "create", f"--name={self._stack.maintenance}", "--pull=never", "--stop-timeout=2"),
            *docker.RESTRICTED,
            *docker.NO_PROXIES,
            f"--label={LABEL}={self._settings.directory}",
            f"--label=freegee.mlflow_sftp.project={project.name}",
            *(f"--network={project.network}", "--network-alias=mlflow", "--restart=unless-stopped"),
            *(f"--publish={port}" for port in project.ports),
            *(project.image, "python", "-m", "mlflow_sftp.maintenance_server", "--port", "5000"),
        )

    def _read_back_rest(self, record: Record) -> None:
        asked = self._settings.verify_runs
        if asked != self._runs_while_closed:
            self._read_back(self._require_tool(), record, asked)

    @property
    def _runs_while_closed(self) -> str:
        asked = self._settings.verify_runs
        return str(_RUNS_WHILE_CLOSED if asked == "all" else min(int(asked), _RUNS_WHILE_CLOSED))

    def _read_back(self, program: Program, record: Record, runs: str, *server: str) -> None:
        limit = _ROUND_TRIP_SECONDS if server else None
        arguments = read_back_arguments(record, runs)
        found = program.call(*arguments, *server, accepted=(0, INCOMPLETE), seconds=limit)
        _require_unharmed(found)
        self.notes = [
            f"Read back and compared: {found['runs']} runs and {found['models']} models, {found['files']} files, "
            f"{readable_size(found['bytes'])}."
        ]

    def _write(self, record: Record) -> None:
        reserve = self._directory / _RESERVE
        try:
            records.write(record, self._directory)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not reserve.exists():
                raise
            reserve.unlink()
            records.write(record, self._directory)


def require_state(stack: Stack, record: Record) -> Record:
    """Return a record as it is on disk.

    Raises:
        RefusedError: Another run has gone on with it.
    """
    known = records.load(stack.settings.switches / record.id / records.FILE)
    if known.state != record.state:
        raise RefusedError(
            f"The switch begun at {record.id} is {known.state} and was {record.state} when this run looked: "
            "another run has gone on with it. Nothing was changed",
            "Run this playbook again",
        )
    return known


def copy_arguments(record: Record) -> list[str]:
    """Return the copy of a switch, as arguments of the package's program."""
    return [
        *("copy", record.source.uri, record.target.uri, "--for-mlflow", "--manifest", f"{WORK}/manifest.db"),
        *(word for each in record.directories for word in ("--include", each)),
        *(word for each in record.already_moved for word in ("--exclude", each)),
    ]


def relocate_arguments(record: Record) -> list[str]:
    """Return which locations change, as arguments of the package's program."""
    return [
        *("--from", record.source.root, "--to", record.target.root, "--working-directory", _HOME),
        *(word for each in record.experiments for word in ("--experiment", str(each))),
        *(["--new-runs-only"] if record.migrate == "none" else []),
    ]


def read_back_arguments(record: Record, runs: str) -> list[str]:
    """Return which old runs are read back, as arguments of the package's program."""
    old = record.source if record.migrate == "none" else record.target
    manifest = ("--manifest", f"{WORK}/manifest.db") if record.copies else ()
    return ["read-back", old.root, "--store", old.uri, "--runs", runs, *manifest]


def purge_arguments(record: Record) -> list[str]:
    """Return the purge of the round trips, as arguments of the package's program."""
    return ["purge-roundtrips", "--destination", record.target.uri]


def _require_unharmed(found: Mapping[str, Any]) -> None:
    problems = found["problems"]
    if problems:
        first = "; ".join(" ".join(str(word) for word in each.values() if word) for each in problems[:3])
        raise CutoverError(f"artifacts are not as they were, {len(problems)} problems: {first}")


def _failure(process: subprocess.Popen[str]) -> str:
    try:
        output, errors = process.communicate(timeout=_ROUND_TRIP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"no answer within {_ROUND_TRIP_SECONDS} s"
    return failure_of(output, errors) if process.returncode else ""


def _address(ports: Sequence[str]) -> str:
    """Return where the Docker host itself reaches a published port."""
    address, _, port = ports[0].rpartition(":")[0].rpartition(":")
    loopback = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  # To be compared with.
    return f"{loopback.get(address, address)}:{port}"


@contextlib.contextmanager
def _translated(failure: str) -> Any:
    try:
        yield
    except OSError as error:
        raise CutoverError(f"{failure}: {error}") from error
