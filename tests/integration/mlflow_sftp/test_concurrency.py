"""Many threads, many processes, forks, two writers of one name."""

import filecmp
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mlflow_sftp.settings import Settings
from mlflow_sftp.storage import SftpStorage
from tests.support.link import Link
from tests.support.server import SftpServer
from tests.support.sshd import SshServer, connection_without_login, knows_per_source_penalties
from tests.support.storing import files_below, pattern, settings_for, through


def test_64_threads_share_one_connection(mortal: SftpServer, tmp_path: Path) -> None:
    with Link(mortal.port) as link:
        uri, settings = through(mortal, link, tmp_path)

        def log(number: int) -> None:
            path = tmp_path / f"{number}.txt"
            path.write_bytes(pattern(20_000, number))
            for repetition in range(3):
                SftpStorage(uri, settings).upload(str(path), f"t{number % 8}/{number}-{repetition}")

        with ThreadPoolExecutor(64) as pool:
            list(pool.map(log, range(64)))
        assert link.accepted == 1
    found = {path: content for path, content in files_below(mortal.root).items() if content is not None}
    assert found == {f"t{n % 8}/{n}-{r}": pattern(20_000, n) for n in range(64) for r in range(3)}


def test_8_processes_at_once(sshd: SshServer, tmp_path: Path) -> None:
    _in_processes("spawn", 8, sshd, tmp_path)
    assert len(files_below(sshd.root)) == 8


def test_64_processes_that_begin_at_once_are_all_let_in(tmp_path: Path) -> None:
    """As workers of a sweep do: from the tenth login that is not done yet on, sshd drops some, at random."""
    # What OpenSSH does by itself; its test server is told to be generous.
    config = "MaxStartups 10:30:100\n" + "PerSourcePenalties yes\n" * knows_per_source_penalties()
    with SshServer(tmp_path / "server", config=config + "LogLevel VERBOSE") as sshd, ExitStack() as others:
        # However fast a login is here: more than a third are dropped while these are not done.
        for _ in range(20):
            others.enter_context(connection_without_login(sshd))
        threading.Timer(3, others.close).start()
        _in_processes("fork", 64, sshd, tmp_path, together=True, retry_timeout=120.0)
        assert "MaxStartups" in sshd.said()


def test_forked_children_open_their_own_connection_and_the_parent_keeps_its(
    sshd: SshServer, tmp_path: Path
) -> None:
    storage = SftpStorage(sshd.uri(), settings_for(sshd))
    (tmp_path / "f").write_text("x")
    storage.upload(str(tmp_path / "f"), "before")
    _in_processes("fork", 4, sshd, tmp_path)
    storage.upload(str(tmp_path / "f"), "after")
    assert len(files_below(sshd.root)) == 6


def test_two_writers_of_one_name_leave_one_content_whole(mortal: SftpServer, tmp_path: Path) -> None:
    contents = [pattern(2_000_000, 1), pattern(1_500_000, 2)]
    sources = [tmp_path / "a", tmp_path / "b"]
    for source, content in zip(sources, contents, strict=True):
        source.write_bytes(content)
    storage = SftpStorage(mortal.uri(), settings_for(mortal))
    for _ in range(5):
        _together(*(lambda source=source: storage.upload(str(source), "f") for source in sources))
        assert (mortal.root / "f").read_bytes() in contents
    storage.stat("f")
    assert os.listdir(mortal.root) == ["f"]


def test_two_uploads_of_one_large_file_do_not_spoil_each_other(mortal: SftpServer, tmp_path: Path) -> None:
    """They would resume each other's work: same source, same target."""
    source = tmp_path / "f"
    source.write_bytes(pattern(40_000_000))
    storage = SftpStorage(mortal.uri(), settings_for(mortal))
    _together(*(lambda: storage.upload(str(source), "f") for _ in range(2)))
    assert (mortal.root / "f").read_bytes() == source.read_bytes()
    assert os.listdir(mortal.root) == ["f"]


@pytest.mark.parametrize("way", ["up", "down"])
def test_small_files_pass_a_large_one(way: str, sshd: SshServer, tmp_path: Path) -> None:
    """What a small file has to wait for is what a large one has in flight: about two round trips' worth.

    The link takes in all it is given, so its longest queue is what was in flight, however slow this machine is.
    """
    here, there = tmp_path / "large", sshd.root / "large"
    (here if way == "up" else there).write_bytes(pattern(12_000_000) * 10)
    (tmp_path / "small").write_bytes(b"x" * 1000)
    with Link(sshd.port, round_trip=0.02, bandwidth=12e6) as link:
        link.held = 1 << 30
        uri, settings = through(sshd, link, tmp_path)
        storage = SftpStorage(uri, settings)
        storage.connect()
        transfer = (
            (storage.upload, str(here), "large") if way == "up" else (storage.download, "large", str(here))
        )
        large = threading.Thread(target=transfer[0], args=transfer[1:])
        large.start()
        for number in range(5):
            storage.upload(str(tmp_path / "small"), f"small{number}")
        assert large.is_alive()
        assert link.longest_queue < 2_000_000
        link.bandwidth = 1e9
        large.join()
    assert filecmp.cmp(here, there, shallow=False)


def _in_processes(
    method: str, count: int, sshd: SshServer, tmp_path: Path, *, together: bool = False, **settings: float
) -> None:
    """Upload a file from each of so many processes; `together`, they wait for each other before."""
    context: Any = multiprocessing.get_context(method)
    for number in range(count):
        (tmp_path / f"p{number}").write_bytes(pattern(300_000, number))
    barrier = context.Barrier(count) if together else None
    processes = [
        context.Process(
            target=_upload,
            args=(sshd.uri(), settings_for(sshd, **settings), str(tmp_path / f"p{number}"), barrier),
        )
        for number in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * count
    for number in range(count):
        assert (sshd.root / f"p{number}").read_bytes() == pattern(300_000, number)


def _upload(uri: str, settings: Settings, source: str, barrier: Any) -> None:
    if barrier is not None:
        barrier.wait(60)
    SftpStorage(uri, settings).upload(source, os.path.basename(source))


def _together(*calls: Callable[[], object]) -> None:
    failures: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
