"""What a store promises, on each of the servers that people use: the bytes are those on the server's own disk."""

import asyncio
import io
import os
import random
import threading
import time
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Literal

import pytest

from mlflow_sftp.errors import (
    NotFoundError,
    PermissionRefusedError,
    ServerFailureError,
    SftpError,
)
from mlflow_sftp.operations.copy import copy
from mlflow_sftp.operations.store_inventory import store_info
from mlflow_sftp.settings import Settings
from mlflow_sftp.storage import SftpStorage
from tests.support.container import OpensshContainer
from tests.support.link import Link
from tests.support.server import SftpServer
from tests.support.servers import SERVERS, ObstinateServer, RcloneServer
from tests.support.storing import files_below, repository_for, settings_for, through, use, wait_until

pytestmark = pytest.mark.timeout(60)

# One piece, some blocks, and enough for several sessions on a long link.
SMALL, LARGE, LARGEST = 10_000, 3 << 20, 40 << 20
# So many are in flight that a server with threads finds some of each in its hands.
MANY = 300
# Three sessions on the long link.
LONG_LINK, LONG = 0.02, 24 << 20
ODD_NAMES = [
    "with space",
    " leading and trailing ",
    "größe",
    unicodedata.normalize("NFD", "größe decomposed"),
    "学习率.json",
    "🚀",
    "%20#?&+;~",
    'it\'s "quoted"',
    "back\\slash",
    "-dash",
    ".hidden",
    "a:b",
    "x" * 200,
    "長" * 80,
]


def contents(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture(scope="module", params=[*SERVERS, "openssh-10"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    make = {**SERVERS, "openssh-10": OpensshContainer}[request.param]
    with make(tmp_path_factory.mktemp(request.param) / "server", obeys_modes=True) as running:
        yield running


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """60 files in several directories, with the names that people give."""
    top = tmp_path / "tree"
    names = ODD_NAMES + [f"f{index}" for index in range(60 - len(ODD_NAMES))]
    for index, name in enumerate(names):
        directory = top / f"d {index % 3}" / ("größer" if index % 2 else "deep/er")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(contents((index % 7) * 5_000, index))
    (top / "large").write_bytes(contents(LARGE))
    (top / "empty").mkdir()
    return top


@pytest.fixture
def on_disk(server: SftpServer, root: Path) -> Callable[[dict[str, bytes | None]], None]:
    """Compare all that is on the server's disk, below the test's directory, with what has to be there."""

    def compare(expected: dict[str, bytes | None]) -> None:
        if server.writes_back:
            wait_until(lambda: _read(root) == expected)
        found = _read(root)
        assert sorted(found) == sorted(expected)
        assert [name for name, data in found.items() if data != expected[name]] == []

    return compare


OnDisk = Callable[[dict[str, bytes | None]], None]


def _read(root: Path) -> dict[str, bytes | None]:
    """What is there now; a server that writes back may take a file away meanwhile."""
    try:
        return files_below(root)
    except FileNotFoundError:
        return {}


def _below(prefix: str, tree: Path) -> dict[str, bytes | None]:
    return {prefix: None, **{f"{prefix}/{name}": data for name, data in files_below(tree).items()}}


@pytest.mark.parametrize("size", [0, SMALL, LARGE, LARGEST])
def test_a_file_goes_up_and_comes_back(
    storage: SftpStorage, on_disk: OnDisk, tmp_path: Path, size: int
) -> None:
    data = contents(size, size)
    (tmp_path / "f").write_bytes(data)
    storage.upload(str(tmp_path / "f"), "run/artifacts/f")
    on_disk({"run": None, "run/artifacts": None, "run/artifacts/f": data})
    entry = storage.stat("run/artifacts/f")
    assert entry is not None
    assert (entry.is_directory, entry.size) == (False, size)
    storage.download("run/artifacts/f", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data


def test_a_file_is_overwritten_by_a_longer_and_a_shorter_one(
    storage: SftpStorage, on_disk: OnDisk, tmp_path: Path
) -> None:
    for number, size in enumerate((SMALL, LARGE, 1, LARGE + 1, 0)):
        data = contents(size, number)
        (tmp_path / "f").write_bytes(data)
        storage.upload(str(tmp_path / "f"), "f")
        on_disk({"f": data})
        storage.download("f", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == data


def test_streams_are_stored(storage: SftpStorage, on_disk: OnDisk) -> None:
    data = contents(LARGE + 1)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 77_777):
            yield data[start : start + 77_777]

    storage.upload_stream(io.BytesIO(data), "s")
    storage.upload_stream(io.BytesIO(b""), "empty")
    asyncio.run(storage.upload_chunks(chunks(), "deep/c"))
    storage.upload_stream(io.BytesIO(data[:SMALL]), "s")
    on_disk({"s": data[:SMALL], "empty": b"", "deep": None, "deep/c": data})


def test_a_tree_goes_up_is_listed_comes_back_and_is_removed(
    storage: SftpStorage, on_disk: OnDisk, tree: Path, tmp_path: Path
) -> None:
    expected = files_below(tree)
    for _ in range(2):  # The second time everything is there already.
        storage.upload_tree(str(tree), "kept")
        on_disk(_below("kept", tree))
    walked = {entry.path: None if entry.is_directory else entry.size for entry in storage.walk("kept")}
    assert walked == {name: None if data is None else len(data) for name, data in expected.items()}
    listed = storage.list_directory("kept")
    assert listed is not None
    assert [entry.path for entry in listed] == sorted(path.name for path in tree.iterdir())
    storage.download_tree("kept", str(tmp_path / "back"))
    assert files_below(tmp_path / "back") == expected
    storage.upload_tree(str(tree), "gone")
    assert storage.remove("gone") is True
    assert storage.remove("gone") is False
    on_disk(_below("kept", tree))


def test_many_small_files_at_once(
    server: SftpServer, storage: SftpStorage, on_disk: OnDisk, tmp_path: Path
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    # rclone without its directory cache lists all directories above for every file.
    for index in range(MANY // 10 if isinstance(server, RcloneServer) else MANY):
        (many / f"f{index}").write_bytes(contents(2_000, index))
    storage.upload_tree(str(many), "many")
    on_disk(_below("many", many))
    storage.download_tree("many", str(tmp_path / "back"))
    assert files_below(tmp_path / "back") == files_below(many)


@pytest.mark.parametrize("verify", ["size", "sha256"])
def test_a_copy_each_way(
    server: SftpServer,
    root: Path,
    settings: Settings,
    on_disk: OnDisk,
    tree: Path,
    tmp_path: Path,
    verify: Literal["size", "sha256"],
) -> None:
    there = server.uri(root / "copy")
    for source, target in ((str(tree), there), (there, str(tmp_path / "back"))):
        report = copy(source, target, verify=verify, settings=settings)
        assert (report.failed, report.total.files) == ({}, 61)
    on_disk(_below("copy", tree))
    assert files_below(tmp_path / "back") == files_below(tree)


def test_sums_are_those_of_the_bytes_on_the_disk(
    server: SftpServer, storage: SftpStorage, root: Path, settings: Settings, tmp_path: Path
) -> None:
    comparing = SftpStorage(server.uri(root), settings_for(server, verify="sha256"))
    for name, size in (("none", 0), ("small", SMALL), ("large one", LARGE)):
        data = contents(size)
        (tmp_path / "f").write_bytes(data)
        comparing.upload(str(tmp_path / "f"), name)
        comparing.download(name, str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == data
        assert storage.sha256(name) == sha256(data).hexdigest()


def test_what_is_not_there(storage: SftpStorage, on_disk: OnDisk, tmp_path: Path) -> None:
    assert storage.stat("none") is None
    assert storage.list_directory("none/deep") is None
    assert storage.remove("none") is False
    calls: list[Callable[[], object]] = [
        lambda: storage.download("none", str(tmp_path / "f")),
        lambda: storage.download("none/deep", str(tmp_path / "f")),
        lambda: storage.sha256("none"),
        lambda: list(storage.walk("none")),
        lambda: storage.download_tree("none", str(tmp_path / "tree")),
    ]
    for call in calls:
        with pytest.raises(NotFoundError):
            call()
    assert not (tmp_path / "f").exists()
    on_disk({})


def test_what_permissions_forbid(
    server: SftpServer, storage: SftpStorage, root: Path, on_disk: OnDisk, tmp_path: Path
) -> None:
    (root / "unreadable").write_bytes(b"secret")
    (root / "unreadable").chmod(0)
    (root / "locked").mkdir(mode=0o555)
    (tmp_path / "f").write_bytes(contents(LARGE))
    (tmp_path / "small").write_bytes(b"small")
    # Go's pkg/sftp answers FAILURE to what it has no name for.
    refused = (PermissionRefusedError, ServerFailureError) if isinstance(server, RcloneServer) else ()
    reads: list[Callable[[], object]] = [
        lambda: storage.download("unreadable", str(tmp_path / "back")),
        lambda: storage.sha256("unreadable"),
    ]
    writes: list[Callable[[], object]] = [
        lambda: storage.upload(str(tmp_path / "f"), "locked/f"),
        lambda: storage.upload(str(tmp_path / "small"), "locked/small"),
        lambda: storage.upload(str(tmp_path / "small"), "locked/deep/small"),
    ]
    # What is acknowledged before it is written is refused to nobody.
    for call in reads if server.writes_back else reads + writes:
        with pytest.raises(refused or PermissionRefusedError):
            call()
    assert not (tmp_path / "back").exists()
    (root / "unreadable").chmod(0o600)
    on_disk({"unreadable": b"secret", "locked": None})


def test_what_a_store_holds_and_what_is_free(
    server: SftpServer, root: Path, settings: Settings, tree: Path
) -> None:
    SftpStorage(server.uri(root), settings).upload_tree(str(tree))
    sizes = [len(data) for data in files_below(tree).values() if data is not None]
    info = store_info(server.uri(root), settings)
    assert (info["exists"], info["files"], info["bytes"]) == (True, 61, sum(sizes))
    assert info["unreadable"] == {}
    # Unknown is None and never 0; what is told is about the disk below.
    disk = os.statvfs(root)
    assert info["free_bytes"] is None or 0 < info["free_bytes"] <= disk.f_blocks * disk.f_frsize


@pytest.mark.parametrize("size", [0, SMALL, LARGE])
def test_a_server_that_says_of_open_files_that_they_are_empty(tmp_path: Path, size: int) -> None:
    with ObstinateServer(tmp_path / "server", how="fstat-zero") as server:
        (server.root / "f").write_bytes(contents(size))
        storage = SftpStorage(server.uri(), settings_for(server))
        storage.download("f", str(tmp_path / "back"))
        storage.download_tree("", str(tmp_path / "tree"))
    assert (tmp_path / "back").read_bytes() == contents(size)
    assert files_below(tmp_path / "tree") == {"f": contents(size)}


def test_a_server_that_tells_another_time_whenever_it_is_asked(tmp_path: Path) -> None:
    """As rclone does of a file that lies in its cache and is not yet at its place."""
    (tmp_path / "f").write_bytes(contents(LARGE))
    with RcloneServer(tmp_path / "server", cache="writes", arguments=("--vfs-write-back", "30s")) as server:
        storage = SftpStorage(server.uri(), settings_for(server))
        storage.upload(str(tmp_path / "f"), "f")
        time.sleep(1.1)  # It tells whole seconds.
        storage.download("f", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == contents(LARGE)


def test_a_large_file_over_a_long_link(
    server: SftpServer, root: Path, on_disk: OnDisk, tmp_path: Path
) -> None:
    data = contents(LONG)
    (tmp_path / "f").write_bytes(data)
    with Link(server.port, round_trip=LONG_LINK) as link:
        uri, settings = through(server, link, tmp_path)
        storage = SftpStorage(f"{uri}/{root.name}", settings)
        storage.upload(str(tmp_path / "f"), "f")
        on_disk({"f": data})
        storage.download("f", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data


def test_a_link_that_is_cut_while_a_large_file_goes(
    server: SftpServer, root: Path, on_disk: OnDisk, tmp_path: Path
) -> None:
    data = contents(LONG)
    (tmp_path / "f").write_bytes(data)
    with Link(server.port, round_trip=LONG_LINK, bandwidth=80e6) as link:
        uri, settings = through(server, link, tmp_path)
        storage = SftpStorage(f"{uri}/{root.name}", settings)
        _cut_once(link, lambda: link.bytes_up > LONG // 3, lambda: storage.upload(str(tmp_path / "f"), "f"))
        on_disk({"f": data})
        before = link.bytes_down
        back = str(tmp_path / "back")
        _cut_once(link, lambda: link.bytes_down > before + LONG // 3, lambda: storage.download("f", back))
    assert (tmp_path / "back").read_bytes() == data


def _cut_once(link: Link, when: Callable[[], bool], work: Callable[[], None]) -> None:
    """Run `work` and reset its connections once, at some point; fails if that point never came."""

    def cut() -> None:
        wait_until(when, 30)
        link.cut()
        done.append(True)

    done: list[bool] = []
    cutting = threading.Thread(target=cut)
    cutting.start()
    try:
        work()
    finally:
        cutting.join()
    assert done


def test_artifacts_through_mlflow(
    server: SftpServer,
    root: Path,
    on_disk: OnDisk,
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(server, monkeypatch)
    repository = repository_for(server.uri(root))
    (tmp_path / "model.pkl").write_bytes(contents(SMALL))
    repository.log_artifact(str(tmp_path / "model.pkl"), "model")
    repository.log_artifacts(str(tree), "tree")
    on_disk({"model": None, "model/model.pkl": contents(SMALL), **_below("tree", tree)})
    listed = [(each.path, each.is_dir, each.file_size) for each in repository.list_artifacts("model")]
    assert listed == [("model/model.pkl", False, SMALL)]
    assert [each.path for each in repository.list_artifacts()] == ["model", "tree"]
    (tmp_path / "back").mkdir()
    local = repository.download_artifacts("tree", str(tmp_path / "back"))
    assert files_below(Path(local)) == files_below(tree)
    repository.delete_artifacts("tree")
    on_disk({"model": None, "model/model.pkl": contents(SMALL)})
    with pytest.raises(SftpError) as caught:
        repository.download_artifacts("tree/large", str(tmp_path / "back"))
    assert isinstance(caught.value, NotFoundError)
