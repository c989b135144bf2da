"""Uploads to servers that do not do what OpenSSH does: the very bytes arrive, or nothing and an error."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from mlflow_sftp.errors import ConnectionDroppedError, IntegrityError, NoSpaceError, SftpError
from mlflow_sftp.storage import SftpStorage
from mlflow_sftp.transfer import block_transfer, resume, temporary_names, upload
from mlflow_sftp.wire import server_traits
from tests.support.link import Link
from tests.support.server import SftpServer
from tests.support.servers import ObstinateServer, RcloneServer
from tests.support.storing import files_below, pattern, through, wait_until

# With the fixture below: large enough for several sessions at 20 ms, and to be taken up again.
_LARGE = 6_000_000
_BANDWIDTH = 6e6

_LOSING = ("second-open-truncates", "second-open-forgets")
_WAYS = (
    *_LOSING,
    "second-open-refused",
    "in-order",
    "one-by-one",
    "close-first",
    "fstat-zero",
    "fstat-missing",
    "fsync-refused",
    "exclusive-ignored",
    "open-files=1",
)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do with megabytes what is worth it with tens of them."""
    monkeypatch.setattr(block_transfer, "_LEAST_SHARE", 1 << 20)
    monkeypatch.setattr(block_transfer, "_BLOCKS_PER_SESSION", 4)
    monkeypatch.setattr(block_transfer, "MAX_REORDER_BYTES", 1 << 20)
    monkeypatch.setattr(resume, "MAX_REORDER_BYTES", 1 << 20)
    monkeypatch.setattr(upload, "RESUMABLE_FILE", 4 << 20)


class _Reach(Link):
    """A link to a server, and storages on it: each as that of a new process."""

    def __init__(self, server: SftpServer, directory: Path, round_trip: float, bandwidth: float) -> None:
        super().__init__(server.port, round_trip=round_trip, bandwidth=bandwidth)
        self._server = server
        self._directory = directory
        self._idle = 300.0

    def storage(self, **changes: object) -> SftpStorage:
        server_traits._known.clear()
        self._idle += 1  # Connections are shared by those whose settings are equal.
        uri, settings = through(
            self._server,
            self,
            self._directory,
            idle_timeout=self._idle,
            **{"retry_timeout": 5.0, "max_sessions": 3, **changes},
        )
        return SftpStorage(uri, settings)


def _open_sessions(storage: SftpStorage) -> None:
    """Open the sessions that a large file will use: a server of the tests takes longer to start than the file."""
    assert len(storage._run(lambda remote: remote.connections.extra_sessions(3))) == 3


@contextmanager
def _reach(
    server: SftpServer, directory: Path, *, round_trip: float = 0.02, bandwidth: float = _BANDWIDTH
) -> Iterator[_Reach]:
    with server, _Reach(server, directory, round_trip, bandwidth) as link:
        yield link


def _published(root: Path) -> dict[str, bytes | None]:
    return {
        name: content
        for name, content in files_below(root).items()
        if not temporary_names.is_temporary(Path(name).name.encode())
    }


def _upload_and_cut(link: _Reach, work: Callable[[], object], when: int) -> BaseException | None:
    """Cut the connection when so many bytes went up; return what the upload raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    before = link.bytes_up
    thread.start()
    wait_until(lambda: link.bytes_up - before > when or not thread.is_alive(), 30)
    link.cut()
    thread.join(60)
    assert not thread.is_alive(), "it hangs"
    return raised[0] if raised else None


@pytest.mark.parametrize("how", _WAYS)
def test_the_very_bytes_arrive(how: str, tmp_path: Path) -> None:
    server = ObstinateServer(tmp_path / "s", how)
    contents = {
        "small": pattern(300_000, 1),
        "empty": b"",
        "middle": pattern(3_000_000, 2),
        "large": pattern(_LARGE),
    }
    tree = tmp_path / "tree"
    tree.mkdir()
    for name, content in contents.items():
        (tree / name).write_bytes(content)
    with _reach(server, tmp_path, bandwidth=0.0) as link:
        storage = link.storage()
        _open_sessions(storage)
        storage.upload_tree(str(tree), "t")
        storage.upload_stream(io.BytesIO(contents["middle"]), "t/stream")
        # What is known by now must do for what comes next.
        storage.upload(str(tree / "large"), "t/again")
        expected = {**contents, "stream": contents["middle"], "again": contents["large"]}
        # What was given up is removed, and nobody waits for that.
        wait_until(lambda: files_below(server.root / "t").keys() == expected.keys(), 10)
    assert files_below(server.root / "t") == expected


def _cost(link: Link, upload: Callable[[], None]) -> int:
    """Bytes that went up for it."""
    before = link.bytes_up
    upload()
    return link.bytes_up - before


@pytest.mark.parametrize("how", _LOSING)
def test_a_server_that_loses_bytes_is_found_out_once(how: str, tmp_path: Path) -> None:
    server = ObstinateServer(tmp_path / "s", how)
    source = tmp_path / "f"
    source.write_bytes(pattern(_LARGE))
    with _reach(server, tmp_path, bandwidth=0.0) as link:
        storage = link.storage()
        _open_sessions(storage)
        costs = []
        # Nothing is lost, and nothing shows, where every session opened the file before anything was written.
        while next(iter(server_traits._known.values())).keeps_contents is None and len(costs) < 20:
            costs.append(_cost(link, lambda: storage.upload(str(source), "f")))
            assert _published(server.root) == {"f": pattern(_LARGE)}
        assert next(iter(server_traits._known.values())).keeps_contents is False
        assert max(costs[:-1], default=0) < 1.2 * _LARGE
        assert _cost(link, lambda: storage.upload(str(source), "f")) < 1.2 * _LARGE


@pytest.mark.parametrize("how", ["plain", *_LOSING, "second-open-refused", "in-order"])
def test_a_drop_in_the_middle_of_a_file(how: str, tmp_path: Path) -> None:
    server = ObstinateServer(tmp_path / "s", how)
    source = tmp_path / "f"
    source.write_bytes(pattern(_LARGE))
    with _reach(server, tmp_path, round_trip=0.0) as link:
        storage = link.storage()
        assert _upload_and_cut(link, lambda: storage.upload(str(source), "f"), _LARGE // 2) is None
        assert link.accepted > 1
    assert _published(server.root) == {"f": pattern(_LARGE)}


@pytest.mark.parametrize(
    ("how", "raised"),
    [
        ("plain", None),
        ("second-open-truncates", IntegrityError),
        ("second-open-forgets", IntegrityError),
        ("second-open-refused", ConnectionDroppedError),
    ],
)
def test_a_drop_in_the_middle_of_a_stream(how: str, raised: type[SftpError] | None, tmp_path: Path) -> None:
    """It does not come twice: where it cannot be continued nothing is published."""
    server = ObstinateServer(tmp_path / "s", how)
    with _reach(server, tmp_path, round_trip=0.0) as link:
        stream = io.BytesIO(pattern(_LARGE))
        storage = link.storage()
        error = _upload_and_cut(link, lambda: storage.upload_stream(stream, "f"), _LARGE // 2)
        assert type(error) is (raised or type(None))
    assert _published(server.root) == ({} if raised else {"f": pattern(_LARGE)})


@pytest.mark.parametrize("how", ["plain", *_LOSING, "second-open-refused", "exclusive-ignored"])
def test_an_unfinished_upload_is_taken_up_only_where_it_stays_whole(how: str, tmp_path: Path) -> None:
    server = ObstinateServer(tmp_path / "s", how)
    source = tmp_path / "f"
    source.write_bytes(pattern(_LARGE))
    with _reach(server, tmp_path, round_trip=0.0) as link:
        storage = link.storage(retry_timeout=0.1)

        def cut_off() -> None:
            wait_until(lambda: link.bytes_up > 4_000_000, 30)
            link.refuse()

        refusing = threading.Thread(target=cut_off)
        refusing.start()
        assert _upload_and_cut(link, lambda: storage.upload(str(source), "f"), 4_100_000) is not None
        refusing.join()
        link.refuse(False)
        before = link.bytes_up
        link.storage().upload(str(source), "f")
        again = link.bytes_up - before
    assert _published(server.root) == {"f": pattern(_LARGE)}
    assert (again < _LARGE - 1_000_000) == (how == "plain")


@pytest.mark.parametrize("size", [5000, 2_000_000])
def test_a_disk_that_is_full_when_it_is_synced_spares_the_old_file(size: int, tmp_path: Path) -> None:
    server = ObstinateServer(tmp_path / "s", "fsync-fails")
    (tmp_path / "f").write_bytes(pattern(size))
    (server.root / "f").write_bytes(b"old")
    with (
        _reach(server, tmp_path, round_trip=0.0, bandwidth=0.0) as link,
        pytest.raises(NoSpaceError, match="space"),
    ):
        link.storage().upload(str(tmp_path / "f"), "f")
    assert _published(server.root) == {"f": b"old"}


@pytest.mark.parametrize("size", [5000, 2_000_000])
def test_a_close_that_takes_long_is_waited_for(size: int, tmp_path: Path) -> None:
    server = ObstinateServer(tmp_path / "s", "slow-close=3")
    (tmp_path / "f").write_bytes(pattern(size))
    with _reach(server, tmp_path, round_trip=0.0, bandwidth=0.0) as link:
        link.storage(stall_timeout=2.0).upload(str(tmp_path / "f"), "f")
        assert link.accepted == 1
        assert link.bytes_up < 1.3 * size + 20_000
    assert _published(server.root) == {"f": pattern(size)}


@pytest.mark.parametrize("cache", ["off", "writes"])
def test_rclone(cache: str, tmp_path: Path) -> None:
    server = RcloneServer(tmp_path / "s", cache=cache)
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(30):
        (tree / f"f{number}").write_bytes(pattern(400_000, number))
    (tree / "large").write_bytes(pattern(_LARGE))
    with _reach(server, tmp_path) as link:
        storage = link.storage()
        storage.upload_tree(str(tree), "t")
        storage.upload_stream(io.BytesIO(pattern(_LARGE)), "t/stream")
        wait_until(lambda: files_below(server.root / "t") == {**files_below(tree), "stream": pattern(_LARGE)})


@pytest.mark.parametrize("cache", ["off", "writes"])
def test_rclone_and_a_drop(cache: str, tmp_path: Path) -> None:
    server = RcloneServer(tmp_path / "s", cache=cache)
    (tmp_path / "f").write_bytes(pattern(_LARGE))
    with _reach(server, tmp_path, round_trip=0.0) as link:
        storage = link.storage()
        upload = partial(storage.upload, str(tmp_path / "f"), "f")
        assert _upload_and_cut(link, upload, _LARGE // 2) is None
        wait_until(lambda: _published(server.root) == {"f": pattern(_LARGE)})


@pytest.mark.parametrize("how", ["plain", "open-files=1", "open-files=5"])
def test_trees_where_few_files_may_be_open(how: str, tmp_path: Path) -> None:
    """With contents compared after each transfer: that takes a place, too."""
    server = ObstinateServer(tmp_path / "s", how)
    tree = tmp_path / "tree"
    for number in range(40):
        (tree / f"d{number % 3}").mkdir(parents=True, exist_ok=True)
        (tree / f"d{number % 3}/f{number}").write_bytes(pattern(2000, number))
    with _reach(server, tmp_path, round_trip=0.0, bandwidth=0.0) as link:
        storage = link.storage(verify="sha256")
        storage.upload_tree(str(tree), "t")
        storage.download_tree("t", str(tmp_path / "back"))
        assert len(list(storage.walk("t"))) == 43
    assert files_below(tmp_path / "back") == files_below(server.root / "t") == files_below(tree)
