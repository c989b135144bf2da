# SPDX-License-Identifier: GPL-3.0-or-later
"""restic in containers, with its secrets in files that only root and the container can read."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.answers import (
    Lock,
    Snapshot,
    explain,
    is_absent,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.repository import (
    MOUNTED,
    SECRETS,
    Repository,
    restic_options,
    ssh_options,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import LABEL

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CACHE = "/var/cache/restic"
# No disk ever sees what lies there.
_MEMORY = Path("/run")
_LOAD = f". {SECRETS}/environment"
# A lock names host and process. A later container has the same host name, and one of its few processes would be taken
# for the dead one, so that "restic unlock" left the lock alone: ids are used up before a lock is made.
_LOCKING = f'{_LOAD}; i=0; while [ $i -lt 200 ]; do (:); i=$((i+1)); done; restic "$@"'
_READING = f'{_LOAD}; exec restic "$@"'


@dataclass(frozen=True)
class Access:
    """How a repository is opened.

    Attributes:
        repository: Which.
        password: That restic encrypts with.
        environment: What restic reads beside, as to log in; secret.
        private_key: Text of a key of its own; empty for the account of the stack.
        known_hosts: Lines of the host keys that go with it.
        image: With restic.
    """

    repository: Repository
    password: str = field(repr=False)
    image: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    private_key: str = field(default="", repr=False)
    known_hosts: str = ""

    def __post_init__(self) -> None:
        """Refuse what no repository can be opened with."""
        if not self.password:
            raise RefusedError(
                "mlflow_backup_password is empty, and restic encrypts with it", "Give one, from the vault"
            )
        wrong = [name for name in self.environment if not _NAME.fullmatch(name)]
        if wrong:
            raise RefusedError(
                f"mlflow_backup_environment has {wrong[0]!r}, which is no name of a variable",
                "Name what restic reads, such as AWS_ACCESS_KEY_ID",
            )
        if self.private_key and not self.known_hosts.strip():
            raise RefusedError(
                "mlflow_backup_private_key is given without mlflow_backup_known_hosts, so that nobody could tell "
                "which server answers",
                "Give the server's lines of known_hosts, as its operator publishes them",
            )

    @property
    def own_key(self) -> bool:
        """Whether the repository's account is not the stack's."""
        return bool(self.private_key)


@dataclass(frozen=True)
class Home:
    """The stack that restic works for, deployed or not.

    Attributes:
        project: Of Compose.
        directory: Of the stack.
        network: On which the containers reach the repository.
        config_dir: Where containers have the configuration of the stack's account.
        credentials: Volumes with that account's; none where there is no account.
        hosts: Names that no DNS knows, as ``docker run --add-host`` takes them.
    """

    project: str
    directory: Path
    network: str = "bridge"
    config_dir: str = ""
    credentials: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    @classmethod
    def of(cls, stack: Stack) -> Home:
        """Return that of a deployed stack."""
        return cls(
            project=stack.project.name,
            directory=stack.settings.directory,
            network=stack.project.network,
            config_dir=stack.settings.config_dir,
            credentials=tuple(stack.credentials()),
            hosts=stack.project.hosts,
        )


class Restic:
    """restic on one repository, for one stack. Its containers have one name: there is one at a time."""

    def __init__(self, home: Home, access: Access, secrets: Path, cache: Path | None) -> None:
        self._home = home
        self._access = access
        self._secrets = secrets
        self._cache = cache
        # Whoever only looks has neither the cache nor the lock of a backup, which may be at work.
        self.name = f"{home.project}-backup" if cache else f"{home.project}-backup-look"
        # Locks bear it, and tell whose they are.
        self.hostname = f"{home.project}-{socket.gethostname()}".replace("_", "-")[:63].strip("-.")

    def repository_id(self) -> str:
        """Return the id of the repository, which the password opens; empty where there is none.

        Raises:
            CutoverError: Nobody can tell.
        """
        if self._access.repository.kind == "directory" and not Path(self._access.repository.path).is_dir():
            return ""
        done = self.attempt("cat", "config", "--no-lock")
        if done.returncode == 0:
            return str(json.loads(done.stdout)["id"])
        if is_absent(done.stderr, done.returncode) and not _cannot_connect(done.stderr):
            return ""
        raise self.failed("cat config", done)

    def require_empty(self) -> None:
        """Refuse a place for a new repository where something else lies.

        Raises:
            RefusedError: It says what.
        """
        found = self._entries()
        if found:
            raise RefusedError(
                f"{self._access.repository} holds no repository of restic, but {', '.join(sorted(found)[:3])}. "
                "Nothing was changed",
                "Name a place that is empty or not there yet; of a repository that has lost its file config, see "
                "restic's own documentation",
            )

    def initialize(self) -> None:
        """Make the repository."""
        if self._access.repository.kind == "directory":
            Path(self._access.repository.path).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.call("init")

    def snapshots(self) -> list[Snapshot]:
        """Return all snapshots, of whomever."""
        return [
            Snapshot.from_answer(each) for each in json.loads(self.call("snapshots", "--json", "--no-lock"))
        ]

    def size_of(self, snapshot: Snapshot) -> int:
        """Return the size of all files of a snapshot, in bytes."""
        if snapshot.bytes is not None:
            return snapshot.bytes
        told = self.call("stats", "--mode=restore-size", "--json", "--no-lock", snapshot.id)
        return int(json.loads(told)["total_size"])

    def locks(self) -> list[Lock]:
        """Return who holds a lock."""
        found = []
        for name in self.call("list", "locks", "--no-lock", "--quiet").split():
            # It may be gone by now.
            with contextlib.suppress(CutoverError):
                found.append(Lock.from_answer(json.loads(self.call("cat", "lock", name, "--no-lock"))))
        return found

    def unlock(self) -> None:
        """Remove the locks of the dead: of a container that is gone, and what nobody has renewed for long."""
        docker.remove(self.name)
        self.call("unlock")

    def call(self, *arguments: str, volumes: Sequence[str] = (), capabilities: Sequence[str] = ()) -> str:
        """Run a command and return what it prints; raises CutoverError where it fails."""
        done = self.attempt(*arguments, volumes=volumes, capabilities=capabilities)
        if done.returncode:
            raise self.failed(arguments[0], done)
        return done.stdout

    def failed(self, command: str, done: subprocess.CompletedProcess[str]) -> CutoverError:
        """Return what an answer means that is no success."""
        said = f"{done.stdout}\n{done.stderr}"
        if _cannot_connect(said):
            # restic may end before it has passed on what its ssh said.
            said = f"{said}\n{self._said_by_ssh()}"
        return explain(command, self._access.repository, said, done.returncode)

    def attempt(
        self, *arguments: str, volumes: Sequence[str] = (), capabilities: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a command and return what became of it."""
        script = _READING if "--no-lock" in arguments or arguments[0] == "unlock" else _LOCKING
        options = restic_options(self._access.repository, self._home.config_dir, own_key=self._access.own_key)
        cache = [f"--cache-dir={_CACHE}"] if self._cache is not None else ["--no-cache"]
        return self._in_container(script, *options, *cache, *arguments, volumes=volumes, more=capabilities)

    def _in_container(
        self, script: str, *arguments: str, volumes: Sequence[str] = (), more: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        docker.remove(self.name)
        command = [
            *("docker", "container", "run", "--rm", "--name", self.name, "--pull=never"),
            *docker.RESTRICTED,
            *docker.NO_PROXIES,
            # It reads what belongs to everybody; a directory may belong to whoever keeps it.
            *("--user=0", "--cap-add=DAC_READ_SEARCH", *(f"--cap-add={each}" for each in self._needed(more))),
            f"--hostname={self.hostname}",
            f"--label={LABEL}={self._home.directory}",
            f"--network={self._home.network}",
            *(f"--add-host={each}" for each in self._home.hosts),
            *(f"--volume={volume}" for volume in (*self._volumes(), *volumes)),
            *("--entrypoint=sh", self._access.image, "-c", script, "restic", *arguments),
        ]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )

    def _said_by_ssh(self) -> str:
        # A server that opens the session does not have to end it.
        return self._at_server('exec timeout 60 ssh "$@"', "-s", "sftp").stderr

    def _at_server(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a script that hands its arguments to a client of OpenSSH's: options and host of the repository first."""
        repository = self._access.repository
        options = ssh_options(repository, self._home.config_dir, own_key=self._access.own_key)
        return self._in_container(script, *options, repository.host, *arguments)

    def _needed(self, more: Sequence[str]) -> list[str]:
        return [*more, *(["DAC_OVERRIDE"] if self._access.repository.kind == "directory" else [])]

    def _volumes(self) -> list[str]:
        volumes = [f"{self._secrets}:{SECRETS}:ro,z"]
        if self._cache is not None:
            volumes.append(f"{self._cache}:{_CACHE}:z")
        if self._access.repository.kind == "directory":
            volumes.append(f"{self._access.repository.path}:{MOUNTED}:z")
        elif self._access.repository.kind == "sftp" and not self._access.own_key:
            volumes += self._home.credentials
        return volumes

    def _entries(self) -> list[str]:
        """Return what lies where the repository is to be, as far as that can be listed."""
        repository = self._access.repository
        if repository.kind == "directory":
            path = Path(repository.path)
            return (
                [each.name for each in path.iterdir() if each.name != "lost+found"] if path.is_dir() else []
            )
        if repository.kind != "sftp":
            return []
        quoted = '"' + repository.path.replace("\\", "\\\\").replace('"', '\\"') + '"'
        # What is not there yet is empty.
        script = f"printf '%s\\n' {shlex.quote(f'ls -1 {quoted}')} | exec sftp -q -b - \"$@\""
        listed = self._at_server(script).stdout.splitlines()
        return [line.rpartition("/")[2] for line in listed if line and not line.startswith("sftp>")]


def _cannot_connect(said: str) -> bool:
    return "unable to start the sftp session" in said


@contextlib.contextmanager
def opened(home: Home, access: Access, cache: Path | None) -> Iterator[Restic]:
    """Restic with its secrets at hand, which are gone afterwards.

    Raises:
        RefusedError: The stack has no account to reach the repository with, or the image is missing.
    """
    if access.repository.kind == "sftp" and not access.own_key and not home.credentials:
        raise RefusedError(
            f"{access.repository} is on an SFTP server, and this stack has no SFTP account to reach it with",
            "Give mlflow_backup_private_key and mlflow_backup_known_hosts",
        )
    if not docker.has_image(access.image):
        raise RefusedError(
            f"The image {access.image} is not on this host", "Run playbooks/backup.yml, which makes it"
        )
    memory = _MEMORY if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) else None
    secrets = Path(tempfile.mkdtemp(prefix="mlflow_backup.", dir=memory))
    restic = Restic(home, access, secrets, cache)
    try:
        _write_secrets(secrets, access)
        # Of a run that was killed, whose container went on.
        docker.remove(restic.name)
        yield restic
    finally:
        with contextlib.suppress(CutoverError):
            docker.remove(restic.name)
        shutil.rmtree(secrets, ignore_errors=True)


def _write_secrets(directory: Path, access: Access) -> None:
    variables = {
        **access.environment,
        "RESTIC_REPOSITORY": access.repository.for_restic,
        "RESTIC_PASSWORD_FILE": f"{SECRETS}/password",
        # It says how far it is, on a channel that nobody reads.
        "RESTIC_PROGRESS_FPS": "0.01",
    }
    lines = [f"export {name}={shlex.quote(str(value))}\n" for name, value in variables.items()]
    texts = {"environment": "".join(lines), "password": f"{access.password}\n"}
    if access.own_key:
        texts |= {
            "key": access.private_key.rstrip("\n") + "\n",
            "known_hosts": access.known_hosts.rstrip("\n") + "\n",
        }
    for name, text in texts.items():
        with open(directory / name, "w", opener=_private) as file:
            file.write(text)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
