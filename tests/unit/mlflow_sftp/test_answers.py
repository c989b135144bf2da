"""What becomes of listings and downloads where a server leaves out, repeats, changes or exaggerates what it says."""

import errno
import hashlib
import os
import struct
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mlflow_sftp.errors import IntegrityError, LocalError, ServerFailureError, SftpError
from mlflow_sftp.transfer import download, local_files, resume, temporary_names
from mlflow_sftp.transfer.listing import Entry, list_directory, walk
from mlflow_sftp.transfer.remote import Remote
from tests.support.sftp_model import ModelServer, attributes, model_remote, run_quickly, status, string
from tests.support.storing import files_below as everything_below
from tests.support.storing import pattern

T = TypeVar("T")
_OPEN, _CLOSE, _READ, _LSTAT, _FSTAT, _OPENDIR, _READDIR, _REALPATH, _STAT = 3, 4, 5, 7, 8, 11, 12, 16, 17
_FILE, _DIRECTORY = 0o100644, 0o040755
_LARGE = 3 << 20


def files_below(directory: Path) -> dict[str, bytes]:
    """Contents by relative path, without directories."""
    return {name: data for name, data in everything_below(directory).items() if data is not None}


def _do(server: ModelServer, work: Callable[[Remote], Awaitable[T]], **settings: Any) -> T:
    async def run() -> T:
        return await work(model_remote(server, **settings))

    return run_quickly(run())


def _tree(server: ModelServer, target: Path) -> dict[str, bytes]:
    _do(server, lambda remote: download.get_tree(remote, "/root", str(target)))
    return files_below(target)


def _file(server: ModelServer, target: Path, name: str = "f") -> bytes:
    _do(server, lambda remote: download.get_file(remote, f"/root/{name}", str(target)))
    return target.read_bytes()


async def _walked(remote: Remote) -> list[Entry]:
    return [entry async for entry in walk(remote, "/root")]


def _names(number: bytes, names: list[bytes], described: bytes = attributes(5, _FILE)) -> bytes:
    entries = b"".join(string(name) + string(b"") + described for name in names)
    return b"\x68" + number + struct.pack(">I", len(names)) + entries


def _describe(server: ModelServer, kinds: set[int], describe: Callable[[bytes], bytes]) -> None:
    """Change what is said of files: `describe(size, mode and times as sent)` for answers to requests of these types."""
    plain = server._packets

    def packets(packet: bytes) -> list[bytes]:
        found = plain(packet)
        if packet[0] not in kinds or found[0][0] not in (104, 105):
            return found
        answer = found[0]
        if answer[0] == 105:
            return [answer[:5] + describe(answer[5:])]
        out, at = answer[:9], 9
        for _ in range(int.from_bytes(answer[5:9])):
            size = int.from_bytes(answer[at : at + 4])
            out += answer[at : at + 8 + size] + describe(answer[at + 8 + size : at + 32 + size])
            at += 32 + size
        return [out]

    server._packets = packets  # type: ignore[method-assign]  # What this server answers otherwise.


_LESS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda told: struct.pack(">I", 0),
    "no size": lambda told: struct.pack(">I", 0x4 | 0x8) + told[12:],
    "size -1": lambda told: told[:4] + b"\xff" * 8 + told[12:],
    "no type": lambda told: told[:12] + struct.pack(">I", int.from_bytes(told[12:16]) & 0o777) + told[16:],
    "no time": lambda told: struct.pack(">I", 0x1 | 0x4) + told[4:16],
}


@pytest.mark.parametrize("less", _LESS)
@pytest.mark.parametrize(
    "kinds",
    [{_READDIR}, {_FSTAT}, {_READDIR, _FSTAT}, {_READDIR, _STAT, _LSTAT}, {_READDIR, _STAT, _LSTAT, _FSTAT}],
)
def test_what_a_server_does_not_tell_is_found_out(tmp_path: Path, less: str, kinds: set[int]) -> None:
    files = {b"a": b"x" * 10, b"d/b": pattern(70_000), b"d/e/c": b"", b"large": pattern(_LARGE)}
    server = ModelServer(files)
    _describe(server, kinds, _LESS[less])
    assert {os.fsencode(name): data for name, data in _tree(server, tmp_path / "o").items()} == files
    assert _file(server, tmp_path / "f", "large") == files[b"large"]
    entries = _do(server, _walked)
    assert {entry.path for entry in entries if entry.is_directory} == {"d", "d/e"}
    for entry in entries:
        if not entry.is_directory:
            assert entry.size in (None, len(files[os.fsencode(entry.path)]))


def _hostile(name: bytes, mode: int) -> ModelServer:
    server = ModelServer({b"f": b"hello"})
    ended: set[bytes] = set()

    def intercept(kind: int, number: bytes, body: bytes) -> bytes | None:
        if kind in (_STAT, _LSTAT):
            is_root = body[4:] == b"/root"
            return b"\x69" + number + attributes(5, _DIRECTORY if is_root else mode)
        if kind == _OPENDIR:
            server._opened += 1
            return b"\x66" + number + string(b"directory %d" % server._opened)
        if kind == _READDIR:
            if body in ended:
                return status(number, 1)
            ended.add(body)
            return _names(number, [name], attributes(5, mode))
        return None

    server.intercept = intercept
    return server


@pytest.mark.parametrize("mode", [_FILE, _DIRECTORY])
@pytest.mark.parametrize("name", [b"", b"../evil", b"/tmp/evil", b"a\0b", b"x" * 2000, b"./f", b"d/f"])
def test_a_name_that_nothing_can_have_is_an_error_and_nothing_is_written(
    tmp_path: Path, name: bytes, mode: int
) -> None:
    server = _hostile(name, mode)
    target = tmp_path / "a/b/c"
    target.mkdir(parents=True)
    with pytest.raises(SftpError):
        _tree(server, target)
    assert files_below(tmp_path) == {}
    assert _do(server, lambda remote: list_directory(remote, "/root")) == []


def test_whoever_wants_to_is_told_of_what_is_left_out() -> None:
    told: list[str] = []

    async def look(remote: Remote) -> list[Entry]:
        return [e async for e in walk(remote, "/root", on_left_out=lambda path, reason: told.append(path))]

    assert _do(_hostile(b"d/f", _FILE), look) == []
    assert told == ["d/f"]


def test_directories_without_end_end(tmp_path: Path) -> None:
    with pytest.raises(ServerFailureError, match="deeper"):
        _tree(_hostile(b"d" * 200, _DIRECTORY), tmp_path / "o")


def test_a_name_that_comes_twice_is_taken_once(tmp_path: Path) -> None:
    server = ModelServer({b"f": b"hello"})
    server.intercept = lambda kind, number, body: (
        _names(number, [b"f", b"f"]) if kind == _READDIR and not server.requests % 2 else None
    )
    assert _tree(server, tmp_path / "o") == {"f": b"hello"}


def test_a_name_of_a_file_and_of_a_directory_is_an_error(tmp_path: Path) -> None:
    server = ModelServer({b"f": b"hello"})
    server.intercept = lambda kind, number, body: (
        _names(number, [b"f"], attributes(0, _DIRECTORY))
        if kind == _READDIR and server.requests % 2
        else None
    )
    with pytest.raises(ServerFailureError, match="twice"):
        _tree(server, tmp_path / "o")


def _endless(fresh: bool) -> ModelServer:
    server = ModelServer()
    count = 0

    def intercept(kind: int, number: bytes, body: bytes) -> bytes | None:
        nonlocal count
        if kind != _READDIR:
            return None
        count += 200
        return _names(number, [b"file-%d" % ((count if fresh else 0) + index) for index in range(200)])

    server.intercept = intercept
    return server


@pytest.mark.parametrize("fresh", [True, False])
def test_a_directory_without_end_is_an_error_in_bounded_memory(fresh: bool) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ServerFailureError):
            _do(_endless(fresh), lambda remote: list_directory(remote, "/root"), memory=1)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_walking_a_long_directory_does_not_hold_it() -> None:
    async def count(remote: Remote) -> int:
        found = 0
        async for _ in walk(remote, "/root"):
            found += 1
            if found == 4_000:
                break
        return found

    tracemalloc.start()
    try:
        assert _do(_endless(True), count, memory=1) == 4_000
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_to_be_asked_after_the_end_may_be_an_error() -> None:
    server = ModelServer({b"%d" % number: b"" for number in range(10)})
    ended = False

    def packets(packet: bytes) -> list[bytes]:
        nonlocal ended
        if packet[0] == _READDIR and ended:
            return [status(packet[1:5], 4)]
        answer = ModelServer._packets(server, packet)
        ended = ended or (packet[0] == _READDIR and answer[0][0] == 101)
        return answer

    server._packets = packets  # type: ignore[method-assign]  # What this server answers otherwise.
    assert len(_do(server, lambda remote: list_directory(remote, "/root")) or []) == 10


@pytest.mark.parametrize("size", [500_000, _LARGE])
@pytest.mark.parametrize("spoil", ["longer", "shifted", "padded", "nothing"])
def test_more_or_other_than_was_asked_for_is_an_error(tmp_path: Path, spoil: str, size: int) -> None:
    server = ModelServer({b"f": pattern(size)})

    def spoil_data(packets: list[bytes]) -> bytes:
        packet = packets[0]
        if packet[0] == 103:
            data = packet[9:]
            data = {"longer": data + b"X", "shifted": data[:-1] if server.requests % 2 else data + b"X"}.get(
                spoil, data
            )
            packet = (
                packet[:5]
                + string(b"" if spoil == "nothing" else data)
                + (b"\0" if spoil == "padded" else b"")
            )
        return string(packet)

    server.spoil = spoil_data
    with pytest.raises(SftpError):
        _file(server, tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [500_000, _LARGE])
@pytest.mark.parametrize("piece", [1, 3000])
def test_short_answers_are_put_together(tmp_path: Path, size: int, piece: int) -> None:
    server = ModelServer({b"f": pattern(size)})

    def shorten(packets: list[bytes]) -> bytes:
        packet = packets[0]
        if packet[0] == 103:
            packet = packet[:5] + string(packet[9:][: piece if piece > 1 else max(1, len(packet[9:]) - 1)])
        return string(packet)

    server.spoil = shorten
    assert _file(server, tmp_path / "f") == pattern(size)


def test_close_that_overtakes_is_waited_for_and_remembered(tmp_path: Path) -> None:
    """A server with many threads: what is sent behind CLOSE and before its answer is refused."""
    files = {b"f%d" % number: pattern(2000 + number) for number in range(20)}
    server = ModelServer(files)
    plain, refused = server._packets, 0
    waiting: list[bytes] = []

    def answer(packet: bytes) -> bytes:
        nonlocal refused
        server.requests += 1
        if packet[0] in (_READ, _FSTAT):
            waiting.append(packet)
            return b""
        answers = plain(packet)
        overtaken = [plain(each)[0] for each in waiting]
        refused += sum(each[0] == 101 and each[5:9] != b"\0\0\0\1" for each in overtaken)
        waiting.clear()
        return b"".join(map(string, [*answers, *overtaken]))

    server.answer = answer  # type: ignore[method-assign]  # What this server answers otherwise.

    async def fetch(remote: Remote) -> bool | None:
        # READ and FSTAT that are followed by nothing are answered in the next turn.
        import asyncio

        async def tick() -> None:
            while True:
                await asyncio.sleep(0.01)
                session = (await remote.connections.connected()).session
                late = b"".join(string(plain(each)[0]) for each in waiting)
                waiting.clear()
                if late:
                    session.data_received(late, None)

        ticking = asyncio.create_task(tick())
        try:
            await download.get_tree(remote, "/root", str(tmp_path / "o"))
            before = refused
            await download.get_tree(remote, "/root", str(tmp_path / "p"))
        finally:
            ticking.cancel()
        assert refused == before
        return remote.connections.traits.keeps_order

    assert _do(server, fetch) is False
    for target in ("o", "p"):
        assert {os.fsencode(k): v for k, v in files_below(tmp_path / target).items()} == files


@pytest.mark.parametrize("size", [5000, _LARGE])
def test_a_server_that_answers_fstat_to_nobody(tmp_path: Path, size: int) -> None:
    server = ModelServer({b"f": pattern(size), b"g": pattern(size)})
    server.intercept = lambda kind, number, body: status(number, 3) if kind == _FSTAT else None
    assert _tree(server, tmp_path / "o") == {"f": pattern(size), "g": pattern(size)}


def _change_at(server: ModelServer, reads: int, change: Callable[[], None], times: int = 1) -> None:
    """Change a file when so many reads were answered, and after so many more again."""
    seen = done = 0

    def intercept(kind: int, number: bytes, body: bytes) -> None:
        nonlocal seen, done
        seen += kind == _READ
        if kind == _READ and seen >= reads * (done + 1) and done < times:
            done += 1
            change()

    server.intercept = intercept


@pytest.mark.parametrize(("size", "reads"), [(500_000, 4), (_LARGE, 20)])
@pytest.mark.parametrize("times", [1, 1000])
def test_a_file_rewritten_while_it_is_read_is_one_version_or_an_error(
    tmp_path: Path, size: int, reads: int, times: int
) -> None:
    server = ModelServer({b"f": pattern(size)})
    versions = [pattern(size)]

    def rewrite() -> None:
        versions.append(pattern(size, len(versions)))
        server.files[b"/root/f"][:] = versions[-1]
        server.mtimes[b"/root/f"] = 1_700_000_000 + len(versions)

    _change_at(server, reads, rewrite, times)
    if times == 1:
        assert _file(server, tmp_path / "f") == versions[1]
    else:
        with pytest.raises(IntegrityError):
            _file(server, tmp_path / "f")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("size", "reads"), [(50_000, 1), (_LARGE, 10)])
def test_a_file_that_only_grows_is_taken_as_it_was(tmp_path: Path, size: int, reads: int) -> None:
    server = ModelServer({b"f": pattern(size), b"g": b"other"})

    def grow() -> None:
        server.files[b"/root/f"] += b"more"
        server.mtimes[b"/root/f"] = server.mtimes.get(b"/root/f", 1_700_000_000) + 1

    _change_at(server, reads, grow, 10**6)
    got = _tree(server, tmp_path / "o")
    assert got["g"] == b"other"
    assert bytes(server.files[b"/root/f"]).startswith(got["f"])
    assert len(got["f"]) >= size


@pytest.mark.parametrize("size", [0, 100, 50_000])
def test_a_file_that_became_large_since_it_was_listed(tmp_path: Path, size: int) -> None:
    server = ModelServer({b"f": pattern(size)})

    def intercept(kind: int, number: bytes, body: bytes) -> None:
        if kind == _OPEN:
            server.files[b"/root/f"][:] = pattern(_LARGE)

    server.intercept = intercept
    assert _tree(server, tmp_path / "o") == {"f": pattern(_LARGE)}


def test_a_size_that_no_disk_holds_is_an_error_at_once(tmp_path: Path) -> None:
    server = ModelServer({b"f": b"small"})
    _describe(server, {_FSTAT}, lambda told: told[:4] + struct.pack(">Q", 1 << 60) + told[12:])
    with pytest.raises(LocalError):
        _file(server, tmp_path / "f")
    assert server.requests < 50
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [500_000, _LARGE])
@pytest.mark.parametrize("room", [0, 1, 400_000])
def test_a_local_disk_that_fills_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, room: int
) -> None:
    """The system writes as much as there is room for and says how much that was; only the next write fails."""
    server = ModelServer({b"f": pattern(size)})
    write, left = os.pwrite, room

    def short(descriptor: int, data: Any, offset: int) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = write(descriptor, bytes(data)[:left], offset)
        left -= count
        return count

    monkeypatch.setattr(os, "pwrite", short)
    (tmp_path / "f").write_text("before")
    with pytest.raises(LocalError):
        _file(server, tmp_path / "f")
    assert files_below(tmp_path) == {"f": b"before"}


def test_what_is_lost_when_the_local_file_is_closed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network file systems with a quota tell it there."""

    def close(*_: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(local_files, "close_and_rename", close)
    with pytest.raises(LocalError):
        _file(ModelServer({b"f": b"hello"}), tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


_HUGE = 3 << 20


@pytest.fixture
def small_is_resumable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are resumable, and what blocks out of order may cost is less, at a tenth of the size."""
    monkeypatch.setattr(download, "RESUMABLE_FILE", 2 << 20)
    monkeypatch.setattr(resume, "MAX_REORDER_BYTES", 1 << 20)


def _unfinished(target: Path, mtime: int = 1_600_000_000) -> Path:
    name = temporary_names.resumable("tester@model:22", "/root/f", _HUGE, mtime, str(target))
    return target.parent / name


@pytest.mark.usefixtures("small_is_resumable")
@pytest.mark.parametrize("planted", ["link", "dangling link", "hard link", "directory", "pipe"])
def test_what_is_planted_at_the_name_of_an_unfinished_download_is_not_written_to(
    tmp_path: Path, planted: str
) -> None:
    victim, target = tmp_path / "victim", tmp_path / "o/f"
    target.parent.mkdir()
    victim.write_text("mine")
    name = _unfinished(target)
    if planted == "hard link":
        os.link(victim, name)
    elif planted == "directory":
        name.mkdir()
    elif planted == "pipe":
        os.mkfifo(name)
    else:
        name.symlink_to(victim if planted == "link" else tmp_path / "nothing")
    server = ModelServer({b"f": pattern(_HUGE)})
    assert _file(server, target) == pattern(_HUGE)
    assert target.is_file()
    assert not target.is_symlink()
    assert victim.read_text() == "mine"
    assert not (tmp_path / "nothing").exists()


@pytest.mark.usefixtures("small_is_resumable")
@pytest.mark.parametrize("spoilt", ["", "hole", "other bytes"])
def test_an_unfinished_download_is_taken_up_only_where_it_is_whole(tmp_path: Path, spoilt: str) -> None:
    data = bytearray(pattern(_HUGE))
    unfinished = _unfinished(tmp_path / "f")
    unfinished.write_bytes(data[: 5 << 19])
    if spoilt:
        with unfinished.open("r+b") as file:
            file.truncate(300_000 if spoilt == "hole" else 5 << 19)
            file.truncate(5 << 19)
            file.seek(1 << 20 if spoilt == "other bytes" else 5 << 19)
            file.write(b"" if spoilt == "hole" else b"x")
    server = ModelServer({b"f": bytes(data)})
    offsets: list[int] = []
    server.intercept = lambda kind, number, body: (
        offsets.append(int.from_bytes(body[-12:-4])) if kind == _READ else None
    )
    assert _file(server, tmp_path / "f") == data
    assert list(tmp_path.iterdir()) == [tmp_path / "f"]
    if not spoilt:
        assert sum(0 < offset < 1 << 20 for offset in offsets) < 20


@pytest.mark.usefixtures("small_is_resumable")
def test_an_unfinished_download_that_is_spoilt_between_the_samples_shows_in_the_servers_sum(
    tmp_path: Path,
) -> None:
    data = pattern(_HUGE)
    unfinished = bytearray(data[: 5 << 19])
    unfinished[40_000:41_000] = bytes(1000)
    _unfinished(tmp_path / "f").write_bytes(unfinished)
    server = ModelServer({b"f": data})

    def tell_sum(kind: int, number: bytes, body: bytes) -> bytes | None:
        if b"check-file-name" not in body:
            return None
        part = data[: int.from_bytes(body[-12:-4]) or None]
        return b"\xc9" + number + string(b"sha256") + hashlib.sha256(part).digest()

    server.intercept = tell_sum
    assert _file(server, tmp_path / "f") == data


@pytest.mark.usefixtures("small_is_resumable")
def test_an_unfinished_download_is_taken_up_where_one_file_may_be_open(tmp_path: Path) -> None:
    data = pattern(_HUGE)
    _unfinished(tmp_path / "f").write_bytes(data[: 5 << 19])
    server = ModelServer({b"f": data})
    _do(
        server,
        lambda remote: download.get_file(remote, "/root/f", str(tmp_path / "f")),
        max_requests=1,
    )
    assert (tmp_path / "f").read_bytes() == data


@pytest.mark.usefixtures("small_is_resumable")
def test_two_downloads_of_one_file_do_not_write_to_one_file(tmp_path: Path) -> None:
    import asyncio

    server = ModelServer({b"f": pattern(_HUGE)})

    async def twice(remote: Remote) -> None:
        other = model_remote(server)
        await asyncio.gather(
            *(download.get_file(each, "/root/f", str(tmp_path / "f")) for each in (remote, other))
        )

    _do(server, twice)
    assert files_below(tmp_path) == {"f": pattern(_HUGE)}


def test_what_came_before_something_that_is_not_sftp_is_read_again(tmp_path: Path) -> None:
    """An answer that is shorter than it says takes what comes behind it for its own, and only then it shows."""
    server = ModelServer({b"f": pattern(_LARGE)})
    spoilt = False

    def cut(packets: list[bytes]) -> bytes:
        nonlocal spoilt
        packet = packets[0]
        if packet[0] == 103 and server.requests > 12 and not spoilt:
            spoilt = True
            return len(packet).to_bytes(4) + packet[:20]
        return string(packet)

    server.spoil = cut
    assert _file(server, tmp_path / "f") == pattern(_LARGE)
