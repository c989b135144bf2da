"""What comes back on a host that has no stack, and which hosts and snapshots are refused."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
import yaml
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup import restore as restoring
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.decisions import Facts, Owner
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restic import Home
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restore import (
    RestoreOptions,
    look,
    restore,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.second_project import only_postgres
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import holder, locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import judge_directory

FACTS: dict[str, Any] = {
    "project": "mlflow",
    "collection": "1.0.0",
    "mlflow": "3.17.2",
    "schema": ("aaa",),
    "runs": (7, 7),
    "database": "postgresql",
    "storage": "sftp",
    "access": "proxied",
    "uri": "sftp://me@host:22/a",
    "root": "mlflow-artifacts:/",
    "account": False,
    "images": ("sha256:server",),
}
PGVECTOR = "registry.example/pgvector/pgvector:pg17"
COMPOSE_FILE = f"""services:
  mlflow:
    image: freegee/mlflow-server:1
  postgres:
    image: {PGVECTOR}
"""
CONFIG: dict[str, Any] = {
    "name": "mlflow",
    "services": {
        "mlflow": {"image": "freegee/mlflow-server:1", "networks": {"default": None, "database": None}},
        "postgres": {
            "image": PGVECTOR,
            "networks": {"database": None},
            "volumes": [
                {"type": "volume", "source": "postgres", "target": "/var/lib/postgresql"},
                {"type": "bind", "source": "/stack/postgres", "target": "/etc/mlflow_postgres"},
            ],
        },
    },
    "networks": {"default": {"name": "of-others", "external": True}, "database": {"name": "mlflow_database"}},
    "volumes": {"artifacts": {"name": "mlflow_artifacts"}, "postgres": {"name": "mlflow_postgres"}},
}
# Of the next MLflow.
SCHEMA = {"mlflow": "3.18.0", "database": ["aaa"], "heads": ["bbb"], "steps": 1, "left_over": []}
# By a restore that did not end, or did not begin: what tells the next one whose the directory is.
LEFT = {".restoring", "backup"}
ENTRIES = (".env", ".other_stores.json", ".secrets", "mlflow", "postgres", "switches")


class Repository:
    """A repository with one snapshot of a stack that an engine served; `broken` is why it cannot be restored."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
        self.broken = ""
        self.compose_file = COMPOSE_FILE
        # Whether with a cache, and under the lock.
        self.opened: list[tuple[bool, bool]] = []
        # What somebody does meanwhile.
        self.meanwhile: Callable[[], object] = lambda: None
        snapshot = SimpleNamespace(id="6de574a0" * 8)
        facts = Facts(**FACTS, engine=engine)

        @contextlib.contextmanager
        def opened(home: Home, _: object, cache: Path | None) -> Iterator[Repository]:
            # Whoever has a cache ends the container of whoever else has one.
            self.opened.append((cache is not None, bool(holder(home.directory / "backup"))))
            yield self

        monkeypatch.setattr(restoring, "opened", opened)
        monkeypatch.setattr(restoring, "chosen", lambda *_: (snapshot, facts))
        monkeypatch.setattr(docker, "run", self._engine)

    def call(self, *arguments: str, volumes: Sequence[str] = (), **_: object) -> str:
        if arguments[0] == "dump":
            assert arguments[2] == "/backup/stack/compose.yml"
            return self.compose_file
        assert "--include=/backup/stack" in arguments
        self.meanwhile()
        if self.broken:
            raise CutoverError(self.broken)
        files = Path(volumes[0].partition(":")[0])
        for name in ENTRIES:
            (files / name).mkdir() if name in ("switches", ".secrets") else (files / name).touch()
        return ""

    def _engine(self, *arguments: str) -> str:
        """What a node of a swarm has whose home is lost: a server of the stack."""
        assert "rm" not in arguments
        return "mlflow_mlflow.1.x" if arguments[0] == "container" else ""


def options(directory: Path, engine: str = "swarm") -> RestoreOptions:
    access: Any = None
    return RestoreOptions(
        access, Owner("one", "mlflow"), "", directory, 180, engine, "server:2", "postgres:18"
    )


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Repository:
    return Repository(monkeypatch, "swarm")


def test_files_of_a_swarm_s_home_come_back_without_what_says_that_it_was_deployed(
    repository: Repository, tmp_path: Path
) -> None:
    home = tmp_path / "stack"
    assert "give its database the content of the snapshot" in look(options(home))["lines"][0]
    assert not home.exists()
    done = restore(options(home))
    assert "The database follows once the swarm serves the stack" in done["lines"][0]
    assert {path.name for path in home.iterdir()} == {*ENTRIES, "backup"} - {".env"}
    assert not (home / "backup/restoring").exists()


def test_what_fails_leaves_none_of_them(repository: Repository, tmp_path: Path) -> None:
    repository.broken = "the repository is gone"
    with pytest.raises(CutoverError, match="is gone"):
        restore(options(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == LEFT
    repository.broken = ""
    restore(options(tmp_path))


@dataclass
class Engine:
    """A host without anything of the stack, whose PostgreSQL starts or not; `runs`: containers, and what they read."""

    starts: bool = False
    # What the next MLflow says of the snapshot's schema; empty where its image is not there.
    schema: str = "current"
    runs: list[tuple[tuple[str, ...], str, bytes]] = field(default_factory=list)

    def run(
        self, *arguments: str, environment: dict[str, str] | None = None, reading: IO[bytes] | None = None
    ) -> str:
        if arguments[:2] == ("container", "run"):
            database = (environment or {})["MLFLOW_BACKEND_STORE_URI"]
            if "schema" in arguments:
                assert not [word for word in arguments if word.startswith("--volume")]
                return json.dumps(SCHEMA | {"state": self.schema})
            self.runs.append((arguments, database, reading.read() if reading else b""))
        return ""


def on_compose(monkeypatch: pytest.MonkeyPatch, database: str = "postgresql") -> tuple[Repository, Engine]:
    """A snapshot with the account's files, and an engine to restore it with."""

    def restore_snapshot(*given: Any) -> None:
        place = given[3]
        for name in ENTRIES:
            (place.files / name).touch()
        (place.files / ".env").write_text(f"MLFLOW_BACKEND_STORE_URI='{database}://secret'\n")
        (place.files / "compose.yml").write_text(repository.compose_file)
        (place.account / "model").touch()
        if database == "postgresql":
            (place.database / "mlflow.dump").write_text("the dump")

    class Compose:
        def __init__(self, directory: str, files: str) -> None:
            self.files = Path(files)

        def config(self) -> Any:
            return CONFIG

        def run(self, *arguments: str) -> None:
            assert arguments[-1] == "postgres"
            assert (self.files / ".env").exists()
            assert json.loads((self.files / "compose.yml").read_text()) == only_postgres(CONFIG)
            if not engine.starts:
                raise CutoverError("PostgreSQL is not healthy")

    repository, engine = Repository(monkeypatch, "compose"), Engine()
    facts = Facts(**{**FACTS, "account": True, "database": database}, engine="compose")
    monkeypatch.setattr(restoring, "chosen", lambda *_: (SimpleNamespace(id="6de574a0"), facts))
    monkeypatch.setattr(restoring, "restore_snapshot", restore_snapshot)
    monkeypatch.setattr(docker, "Compose", Compose)
    monkeypatch.setattr(docker, "run", engine.run)
    monkeypatch.setattr(docker, "has_image", lambda image: image == "server:2" and bool(engine.schema))
    return repository, engine


@pytest.mark.parametrize(
    ("engine", "entry"),
    [
        *((engine, entry) for engine in ("swarm", "compose") for entry in (*ENTRIES, "compose.yml")),
        ("compose", "backup/account"),
    ],
)
def test_what_is_there_is_refused_and_stays(
    engine: str, entry: str, repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if engine == "compose":
        on_compose(monkeypatch)
    (tmp_path / entry).mkdir(parents=True)
    (tmp_path / entry / "kept").touch()
    for deed in (look, restore):
        with pytest.raises(
            RefusedError, match=r"Deploy it \(site\.yml\) and run this playbook again"
        ) as error:
            deed(options(tmp_path, engine))
        assert f"({tmp_path / entry})" in str(error.value)
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == [tmp_path / entry / "kept"]


def test_a_copy_of_the_account_is_in_no_way_of_a_swarm_s_home(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "backup/account").mkdir(parents=True)
    restore(options(tmp_path))


@pytest.mark.parametrize("engine", ["swarm", "compose"])
def test_what_somebody_makes_meanwhile_stays(
    engine: str, repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def make() -> None:
        (tmp_path / "switches").mkdir()
        (tmp_path / "switches/kept").touch()

    repository.meanwhile = make
    if engine == "compose":
        on_compose(monkeypatch)
        bring = restoring.restore_snapshot
        monkeypatch.setattr(restoring, "restore_snapshot", lambda *given: (make(), bring(*given)))
    with pytest.raises(CutoverError, match=f"it would replace: {tmp_path}/switches. Move that away"):
        restore(options(tmp_path, engine))
    assert {path.name for path in tmp_path.iterdir()} == {*LEFT, "switches"}
    assert (tmp_path / "switches/kept").exists()


def test_what_a_restore_with_compose_brought_goes_where_it_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_compose(monkeypatch)
    for _ in range(2):
        with pytest.raises(CutoverError, match="is not healthy"):
            restore(options(tmp_path, "compose"))
        assert {path.name for path in tmp_path.iterdir()} == LEFT
        assert not (tmp_path / "backup/account").exists()


def test_the_server_s_own_program_restores_postgresql(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = on_compose(monkeypatch)[1]
    engine.starts = True
    restore(options(tmp_path, "compose"))
    (command, database, read), *others = engine.runs
    assert others == []
    assert (database, read) == ("postgresql://secret", b"the dump")
    assert "--network=mlflow_database" in command
    assert command[-5:] == ("server:2", "-m", "mlflow_sftp", "restore", "-")
    assert not [word for word in command if "secret" in word]


def test_without_a_next_image_that_of_the_snapshot_restores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = on_compose(monkeypatch)[1]
    engine.starts = True
    restore(dataclasses.replace(options(tmp_path, "compose"), server_image=""))
    assert engine.runs[0][0][-5:] == ("freegee/mlflow-server:1", "-m", "mlflow_sftp", "restore", "-")


@pytest.mark.parametrize("database", ["postgresql", "sqlite"])
def test_a_later_version_finds_its_own_images_on_a_database_that_they_fit(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = on_compose(monkeypatch, database)[1]
    engine.starts, engine.schema = True, "behind"
    said = "MLflow 3.18.0 brings the database to its schema bbb."
    assert look(options(tmp_path, "compose"))["lines"][-1] == said
    assert engine.runs == []
    assert restore(options(tmp_path, "compose"))["lines"][-1] == said
    command = engine.runs[-1][0]
    assert command[-4:] == ("server:2", "-m", "mlflow_sftp", "migrate")
    volume = "--volume=mlflow_database:/var/lib/mlflow"
    assert (volume if database == "sqlite" else "--network=mlflow_database") in command
    written = (tmp_path / "compose.yml").read_text()
    assert written == COMPOSE_FILE.replace("freegee/mlflow-server:1", "server:2").replace(
        PGVECTOR, "postgres:18"
    )


@pytest.mark.parametrize("state", ["unknown", "several"])
def test_a_snapshot_of_a_later_mlflow_names_the_version_that_made_it(
    state: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = on_compose(monkeypatch)[1]
    engine.schema = state
    for deed in (look, restore):
        with pytest.raises(RefusedError, match=r"does not know\. Nothing was changed") as refused:
            deed(options(tmp_path, "compose"))
        assert "Use version 1.0.0 of the collection" in str(refused.value)
    assert not (tmp_path / "compose.yml").exists()


def test_check_mode_says_what_is_known_once_the_image_was_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_compose(monkeypatch)[1].schema = ""
    assert (
        "knows the schema aaa is known once its image server:2"
        in look(options(tmp_path, "compose"))["lines"][-1]
    )


@pytest.mark.parametrize("database", ["postgresql", "sqlite"])
def test_a_postgresql_of_one_s_own_is_told_by_the_services(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repository = on_compose(monkeypatch, database)[0]
    repository.compose_file = COMPOSE_FILE.partition("  postgres")[0]
    if database == "sqlite":
        restore(options(tmp_path, "compose"))
        return
    for deed in (look, restore):
        with pytest.raises(RefusedError, match="database was one of your own"):
            deed(options(tmp_path, "compose"))
    assert not (tmp_path / "compose.yml").exists()


def test_an_interrupted_restore_begins_anew_with_what_it_had_brought(
    repository: Repository, tmp_path: Path
) -> None:
    staging = tmp_path / "backup/restoring"
    staging.mkdir(parents=True)
    (tmp_path / ".secrets").mkdir()
    (tmp_path / ".secrets/half").touch()
    with pytest.raises(RefusedError, match=r"\.secrets"):
        restore(options(tmp_path))
    (staging / "brought.json").write_text(json.dumps([".secrets", "switches"]))
    restore(options(tmp_path))
    assert not (tmp_path / ".secrets/half").exists()
    assert not staging.exists()


def test_a_stack_that_somebody_has_restored_meanwhile_stays(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    choose = restoring.chosen

    def chosen(*given: Any) -> Any:
        (tmp_path / ".secrets").mkdir()
        return choose(*given)

    monkeypatch.setattr(restoring, "chosen", chosen)
    with pytest.raises(RefusedError, match="has a part of the stack"):
        restore(options(tmp_path))
    assert (tmp_path / ".secrets").exists()


def test_a_restore_that_is_at_work_is_left_alone(repository: Repository, tmp_path: Path) -> None:
    staging = tmp_path / "backup/restoring"
    (staging / "stack").mkdir(parents=True)
    with locked(tmp_path / "backup"):
        for deed in (look, restore):
            with pytest.raises(RefusedError, match="Another run works on this stack: user") as refused:
                deed(options(tmp_path))
            assert "Wait until it has ended" in str(refused.value)
    assert repository.opened == []
    assert (staging / "stack").exists()


def test_only_whoever_has_the_lock_opens_the_repository_as_a_restore_does(
    repository: Repository, tmp_path: Path
) -> None:
    look(options(tmp_path))
    restore(options(tmp_path))
    assert repository.opened == [(False, False), (True, True)]


@pytest.mark.parametrize(("served_by", "wanted"), [("compose", "swarm"), ("swarm", "compose")])
def test_a_stack_comes_back_on_what_served_it(
    served_by: str, wanted: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Repository(monkeypatch, served_by)
    monkeypatch.setattr(docker, "run", lambda *_: "")
    for deed in (look, restore):
        with pytest.raises(RefusedError, match=f"Set mlflow_stack_engine to {served_by}"):
            deed(options(tmp_path, wanted))
    assert {path.name for path in tmp_path.iterdir()} == LEFT
    assert {path.name for path in (tmp_path / "backup").iterdir()} == {".lock", "cache"}


def test_what_a_restore_leaves_tells_the_roles_whose_the_directory_is() -> None:
    tasks = Path(__file__).parents[4] / "roles"
    (read, *_) = yaml.safe_load((tasks / "mlflow_stack/tasks/read_host.yml").read_text())
    asked = read["freegee.mlflow_sftp.mlflow_stack_info"]
    left = LEFT | {"build"}
    assert left <= set(asked["entries"])
    assert judge_directory(left, asked["entries"], asked["telling"], {}, sealed=False).maker == ""
    # What the role of the stack makes before the module does.
    images = yaml.safe_load((tasks / "mlflow_backup/tasks/restore_images.yml").read_text())[-1]
    place = images["vars"]["__mlflow_stack_build_secrets_dir"]
    assert place.rpartition("/")[2] in set(asked["telling"]) & LEFT
