# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack comes back on a host that has none: its directory, its volumes and its database, from a snapshot.

Of a stack that a swarm serves, the files come back alone: its services, and with them the database, are made anew.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.answers import Snapshot
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.backup import HOME
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.decisions import (
    ENTRIES,
    Facts,
    Owner,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.described import Described
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restic import (
    Access,
    Home,
    Restic,
    opened,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restoring import (
    DUMP,
    RESTORE_DUMP,
    Place,
    chosen,
    restore_files,
    restore_snapshot,
    services_in,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.second_project import only_postgres
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, durable_file
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.schema import Schema
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import holder, locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import PYTHON
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import DATABASE
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import LABEL
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import (
    environment_of,
    with_images,
)

# Tells a later run, until there is a stack to tell it, that what else is in the directory is ours.
_MARK = ".restoring"
_ENGINES = {"compose": "Docker Compose", "swarm": "a swarm"}
# What is there until all of a restore is; whoever finds it knows that the volumes are not complete.
_STAGING = Path(HOME) / "restoring"
# In there, what the restore has brought to the stack's directory, or was about to: only that is its own to remove.
_BROUGHT = _STAGING / "brought.json"
# In there, the files of a project that PostgreSQL is alone in.
_POSTGRES = _STAGING / "postgres"
# Files of the SFTP account, where earlier backups have kept their copy as well.
_ACCOUNT = f"{HOME}/account"
_COMPOSE = "compose.yml"
# What says that a stack has been deployed: with Compose it comes last, and for a swarm its deployment writes it.
_KEPT_BACK = {"compose": (_COMPOSE,), "swarm": (_COMPOSE, ".env")}


@dataclass(frozen=True)
class RestoreOptions:
    """What a restore is told.

    Attributes:
        access: To the repository.
        owner: Whose snapshots are meant.
        snapshot: Beginning of the id of the snapshot; empty for the newest.
        directory: Of the stack.
        wait_timeout: Seconds within which PostgreSQL has to be healthy.
        engine: What is to run the services: ``compose`` or ``swarm``.
        server_image: Of the MLflow server that is to go on with the database; empty for that of the snapshot.
        postgres_image: Of its PostgreSQL, likewise.
    """

    access: Access
    owner: Owner
    snapshot: str
    directory: Path
    wait_timeout: int
    engine: str = "compose"
    server_image: str = ""
    postgres_image: str = ""

    @property
    def home(self) -> Path:
        """The directory whose lock whoever works on the repository holds."""
        return self.directory / HOME

    @property
    def on_swarm(self) -> bool:
        """Whether a swarm is to serve the stack."""
        return self.engine == "swarm"


def look(options: RestoreOptions) -> dict[str, Any]:
    """Say what would be restored; changes nothing."""
    _require_idle(options)
    _require_bare(options)
    with opened(Home(options.owner.project, options.directory), options.access, None) as restic:
        snapshot, facts, schema = _examined(restic, options)
    then = ", deploy the stack, and give its database the content of the snapshot" if options.on_swarm else ""
    return {
        "changed": True,
        "lines": [
            f"Would restore {snapshot}; {facts.runs[1]} runs, to {options.directory}{then}.",
            *_schema_lines(facts, schema, options),
        ],
    }


def restore(options: RestoreOptions) -> dict[str, Any]:
    """Restore a snapshot to a host that has no such stack.

    Raises:
        RefusedError: Nothing was changed.
        CutoverError: It failed; what had been restored is removed again.
    """
    began = time.monotonic()
    _require_idle(options)
    _require_bare(options)
    place = _place(options)
    cache = options.home / "cache"
    options.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    options.directory.chmod(0o755)
    for path in (cache, options.directory / _MARK):
        path.mkdir(mode=0o700, exist_ok=True)
    # Whoever opens the repository ends a container of restic's that has the same name.
    with (
        locked(options.home),
        opened(Home(options.owner.project, options.directory), options.access, cache) as restic,
    ):
        snapshot, facts, schema = _examined(restic, options)
        # Somebody else may have restored the stack meanwhile.
        _require_bare(options)
        _remove(place, options)
        try:
            if options.on_swarm:
                _restore_files(restic, snapshot, place, options)
            else:
                _restore(restic, snapshot, facts, schema, place, options)
        except BaseException:
            _remove(place, options)
            raise
        shutil.rmtree(options.directory / _MARK)
    seconds = round(time.monotonic() - began, 1)
    return {
        "changed": True,
        "restored": {"snapshot": snapshot.id, "runs": list(facts.runs), "seconds": seconds},
        "lines": [*_lines(snapshot, facts, options, seconds), *_schema_lines(facts, schema, options)],
    }


def _examined(restic: Restic, options: RestoreOptions) -> tuple[Snapshot, Facts, Schema | None]:
    """Return the snapshot that is meant, what it holds, and what the next MLflow says of its schema, if that is here.

    Raises:
        RefusedError: It cannot come back here.
    """
    snapshot, facts = chosen(restic, options.access, options.owner, options.snapshot)
    _require_engine(facts, options)
    if not options.on_swarm and facts.database == "postgresql":
        _require_own_service(services_in(restic, snapshot, facts))
    schema = _compared(facts, options)
    if schema is not None:
        _require_known(facts, schema)
    return snapshot, facts, schema


def _compared(facts: Facts, options: RestoreOptions) -> Schema | None:
    """Return what the next MLflow says of a snapshot's schema; None where its image is not there to be asked."""
    if options.on_swarm or not options.server_image or not docker.has_image(options.server_image):
        return None
    # Of a revision, without any database.
    asked = ("schema", "--revision", " ".join(facts.schema), "--json")
    reach = ("--network=none",)
    answer = _run_server_program(options, options.server_image, "sqlite:////tmp/none.db", reach, *asked)
    return Schema.from_answer(json.loads(answer))


def _restore(
    restic: Restic,
    snapshot: Snapshot,
    facts: Facts,
    schema: Schema | None,
    place: Place,
    options: RestoreOptions,
) -> None:
    for path in (place.files, place.database, place.account):
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    restore_snapshot(restic, snapshot, facts, place, _compose_labels(options.owner.project))
    _bring(place, options, account=facts.account)
    # Until all is there, nobody else finds a Compose file.
    shutil.copy2(options.directory / ".env", place.files / ".env")
    compose = docker.Compose(str(options.directory), str(place.files))
    _take_over_images(compose, place.files / _COMPOSE, options)
    config = compose.config()
    image = options.server_image or config["services"]["mlflow"]["image"]
    database = environment_of((place.files / ".env").read_text())["MLFLOW_BACKEND_STORE_URI"]
    if facts.database == "sqlite":
        reach: tuple[str, ...] = ("--network=none", f"--volume={options.owner.project}_database:{DATABASE}")
    else:
        reach = (f"--network={options.owner.project}_database",)
        _start_postgres(config, options)
        with (place.database / DUMP).open("rb") as dump:
            _run_server_program(options, image, database, reach, *RESTORE_DUMP, reading=dump)
    if schema is not None and schema.state == "behind":
        _run_server_program(options, image, database, reach, "migrate")
    (place.files / _COMPOSE).replace(options.directory / _COMPOSE)
    shutil.rmtree(options.directory / _STAGING)


def _start_postgres(config: Mapping[str, Any], options: RestoreOptions) -> None:
    """Start the stack's PostgreSQL; whatever else the stack needs, such as a network of others, need not be there."""
    files = options.directory / _POSTGRES
    files.mkdir()
    shutil.copy2(options.directory / ".env", files / ".env")
    (files / _COMPOSE).write_text(json.dumps(only_postgres(config)))
    wait = ("--wait", f"--wait-timeout={options.wait_timeout}")
    compose = docker.Compose(str(options.directory), str(files))
    compose.run("up", "--detach", "--no-build", *wait, "postgres")


def _take_over_images(compose: docker.Compose, file: Path, options: RestoreOptions) -> None:
    """Have a Compose file name the images that are to go on with the database.

    A host that is new has no others, and a later version finds its own deployed, on a database that they fit.
    """
    services = compose.config()["services"]
    wanted = {"mlflow": options.server_image, "postgres": options.postgres_image}
    images = {services[name]["image"]: image for name, image in wanted.items() if image and name in services}
    file.write_text(with_images(file.read_text(), images))


def _run_server_program(
    options: RestoreOptions,
    image: str,
    database: str,
    reach: Sequence[str],
    *arguments: str,
    reading: IO[bytes] | None = None,
) -> str:
    """Run a command of the program of the next server on a database, with nothing of the stack beside that.

    Args:
        options: Of the restore.
        image: Of that server.
        database: Its URI.
        reach: Options of Docker's with which the container reaches it.
        arguments: The command.
        reading: What it reads.

    Returns:
        What it prints.
    """
    return docker.run(
        *("container", "run", "--rm", "--interactive", "--pull=never"),
        *docker.RESTRICTED,
        *docker.NO_PROXIES,
        f"--label={LABEL}={options.directory}",
        *reach,
        # The value has a password: only the client's environment holds it.
        "--env=MLFLOW_BACKEND_STORE_URI",
        f"--entrypoint={PYTHON}",
        image,
        *("-m", "mlflow_sftp", *arguments),
        environment={"MLFLOW_BACKEND_STORE_URI": database},
        reading=reading,
    )


def _restore_files(restic: Restic, snapshot: Snapshot, place: Place, options: RestoreOptions) -> None:
    place.files.mkdir(mode=0o755, parents=True)
    restore_files(restic, snapshot, place)
    _bring(place, options)
    shutil.rmtree(options.directory / _STAGING)


def _bring(place: Place, options: RestoreOptions, *, account: bool = False) -> None:
    """Move what was restored to where it belongs, and remember first what that is."""
    moves = {name: place.files / name for name in ENTRIES if name not in _KEPT_BACK[options.engine]}
    if account:
        moves[_ACCOUNT] = place.account
    names = [name for name, path in moves.items() if path.exists()]
    found = [f"{options.directory}/{name}" for name in names if (options.directory / name).exists()]
    if found:
        raise CutoverError(
            f"Since the restore began, somebody has made what it would replace: {', '.join(found)}",
            "Move that away and run this playbook again",
        )
    durable_file.write(options.directory / _BROUGHT, json.dumps(names).encode())
    for name in names:
        moves[name].replace(options.directory / name)


def _brought(directory: Path) -> list[str]:
    """Return what a restore that did not end has brought to the stack's directory, or was about to."""
    path = directory / _BROUGHT
    return json.loads(path.read_text()) if path.exists() else []


def _place(options: RestoreOptions) -> Place:
    staging = options.directory / _STAGING
    return Place(
        project=options.owner.project,
        owner=options.directory,
        files=staging / "stack",
        database=staging / "database",
        account=staging / "account",
    )


def _require_idle(options: RestoreOptions) -> None:
    """Refuse while a restore is at work, also one whose playbook has lost the Docker host."""
    told = holder(options.home)
    if told:
        raise RefusedError(told, "Wait until it has ended")


def _require_bare(options: RestoreOptions) -> None:
    """Refuse a host that has the stack, or a part of it."""
    brought = _brought(options.directory)
    names = ENTRIES if options.on_swarm else (*ENTRIES, _ACCOUNT)
    entries = [name for name in names if (options.directory / name).exists() and name not in brought]
    # Volumes of a restore that was interrupted are made anew. Where the swarm goes on without its home, this may be a
    # node that runs something of the stack.
    is_kept = not options.on_swarm and not (options.directory / _STAGING).exists()
    own = _place(options).own("volume") | _place(options).own("container") if is_kept else set()
    if own or entries:
        found = ", ".join([*(f"{options.directory}/{name}" for name in entries), *sorted(own)])
        raise RefusedError(
            f"This host has a part of the stack ({found}), which a restore would replace. Nothing was changed",
            "Deploy it (site.yml) and run this playbook again, which restores into it; or move away what is only left "
            "of it; or remove it first (playbooks/teardown.yml -e keep_data=false deletes all its data)",
        )


def _require_engine(facts: Facts, options: RestoreOptions) -> None:
    """Refuse a snapshot of a stack that something else served."""
    if facts.engine != options.engine:
        raise RefusedError(
            f"The snapshot is of a stack that {_ENGINES[facts.engine]} served, and the inventory has "
            f"mlflow_stack_engine {options.engine}. Nothing was changed",
            f"Set mlflow_stack_engine to {facts.engine}, or name another snapshot",
        )


def _require_own_service(services: Described) -> None:
    """Refuse a snapshot of a PostgreSQL that was not the stack's, which would have to be restored elsewhere."""
    if not services.has_database:
        raise RefusedError(
            "The snapshot's database was one of your own. Nothing was changed",
            "Restore database/mlflow.dump into it by hand, as docs/restore.md says",
        )


def _require_known(facts: Facts, schema: Schema) -> None:
    """Refuse a snapshot of a database that the next MLflow can neither serve nor migrate."""
    if schema.state not in ("current", "behind"):
        raise RefusedError(
            f"The snapshot's database has the schema {schema.revision} of MLflow {facts.mlflow}, which MLflow "
            f"{schema.mlflow} of this version of the collection does not know. Nothing was changed",
            f"Use version {facts.collection} of the collection, which made the snapshot, or a later one",
        )


def _remove(place: Place, options: RestoreOptions) -> None:
    """Remove what a restore has made that did not end."""
    directory = options.directory
    if not options.on_swarm:
        place.remove()
    for name in _brought(directory):
        path = directory / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if (directory / _STAGING).exists():
        shutil.rmtree(directory / _STAGING)


def _compose_labels(project: str) -> Mapping[str, Mapping[str, str]]:
    """Return the labels by which Compose knows the volumes of its project."""
    return {
        name: {"com.docker.compose.project": project, "com.docker.compose.volume": name}
        for name in ("artifacts", "notebooks", "database", "postgres")
    }


def _schema_lines(facts: Facts, schema: Schema | None, options: RestoreOptions) -> list[str]:
    """Return what becomes of the schema of a database that is restored at once."""
    if options.on_swarm or not options.server_image:
        return []
    if schema is None:
        return [
            f"Whether the MLflow of this version of the collection knows the schema {', '.join(facts.schema)} is known "
            f"once its image {options.server_image} was built."
        ]
    if schema.state == "behind":
        return [f"MLflow {schema.mlflow} brings the database to its schema {', '.join(schema.heads)}."]
    return []


def _lines(snapshot: Snapshot, facts: Facts, options: RestoreOptions, seconds: float) -> list[str]:
    if options.on_swarm:
        return [
            f"Restored the files of {snapshot} to {options.directory}; {seconds} s. The database follows once the "
            "swarm serves the stack."
        ]
    lines = [f"Restored {snapshot} to {options.directory}: {facts.runs[1]} runs; {seconds} s."]
    if facts.account:
        lines.append(
            f"The files of the SFTP account are in {options.directory}/backup/account; bring what is missing there "
            f"back with mlflow-sftp copy --only-missing to {facts.uri}, before the next backup."
        )
    elif facts.storage == "sftp":
        lines.append(f"Artifacts are where they were, at {facts.uri}.")
    return lines
