"""The data plane against everything else that speaks SFTP (and rsync), in one run over one emulated link.

    tests/bench/compare.py                          everything (about 15 minutes)
    tests/bench/compare.py --link 20,1000 --only many --contender rsync
    tests/bench/compare.py --json results.json
    tests/bench/compare.py --only many --only first --contender before --before ../before    what a change costs

Needs rclone, lftp and rsync (`apt-get install rclone lftp rsync`); a contender that is not installed is left out.
MLflow's built-in store gets a virtual environment of its own, because it needs paramiko 3 and pysftp; it is kept in
~/.cache/mlflow-sftp-bench. Files live on tmpfs where there is one, so that disks do not blur the comparison.

A link is RTT_MS,MBIT, emulated by tests/support/link.py in a process of its own; 0,0 is the bare loopback. What is
measured is the whole process, interpreter and imports included; only against MLflow's built-in store, both run
inside Python and the clock starts when MLflow is imported and ends with the last artifact, the connection and
either store's own imports included ("list again" alone finds the connection open). Contenders take turns,
`--rounds` times; the best time of each counts, since everything that disturbs only adds. Slow ones get a tenth of
the many files on a long link; their time is scaled and marked with "~". Every result is checked: the number of
files and bytes that arrived.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPOSITORY))

from tests.support.sshd import SshServer  # noqa: E402  # found only after the line above

_FILES, _FILE_SIZE, _DIRECTORIES, _SAMPLE = 2000, 16 << 10, 40, 10
_LARGE = 256 << 20
_LONGEST = 240.0
_LINKS = ("0,0", "20,1000", "80,200", "80,1000")
# What is measured on which links, by default.
_PLAN = {
    "many": ("0,0", "20,1000", "80,200"),
    "large": ("0,0", "80,1000"),
    "first": ("20,1000", "80,1000"),
    "list": ("20,1000",),
    "list again": ("20,1000",),
}

# Run by the data plane's and by the built-in store's interpreter: same work, same clock.
_THROUGH_MLFLOW = """
import resource, sys, time
import mlflow.store.artifact.artifact_repo
what, uri, local = sys.argv[1:4]
started = time.perf_counter()
import importlib
module, _, name = sys.argv[4].partition(":")
store = getattr(importlib.import_module(module), name)(uri)
if what == "up": store.log_artifacts(local)
elif what == "down": store.download_artifacts("", local)
elif what == "up-file": store.log_artifact(local)
elif what == "down-file": store.download_artifacts("large", local)
elif what == "first": store.log_artifact(local, "a")
elif what == "list": assert len(store.list_artifacts()) == 1000
elif what == "list again":
    store.list_artifacts("f0")
    started = time.perf_counter()
    assert len(store.list_artifacts()) == 1000
print(time.perf_counter() - started, flush=True)
import os; os._exit(0)
"""

_REPOSITORY_CLASS = "mlflow_sftp.mlflow_plugin.artifact_repository:SftpArtifactRepository"
_BUILT_IN_CLASS = "mlflow.store.artifact.sftp_artifact_repo:SFTPArtifactRepository"

# What `log_artifacts` and `download_artifacts` call, without MLflow, which takes seconds to import.
_STORAGE = """
import sys
from mlflow_sftp.storage import SftpStorage
what, uri, local = sys.argv[1:]
work = {"up": "upload_tree", "down": "download_tree", "up-file": "upload", "down-file": "download"}[what]
storage = SftpStorage(uri)
getattr(storage, work)(*((local, "") if "up" in what else ("", local)))
"""


@dataclass
class Place:
    """One end of an emulated link: how to reach the server through it."""

    host: str
    port: int
    user: str
    config: Path
    known_hosts: Path
    key: Path
    home: Path
    round_trip_ms: float

    def uri(self, path: Path) -> str:
        return f"sftp://{self.user}@{self.host}:{self.port}{path}"


@dataclass
class Job:
    """What to transfer: a directory or file of this machine and one of the server."""

    what: str
    local: Path
    remote: Path


@dataclass
class Sample:
    seconds: float
    cpu: float
    mebibytes: float


class Failed(Exception):  # noqa: N818  # a result, not an error
    """A contender did not do the job."""


# Another checkout of this repository, if one is to be compared with this one.
_before: Path | None = None


def _ours(place: Place, job: Job) -> list[str]:
    return [sys.executable, "-c", _STORAGE, job.what, place.uri(job.remote), str(job.local)]


def _with_package_of_before(command: list[str]) -> list[str]:
    assert _before is not None
    return ["env", f"PYTHONPATH={_before / 'src'}", *command]


def _ours_before(place: Place, job: Job) -> list[str]:
    return _with_package_of_before(_ours(place, job))


def _in_mlflow_before(place: Place, job: Job) -> list[str]:
    assert _before is not None
    # Where the artifact repository was, in the versions that there have been.
    old = (_before / "src/mlflow_sftp/store.py").is_file()
    repository = "mlflow_sftp.store:SftpArtifactRepository" if old else _REPOSITORY_CLASS
    return _with_package_of_before(_through_mlflow(lambda: sys.executable, repository)(place, job))


def _copy_command(verify: str) -> Callable[[Place, Job], list[str]]:
    def command(place: Place, job: Job) -> list[str]:
        program = [
            sys.executable,
            "-c",
            "from mlflow_sftp.cli.main import main; main()",
            "copy",
            "--verify",
            verify,
        ]
        there = place.uri(job.remote)
        return [*program, *([str(job.local), there] if "up" in job.what else [there, str(job.local)])]

    return command


def _openssh(place: Place, job: Job) -> list[str]:
    recursive = "-r " if job.what in ("up", "down") else ""
    here, there = shlex.quote(str(job.local)), shlex.quote(str(job.remote))
    line = f"put {recursive}{here} {there}" if "up" in job.what else f"get {recursive}{there} {here}"
    script = (
        f"echo {shlex.quote(line)} | sftp -q -F {place.config} -b - -c aes128-gcm@openssh.com {place.host}"
    )
    return ["sh", "-c", script]


def _rclone(place: Place, job: Job) -> list[str]:
    there = f":sftp:{job.remote}"
    ends = [str(job.local), there] if "up" in job.what else [there, str(job.local)]
    return [
        "rclone",
        "copy" if job.what in ("up", "down") else "copyto",
        *ends,
        *(
            "--config",
            "/dev/null",
            "--transfers",
            "16",
            "--checkers",
            "16",
            "--ignore-checksum",
            "--no-traverse",
        ),
        *("--sftp-host", place.host, "--sftp-port", str(place.port), "--sftp-user", place.user),
        *("--sftp-key-file", str(place.key), "--sftp-known-hosts-file", str(place.known_hosts)),
        *("--sftp-disable-hashcheck", "--sftp-set-modtime=false"),
    ]


def _lftp(place: Place, job: Job) -> list[str]:
    here, there = shlex.quote(str(job.local)), shlex.quote(str(job.remote))
    work = {
        "up": f"mirror -R --parallel=32 --no-perms {here} {there}",
        "down": f"mirror --parallel=32 --no-perms {there} {here}",
        "up-file": f"put {here} -o {there}",
        "down-file": f"get {there} -o {here}",
    }[job.what]
    program = f"ssh -a -x -F {place.config} -c aes128-gcm@openssh.com"
    settings = (
        f"set sftp:connect-program '{program}'; set sftp:max-packets-in-flight 256; set cmd:fail-exit yes"
    )
    return [
        "lftp",
        "--norc",
        "-e",
        f"{settings}; {work}; exit",
        f"sftp://{place.user}:@{place.host}:{place.port}",
    ]


def _rsync(place: Place, job: Job) -> list[str]:
    slash = "/" if job.what in ("up", "down") else ""
    there = f"{place.user}@{place.host}:{job.remote}{slash}"
    ends = [f"{job.local}{slash}", there] if "up" in job.what else [there, f"{job.local}{slash}"]
    return ["rsync", "-a", "--whole-file", "-e", f"ssh -F {place.config} -c aes128-gcm@openssh.com", *ends]


def _through_mlflow(interpreter: Callable[[], str], repository: str) -> Callable[[Place, Job], list[str]]:
    def command(place: Place, job: Job) -> list[str]:
        local = job.local.parent if job.what == "down-file" else job.local
        remote = (
            job.remote if job.what in ("up", "down", "first", "list", "list again") else job.remote.parent
        )
        return [interpreter(), "-c", _THROUGH_MLFLOW, job.what, place.uri(remote), str(local), repository]

    return command


def _built_in_interpreter() -> str:
    directory = Path("~/.cache/mlflow-sftp-bench").expanduser()
    python = directory / "bin" / "python"
    if not (directory / "ready").exists():
        print("Making an environment for MLflow's built-in store ...", file=sys.stderr)
        venv.create(directory, with_pip=True, clear=True)
        packages = ["mlflow-skinny==3.17.2", "paramiko==3.5.1", "pysftp==0.2.9"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (directory / "ready").touch()
    return str(python)


_CONTENDERS: dict[str, Callable[[Place, Job], list[str]]] = {
    "mlflow-sftp": _ours,
    "before": _ours_before,
    "mlflow-sftp copy size": _copy_command("size"),
    "mlflow-sftp copy sha256": _copy_command("sha256"),
    "rsync": _rsync,
    "openssh sftp": _openssh,
    "rclone": _rclone,
    "lftp": _lftp,
    "mlflow-sftp in MLflow": _through_mlflow(lambda: sys.executable, _REPOSITORY_CLASS),
    "before in MLflow": _in_mlflow_before,
    "MLflow built-in": _through_mlflow(_built_in_interpreter, _BUILT_IN_CLASS),
}
_OURS = {"MLflow built-in": "mlflow-sftp in MLflow", "before in MLflow": "mlflow-sftp in MLflow"}
_PROGRAMS = {"rsync": "rsync", "openssh sftp": "sftp", "rclone": "rclone", "lftp": "lftp"}
_SLOW = {"MLflow built-in", "openssh sftp"}
_IN_MLFLOW_ONLY = {"first", "list", "list again"}


def main() -> None:
    global _before
    arguments = _parse()
    _before = arguments.before
    scratch = "/dev/shm" if Path("/dev/shm").is_dir() else None
    results: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=scratch) as directory:
        work = Path(directory)
        _make_files(work)
        config = "MaxStartups 200\nMaxSessions 100"
        with SshServer(work / "server", client_key_type="rsa", shell=True, config=config) as server:
            for workload in arguments.only or _PLAN:
                for link in arguments.link or _PLAN[workload]:
                    with _place(server, work, link) as place:
                        results += _compare(arguments, workload, link, place, work, server.root)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--link", action="append", help=f"RTT_MS,MBIT; default per workload from {_LINKS}")
    parser.add_argument("--only", action="append", choices=_PLAN, help="workload")
    parser.add_argument("--contender", action="append", choices=[*_CONTENDERS], help="besides mlflow-sftp")
    parser.add_argument(
        "--before", type=Path, help="another checkout, whose package takes turns with this one's"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="write all samples to this file")
    return parser.parse_args()


def _make_files(work: Path) -> None:
    for name, count in (("many", _FILES), ("sample", _FILES // _SAMPLE)):
        for index in range(count):
            directory = work / name / f"d{index % _DIRECTORIES}"
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"f{index}.bin").write_bytes(os.urandom(_FILE_SIZE))
    with (work / "large").open("wb") as large:
        for _ in range(_LARGE >> 20):
            large.write(os.urandom(1 << 20))
    (work / "first").write_bytes(os.urandom(4096))


@contextmanager
def _place(server: SshServer, work: Path, link: str) -> Iterator[Place]:
    round_trip, megabits = link.split(",")
    proxy = None
    port = server.port
    if link != "0,0":
        command = [sys.executable, "-m", "tests.support.link", str(server.port), round_trip, megabits]
        proxy = subprocess.Popen(command, cwd=_REPOSITORY, stdout=subprocess.PIPE, text=True)
        assert proxy.stdout is not None
        port = int(proxy.stdout.readline())
    home = work / f"home-{port}"
    (home / ".ssh").mkdir(parents=True, exist_ok=True)
    host_key = server.host_key.with_suffix(".pub").read_text()
    known_hosts, config = home / ".ssh" / "known_hosts", home / ".ssh" / "config"
    # The bare name is for pysftp, which ignores the port.
    known_hosts.write_text(f"[127.0.0.1]:{port} {host_key}127.0.0.1 {host_key}")
    config.write_text(
        f"Host 127.0.0.1\n  Port {port}\n  User {server.user}\n  IdentityFile {server.client_key}\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {known_hosts}\n"
    )
    try:
        yield Place(
            "127.0.0.1", port, server.user, config, known_hosts, server.client_key, home, float(round_trip)
        )
    finally:
        if proxy is not None:
            proxy.terminate()
            proxy.wait()


def _compare(
    arguments: argparse.Namespace, workload: str, link: str, place: Place, work: Path, root: Path
) -> list[dict[str, object]]:
    names = [name for name in _CONTENDERS if _takes_part(name, workload, arguments.contender)]
    jobs = {"many": ("up", "down"), "large": ("up-file", "down-file")}.get(workload, (workload,))
    samples: dict[str, dict[str, list[Sample]]] = {job: {name: [] for name in names} for job in jobs}
    for number in range(arguments.rounds):
        for name in names:
            slow = name in _SLOW and place.round_trip_ms > 0
            if slow and number:
                continue
            try:
                for job in _jobs(workload, name, slow, work, root):
                    samples[job.what][name].append(_measure(place, name, job, slow and workload == "many"))
            except Failed as reason:
                print(f"{name}: {reason}", file=sys.stderr)
    for job_name, by_name in samples.items():
        _print(f"{workload} {job_name}, RTT {link.replace(',', ' ms, ')} Mbit/s", by_name, workload, place)
    return [
        {
            "workload": workload,
            "job": job,
            "link": link,
            "contender": name,
            "samples": [vars(s) for s in taken],
        }
        for job, by_name in samples.items()
        for name, taken in by_name.items()
    ]


def _takes_part(name: str, workload: str, wanted: list[str] | None) -> bool:
    in_mlflow = "MLflow" in name
    if workload in _IN_MLFLOW_ONLY and not in_mlflow:
        return False
    if name.startswith("before"):
        return _before is not None
    if wanted and name not in wanted and not (name.startswith("mlflow-sftp")):
        return False
    return name not in _PROGRAMS or shutil.which(_PROGRAMS[name]) is not None


def _jobs(workload: str, name: str, slow: bool, work: Path, root: Path) -> Iterator[Job]:
    """Yield the jobs of one turn, each with a clean target."""
    target = root / "target"
    back = work / "back"
    shutil.rmtree(target, ignore_errors=True)
    if workload == "many":
        source = work / ("sample" if slow else "many")
        if name != "openssh sftp":
            target.mkdir()
        yield Job("up", source, target)
        _require_same(source, target)
        shutil.rmtree(back, ignore_errors=True)
        back.mkdir()
        # OpenSSH's `get -r` into an existing directory makes one below it.
        yield Job("down", back / "into" if name in ("openssh sftp",) else back, target)
        _require_same(source, back / "into" if name == "openssh sftp" else back)
    elif workload == "large":
        target.mkdir()
        yield Job("up-file", work / "large", target / "large")
        _require_size(target / "large", _LARGE)
        shutil.rmtree(back, ignore_errors=True)
        back.mkdir()
        yield Job("down-file", back / "large", target / "large")
        _require_size(back / "large", _LARGE)
    elif workload == "first":
        yield Job("first", work / "first", target)
        _require_size(target / "a" / "first", 4096)
    else:
        target.mkdir()
        for index in range(1000):
            (target / f"f{index}").touch()
        yield Job(workload, work, target)


def _measure(place: Place, name: str, job: Job, scaled: bool) -> Sample:
    environment = os.environ | {"HOME": str(place.home), "MLFLOW_SFTP_SSH_CONFIG": str(place.config)}
    environment.pop("SSH_AUTH_SOCK", None)
    # An installed program is compiled; without this the first round compiles it.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = _CONTENDERS[name](place, job)
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    stopper = threading.Timer(_LONGEST, process.kill)
    stopper.start()
    output, errors = process.stdout.read(), process.stderr.read()
    stopper.cancel()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode != 0:
        raise Failed(f"{job.what}: exit {process.returncode}: {errors.decode(errors='replace')[-400:]}")
    if "MLflow" in name:
        seconds = float(output.split()[-1])
    factor = _SAMPLE if scaled else 1
    return Sample(seconds * factor, (usage.ru_utime + usage.ru_stime) * factor, usage.ru_maxrss / 1024)


def _require_same(source: Path, target: Path) -> None:
    for directory in (source, target):
        if not directory.is_dir():
            raise Failed(f"{directory} is missing")
    expected, found = _contents(source), _contents(target)
    if expected != found:
        raise Failed(f"{len(found)} files arrived and {len(expected)} were sent, or their sizes differ")


def _contents(directory: Path) -> dict[str, int]:
    return {
        str(path.relative_to(directory)): path.stat().st_size
        for path in directory.rglob("*")
        if path.is_file()
    }


def _require_size(path: Path, size: int) -> None:
    if not path.is_file() or path.stat().st_size != size:
        raise Failed(f"{path.name} did not arrive whole")


def _print(title: str, by_name: dict[str, list[Sample]], workload: str, place: Place) -> None:
    print(f"\n{title}")
    best = {name: min(taken, key=lambda s: s.seconds) for name, taken in by_name.items() if taken}
    for name, sample in best.items():
        ours = best.get(_OURS.get(name, "mlflow-sftp"))
        ratio = (
            f"{sample.seconds / ours.seconds:7.2f} x"
            if ours and not name.startswith("mlflow-sftp")
            else " " * 9
        )
        scaled = "~" if workload == "many" and name in _SLOW and place.round_trip_ms else " "
        others = " ".join(f"{each.seconds:.2f}" for each in by_name[name])
        numbers = f"{scaled}{sample.seconds:8.2f} s {ratio}  cpu {sample.cpu:6.2f} s  rss {sample.mebibytes:4.0f} MiB"
        print(f"  {name:24} {numbers}  [{others}]", flush=True)


if __name__ == "__main__":
    main()
