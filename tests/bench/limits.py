"""The data plane where it hurts: growth, memory, the price of its promises, the proxy, a link that goes away.

    tests/bench/limits.py growth            1,000, 10,000 and 100,000 files of 4 KiB, up, listed, down: seconds, memory
    tests/bench/limits.py huge --gib 20     one file, up and down: seconds and memory
    tests/bench/limits.py price             what SHA-256 and the atomic rename cost
    tests/bench/limits.py proxied           1 GiB through `mlflow server` and directly, and what is staged meanwhile
    tests/bench/limits.py cut --seconds 30  a trainer whose link delivers nothing for so long

Each client is a process of its own, measured whole, against a real sshd of this machine. Files are below --directory
(default: the directory for temporary files).
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPOSITORY))

from tests.support.link import Link  # noqa: E402  # found only after the line above
from tests.support.mlflow_server import MlflowServer  # noqa: E402  # the same
from tests.support.sshd import SshServer  # noqa: E402  # the same
from tests.support.storing import through  # noqa: E402  # the same

_MEBIBYTE = 1 << 20

_CLIENT = """
import sys
from mlflow_sftp.wire.session import SftpSession
from mlflow_sftp.storage import SftpStorage
work, uri, local = sys.argv[1:4]
if "without rename" in sys.argv:
    import mlflow_sftp.transfer.temporary_names, mlflow_sftp.transfer.upload
    async def nothing(*_): pass
    mlflow_sftp.transfer.upload.publish = nothing
storage = SftpStorage(uri)
if work == "walk":
    print(sum(1 for _ in storage.walk("")), "entries")
else:
    getattr(storage, work)(*((local, "") if work.startswith("upload") else ("", local)))
"""


class Client:
    """Runs operations of the data plane in processes of their own."""

    def __init__(self, server: SshServer) -> None:
        self._server = server

    def run(self, title: str, work: str, path: str, local: Path, *extra: str, **settings: str) -> float:
        """Run one, print seconds, CPU seconds and the most memory it had; return the seconds."""
        command = [sys.executable, "-c", _CLIENT, work, self._server.uri(path), str(local), *extra]
        environment = os.environ | {"MLFLOW_SFTP_SSH_CONFIG": str(self._server.ssh_config)}
        environment |= {f"MLFLOW_SFTP_{name.upper()}": value for name, value in settings.items()}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        assert os.waitstatus_to_exitcode(status) == 0, title
        cpu = usage.ru_utime + usage.ru_stime
        print(
            f"{title:40} {seconds:8.2f} s   cpu {cpu:7.2f} s   rss {usage.ru_maxrss / 1024:5.0f} MiB",
            flush=True,
        )
        return seconds


def growth(work: Path, server: SshServer, arguments: argparse.Namespace) -> None:
    for count in arguments.files:
        source = work / "many"
        for number in range(count):
            if number % 500 == 0:
                (source / f"d{number // 500}").mkdir(parents=True)
            (source / f"d{number // 500}" / f"f{number}").write_bytes(number.to_bytes(4) * 1024)
        client = Client(server)
        client.run(f"{count} files up", "upload_tree", "many", source)
        shutil.rmtree(source)
        client.run(f"{count} files listed", "walk", "many", source)
        client.run(f"{count} files down", "download_tree", "many", work / "back")
        shutil.rmtree(work / "back")
        shutil.rmtree(server.root / "many")


def huge(work: Path, server: SshServer, arguments: argparse.Namespace) -> None:
    size = arguments.gib << 30
    with (work / "huge").open("wb") as file:
        file.truncate(size)
        file.seek(size // 2)
        file.write(os.urandom(_MEBIBYTE))
    client = Client(server)
    client.run(f"{arguments.gib} GiB up", "upload", "huge", work / "huge")
    (work / "huge").unlink()
    client.run(f"{arguments.gib} GiB down", "download", "huge", work / "huge")
    assert (work / "huge").stat().st_size == size


def price(work: Path, server: SshServer, arguments: argparse.Namespace) -> None:
    many, large = work / "many", work / "large"
    many.mkdir()
    for number in range(2000):
        (many / f"f{number}").write_bytes(os.urandom(16 << 10))
    _fill(large, 256)
    client = Client(server)
    for _ in range(arguments.rounds):
        for title, extra, verify in (
            ("sizes compared", (), "size"),
            ("SHA-256 read back", (), "sha256"),
            ("sizes compared, no rename", ("without rename",), "size"),
        ):
            for name, operation in (("many", "upload_tree"), ("large", "upload")):
                target = f"{name}-{time.monotonic_ns()}"
                client.run(f"{name} up, {title}", operation, target, work / name, *extra, verify=verify)
        for verify in ("size", "sha256"):
            server_copy = server.root / "whole"
            shutil.copy(large, server_copy)
            client.run(f"large down, {verify}", "download", "whole", work / "back", verify=verify)


def proxied(work: Path, server: SshServer, arguments: argparse.Namespace) -> None:
    source = work / "large"
    _fill(source, 1024)
    for _ in range(arguments.rounds):
        direct = Client(server).run("1 GiB directly", "upload", f"d{time.monotonic_ns()}", source)
    (work / "tmp").mkdir()
    environment = {"MLFLOW_SFTP_SSH_CONFIG": str(server.ssh_config), "TMPDIR": str(work / "tmp")}
    flags = ["--artifacts-destination", server.uri("proxied")]
    clients = {"writes of 1 MiB": _put, "MLflow's client": _log_artifact}
    with MlflowServer(work / "mlflow", flags, environment) as mlflow:
        for number, (name, send) in enumerate([*clients.items()] * arguments.rounds):
            with _watching(lambda: mlflow.open_bytes(work / "tmp")) as staged:
                started = time.perf_counter()
                send(mlflow.uri.removeprefix("http://"), str(number), source)
                seconds = time.perf_counter() - started
            print(
                f"{f'1 GiB through mlflow server, {name}':48} {seconds:8.2f} s   {seconds / direct:.2f} x direct, "
                f"{max(staged)} bytes staged at most",
                flush=True,
            )


def _put(address: str, directory: str, source: Path) -> None:
    import http.client

    connection = http.client.HTTPConnection(address, blocksize=_MEBIBYTE)
    with source.open("rb") as body:
        connection.request("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{directory}/large", body)
        status = connection.getresponse().status
    assert status == 200, status


def _log_artifact(address: str, directory: str, source: Path) -> None:
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    uri = f"mlflow-artifacts://{address}/{directory}"
    MlflowArtifactsRepository(uri, tracking_uri=f"http://{address}").log_artifact(str(source))


def _fill(path: Path, mebibytes: int) -> None:
    """Make a file, piece by piece: what this process holds counts as a child's memory."""
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(_MEBIBYTE))


def cut(work: Path, server: SshServer, arguments: argparse.Namespace) -> None:
    from mlflow_sftp.storage import SftpStorage

    with Link(server.port, round_trip=0.02) as link:
        uri, settings = through(server, link, work, retry_timeout=120.0, stall_timeout=60.0)
        storage = SftpStorage(uri, settings)
        (work / "step").write_bytes(bytes(5000))
        storage.upload(str(work / "step"), "step0")
        link.stall()
        timer = threading.Timer(arguments.seconds, link.resume)
        timer.start()
        started = time.perf_counter()
        storage.upload(str(work / "step"), "step1")
        print(f"{'an artifact in a dead time of':40} {arguments.seconds:8.2f} s")
        print(f"{'is stored after':40} {time.perf_counter() - started:8.2f} s, {link.accepted} connections")
        assert (server.root / "step1").stat().st_size == 5000


@contextmanager
def _watching(look: Callable[[], int]) -> Iterator[list[int]]:
    seen, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            seen.append(look())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    works = {work.__name__: work for work in (growth, huge, price, proxied, cut)}
    parser.add_argument("work", choices=works)
    parser.add_argument("--directory")
    parser.add_argument("--files", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--gib", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="limits-", dir=arguments.directory) as directory:
        work = Path(directory)
        with SshServer(work / "server") as server:
            works[arguments.work](work, server, arguments)


if __name__ == "__main__":
    main()
