"""Servers that cannot rename over a file: the old one steps aside, and is never lost, whoever dies when."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from mlflow_sftp import event_loop
from mlflow_sftp.errors import SftpError
from mlflow_sftp.storage import Entry, SftpStorage
from mlflow_sftp.stores.rate_limit import RateLimiter
from mlflow_sftp.stores.sftp import SftpStore
from mlflow_sftp.transfer import temporary_names
from tests.faults.conftest import SFTP_SERVER
from tests.support.sshd import SshServer
from tests.support.storing import files_below, settings_for

_NAMES = ["model.pkl", "x" * 250, "new\nline"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with SshServer(tmp_path / "s", config=f"ForceCommand {SFTP_SERVER} -P posix-rename") as running:
        yield running


@pytest.fixture
def storage(server: SshServer) -> SftpStorage:
    return SftpStorage(server.uri(), settings_for(server))


def put_aside(directory: Path, name: str, content: str) -> None:
    """Leave what a writer leaves that is killed between the two renames."""
    old = temporary_names.aside(name.encode())
    path = directory / old.name.decode()
    if old.original is None:
        path.mkdir()
        path /= name
    path.write_text(content)


@pytest.fixture(params=_NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def names(entries: Iterable[Entry] | None) -> list[str]:
    return [entry.path for entry in entries or []]


LOOKS: dict[str, Callable[[SftpStorage, str, str], object]] = {
    "list": lambda storage, name, _: names(storage.list_directory()) == [name],
    "walk": lambda storage, name, _: names(storage.walk()) == [name],
    "stat": lambda storage, name, _: storage.stat(name),
    "download": lambda storage, name, to: storage.download(name, to) is None,
}


@pytest.mark.parametrize("look", LOOKS)
def test_what_stepped_aside_comes_back(
    look: str, name: str, server: SshServer, storage: SftpStorage, tmp_path: Path
) -> None:
    put_aside(server.root, name, "the only copy")
    assert LOOKS[look](storage, name, str(tmp_path / "copy"))
    assert files_below(server.root) == {name: b"the only copy"}


def test_of_what_stepped_aside_twice_the_newer_one_comes_back(
    server: SshServer, storage: SftpStorage
) -> None:
    for content in ("older", "newer"):
        put_aside(server.root, "f", content)
        time.sleep(0.001)
    assert names(storage.list_directory()) == ["f"]
    assert files_below(server.root) == {"f": b"newer"}


def test_what_a_newer_file_has_replaced_goes(
    name: str, server: SshServer, storage: SftpStorage, tmp_path: Path
) -> None:
    put_aside(server.root, name, "old")
    (tmp_path / "new").write_text("new")
    storage.upload(str(tmp_path / "new"), name)
    assert names(storage.list_directory()) == [name]
    storage.stat()
    assert files_below(server.root) == {name: b"new"}


@pytest.mark.parametrize("there", [False, True])
def test_what_was_removed_does_not_come_back(
    there: bool, name: str, server: SshServer, storage: SftpStorage
) -> None:
    put_aside(server.root, name, "old")
    if there:
        (server.root / name).write_text("new")
    assert storage.remove(name)
    assert storage.list_directory() == []


def test_what_was_pruned_does_not_come_back(server: SshServer) -> None:
    put_aside(server.root, "f", "old")
    (server.root / "f").write_text("new")
    store = SftpStore(server.uri(), RateLimiter(None), settings_for(server))
    event_loop.run(store.remove_file("f"))
    event_loop.run(store.close())
    assert SftpStorage(server.uri(), settings_for(server)).list_directory() == []


def test_an_upload_that_fails_leaves_the_old_file(
    storage: SftpStorage, server: SshServer, tmp_path: Path
) -> None:
    (server.root / "directory" / "deep").mkdir(parents=True)
    (tmp_path / "new").write_text("new")
    with pytest.raises(SftpError):
        storage.upload(str(tmp_path / "new"), "directory")
    assert (server.root / "directory" / "deep").is_dir()
    assert names(storage.walk()) == ["directory", "directory/deep"]


def test_writers_and_readers_do_not_disturb_each_other(server: SshServer, tmp_path: Path) -> None:
    """Each has connections of its own, as a process would."""
    failures: list[Exception] = []
    writing = threading.Event()
    (server.root / "f").write_text("first")

    def run(number: int, work: Callable[[SftpStorage], object]) -> None:
        try:
            work(SftpStorage(server.uri(), settings_for(server, idle_timeout=300.0 + number)))
        except Exception as error:
            failures.append(error)

    def write(storage: SftpStorage) -> None:
        for _ in range(25):
            storage.upload(str(tmp_path / "new"), "f")

    def read(storage: SftpStorage) -> None:
        while not writing.is_set():
            storage.list_directory()

    (tmp_path / "new").write_text("new")
    writers = [threading.Thread(target=run, args=(n, write)) for n in range(3)]
    readers = [threading.Thread(target=run, args=(n, read)) for n in range(3, 5)]
    for thread in [*writers, *readers]:
        thread.start()
    for thread in writers:
        thread.join()
    writing.set()
    for thread in readers:
        thread.join()
    assert failures == []
    storage = SftpStorage(server.uri(), settings_for(server))
    assert names(storage.list_directory()) == ["f"]
    storage.stat()
    assert files_below(server.root) == {"f": b"new"}
