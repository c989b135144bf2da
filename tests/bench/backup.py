#!/usr/bin/env python3
"""A backup with restic against `mlflow-sftp copy`, to one SFTP account, in one run.

    tests/bench/backup.py                          5,000 files of 16 KiB and one of 256 MiB
    tests/bench/backup.py --files 100 --mebibytes 16

Each brings the same files to a private sshd, again with nothing new, again with a hundred new files, and back. restic
runs in the image of the role mlflow_backup, which has to be there (any playbook of backups makes it). Prints the
seconds of each, and the bytes that it takes on the server. What came back is compared with what was there.
"""

import argparse
import filecmp
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPOSITORY))

from tests.support.docker import docker  # noqa: E402  # found only after the line above
from tests.support.sshd import SshServer  # noqa: E402  # likewise

_SMALL, _DIRECTORIES, _NEW = 16 << 10, 50, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--mebibytes", type=int, default=256, help="of the large file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "source"
        with SshServer(Path(work) / "server") as server:
            contenders = [Restic(server, Path(work)), Copy(server, Path(work))]
            write(source, "f", options.files)
            (source / "large").write_bytes(os.urandom(options.mebibytes << 20))
            for what in ("first", "nothing new"):
                compare(what, contenders, source)
            write(source, "new", _NEW)
            compare(f"{_NEW} new files", contenders, source)
            for each in contenders:
                seconds = timed(each.bring_back, Path(work) / f"{each.name}-back")
                require_same(source, Path(work) / f"{each.name}-back")
                print(f"{'back':15} {each.name:8} {seconds:6.1f} s", flush=True)


class Restic:
    """restic with a repository on the server."""

    name = "restic"

    def __init__(self, server: SshServer, work: Path) -> None:
        self._work = work
        self.stored = server.root / "repository"
        command = f"ssh -F {server.ssh_config} -p {server.port} {server.user}@{server.host} -s sftp"
        self._options = [
            f"--repo=sftp:{server.host}:{self.stored}",
            "-o",
            f"sftp.command={command}",
            "--quiet",
        ]
        self._run("init")

    def bring(self, source: Path) -> None:
        self._run("backup", str(source))

    def bring_back(self, target: Path) -> None:
        self._run("restore", f"latest:{self._work / 'source'}", f"--target={target}")

    def _run(self, *arguments: str) -> None:
        image = docker("image", "ls", "freegee/restic", "--format={{.Repository}}:{{.Tag}}").splitlines()[0]
        docker(
            *("run", "--rm", "--init", "--network=host", "--user=0", f"--volume={self._work}:{self._work}"),
            *("--env=RESTIC_PASSWORD=benchmark", f"--env=RESTIC_CACHE_DIR={self._work}/cache"),
            *(image, *self._options, *arguments),
        )


class Copy:
    """`mlflow-sftp copy`, which remembers in a manifest what is done, as a storage switch does."""

    name = "copy"

    def __init__(self, server: SshServer, work: Path) -> None:
        self._work = work
        self._environment = os.environ | {"MLFLOW_SFTP_SSH_CONFIG": str(server.ssh_config)}
        self.stored = server.root / "copy"
        self._uri = server.uri("copy")

    def bring(self, source: Path) -> None:
        self._run(str(source), self._uri, f"--manifest={self._work}/manifest")

    def bring_back(self, target: Path) -> None:
        self._run(self._uri, str(target))

    def _run(self, *arguments: str) -> None:
        program = Path(sys.executable).parent / "mlflow-sftp"
        subprocess.run(
            [program, "copy", *arguments], env=self._environment, check=True, stdout=subprocess.DEVNULL
        )


def write(source: Path, prefix: str, count: int) -> None:
    """Write small files that nothing can compress, over some directories."""
    for number in range(count):
        path = source / f"d{number % _DIRECTORIES}" / f"{prefix}{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(_SMALL))


def compare(what: str, contenders: list[Restic | Copy], source: Path) -> None:
    for each in contenders:
        seconds = timed(each.bring, source)
        print(f"{what:15} {each.name:8} {seconds:6.1f} s, {size(each.stored):13,} bytes there", flush=True)


def timed(deed: Callable[[Path], None], path: Path) -> float:
    began = time.perf_counter()
    deed(path)
    return time.perf_counter() - began


def size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def require_same(left: Path, right: Path) -> None:
    paths = [path.relative_to(left) for path in left.rglob("*") if path.is_file()]
    different = [path for path in paths if not filecmp.cmp(left / path, right / path, shallow=False)]
    assert not different, f"{len(different)} files came back otherwise, first {different[0]}"


if __name__ == "__main__":
    main()
