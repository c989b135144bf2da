"""Copying trees between local directories and a real SFTP server, every way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlflow_sftp.errors import LocationError, SftpError, StorageError
from mlflow_sftp.operations.copy import Progress, Verify, copy
from mlflow_sftp.operations.manifest import read_manifest
from tests.support.sshd import SshServer

# Beyond what goes in one piece, and beyond what is resumed in the middle.
LARGE, LARGEST = 2 << 20, 40 << 20
NAMES = [
    b"plain",
    b"with space",
    "ünï/cödé".encode(),
    b"not-utf8-\xff",
    b"%20#?:~",
    b"-dash",
    b"new\nline",
    b".hidden",
]

Tree = dict[bytes, bytes | None]


def read_tree(root: Path) -> Tree:
    """Every file with its content and every directory with None, by relative path."""
    found: Tree = {}
    for directory, names, files in os.walk(os.fsencode(root)):
        for name in names:
            found[os.path.relpath(os.path.join(directory, name), os.fsencode(root))] = None
        for name in files:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, os.fsencode(root))] = file.read()
    return found


def settle(root: Path) -> None:
    """Let files be older than a listing can tell apart: by seconds on a server, by ticks on this machine."""
    for path in root.rglob("*"):
        os.utime(path, (time.time() - 100,) * 2)
    time.sleep(0.05)


def make_tree(root: Path) -> None:
    for number, name in enumerate(NAMES):
        path = os.path.join(os.fsencode(root), b"1/run", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(name * (number * 50_000))
    (root / "2" / "empty directory").mkdir(parents=True)
    (root / "2" / "empty file").touch()
    (root / "2" / "large").write_bytes(os.urandom(1 << 20) * (LARGE >> 20))
    settle(root)


@pytest.fixture(autouse=True)
def client(sshd: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SFTP_SSH_CONFIG", str(sshd.ssh_config))
    monkeypatch.setenv("MLFLOW_SFTP_RETRY_TIMEOUT", "5")


@pytest.fixture
def source(sshd: SshServer) -> Path:
    root = sshd.root / "source"
    make_tree(root)
    return root


@pytest.fixture
def target(sshd: SshServer) -> Path:
    return sshd.root / "target"


Spell = Callable[[Path], str]
WAYS = ["local-local", "local-sftp", "sftp-local", "sftp-sftp"]


@pytest.fixture(params=WAYS)
def ways(request: pytest.FixtureRequest, sshd: SshServer) -> tuple[Spell, Spell]:
    """How to name source and target: as a path or as a URI of the server."""
    spell: dict[str, Spell] = {"local": str, "sftp": sshd.uri}
    one, other = request.param.split("-")
    return spell[one], spell[other]


def without_unfinished(tree: Tree) -> Tree:
    return {path: content for path, content in tree.items() if b".mlflow-sftp-" not in path}


def test_everything_arrives_once(
    ways: tuple[Spell, Spell], source: Path, target: Path, tmp_path: Path
) -> None:
    places = ways[0](source), ways[1](target)
    manifest = tmp_path / "manifest"
    (source / "2" / "large").write_bytes(os.urandom(1 << 20) * (LARGEST >> 20))
    settle(source)
    expected = read_tree(source)
    seen: list[tuple[int, int]] = []
    first = copy(*places, manifest=manifest, on_progress=lambda p: seen.append((p.files, p.bytes)))
    assert first.failed == {}
    assert first.copied == first.total
    assert (first.total.files, first.total.bytes) == (10, sum(len(c or b"") for c in expected.values()))
    assert read_tree(target) == expected
    assert seen == sorted(seen)
    assert seen[-1] == first.total
    second = copy(*places, manifest=manifest)
    assert (second.changed, second.copied, second.equal, second.failed) == (False, (0, 0), (0, 0), {})
    assert len({record.sha256 for record in read_manifest(manifest)}) == 9  # two are empty


def test_what_is_there_is_compared_not_sent(ways: tuple[Spell, Spell], source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    (target / "2" / "large").write_bytes((source / "2" / "large").read_bytes()[:-1] + b"!")
    (target / "1" / "run" / "plain").write_bytes(b"longer than before")
    (target / "1" / "only here").write_bytes(b"x")
    report = copy(ways[0](source), ways[1](target))
    assert report.copied.files == 2
    assert report.equal.files == 8
    assert report.extra == 1
    (target / "1" / "only here").unlink()
    assert read_tree(target) == read_tree(source)


@pytest.mark.parametrize("verify", ["sha256", "size"])
def test_only_what_is_missing(
    ways: tuple[Spell, Spell], verify: Verify, source: Path, target: Path, tmp_path: Path
) -> None:
    places = ways[0](source), ways[1](target)
    (target / "2").mkdir(parents=True)
    (target / "2" / "large").write_bytes(b"of somebody else")
    (target / "1" / "run").mkdir(parents=True)
    (target / "1" / "run" / "plain").write_bytes(b"longer than before, and of another day")
    assert copy(*places, only_missing=True, check=True).copied.files == 8
    report = copy(*places, only_missing=True, verify=verify, manifest=tmp_path / "manifest")
    assert (report.copied.files, report.equal.files, report.failed) == (8, 0, {})
    expected = read_tree(source)
    expected[b"2/large"] = b"of somebody else"
    expected[b"1/run/plain"] = b"longer than before, and of another day"
    assert read_tree(target) == expected
    # Without it, what was left alone comes as well.
    assert copy(*places, verify=verify, manifest=tmp_path / "manifest").copied.files == 2
    assert read_tree(target) == read_tree(source)


def test_by_size_only(ways: tuple[Spell, Spell], source: Path, target: Path, tmp_path: Path) -> None:
    shutil.copytree(source, target)
    os.truncate(target / "2" / "large", 5)
    places = ways[0](source), ways[1](target)
    report = copy(*places, verify="size", manifest=tmp_path / "manifest")
    assert (report.copied.files, report.equal.files) == (1, 9)
    assert read_tree(target) == read_tree(source)
    again = copy(*places, verify="size", manifest=tmp_path / "manifest")
    assert (again.copied.files, again.equal.files) == (0, 0)


def test_check_foresees_and_changes_nothing(ways: tuple[Spell, Spell], source: Path, target: Path) -> None:
    report = copy(ways[0](source), ways[1](target), check=True, manifest=target.with_name("manifest"))
    assert report.copied.files == 10
    assert sorted(os.listdir(target.parent)) == ["source"]


def test_a_changed_and_a_damaged_file_are_copied_again(
    ways: tuple[Spell, Spell], source: Path, target: Path, tmp_path: Path
) -> None:
    places = ways[0](source), ways[1](target)
    copy(*places, manifest=tmp_path / "manifest")
    (source / "1" / "run" / "plain").write_bytes(b"new content")
    (source / "1" / "new").write_bytes(b"new file")
    os.truncate(target / "2" / "large", 5)
    report = copy(*places, manifest=tmp_path / "manifest")
    assert report.copied.files == 3
    assert read_tree(target) == read_tree(source)


def test_only_some_directories(ways: tuple[Spell, Spell], source: Path, target: Path) -> None:
    report = copy(ways[0](source), ways[1](target), include=("2", "3"))
    assert report.copied.files == 2
    assert list(report.failed) == ["3"]
    assert os.listdir(target) == ["2"]


def test_all_but_some_directories(ways: tuple[Spell, Spell], source: Path, target: Path) -> None:
    """What is left out is not touched at the target either, nor is a name that only begins the same."""
    (source / "1" / "runner").mkdir()
    (source / "1" / "runner" / "file").touch()
    (target / "1" / "run").mkdir(parents=True)
    (target / "1" / "run" / "plain").write_text("newer than the source's")
    report = copy(ways[0](source), ways[1](target), exclude=("1/run",))
    assert not report.failed
    assert read_tree(target / "1") == {
        b"run": None,
        b"run/plain": b"newer than the source's",
        b"runner": None,
        b"runner/file": b"",
    }
    assert read_tree(target / "2") == read_tree(source / "2")


def test_names_that_mlflow_could_not_read_are_left_out_of_a_local_copy(sshd: SshServer) -> None:
    source, target, back = sshd.root / "source", sshd.root / "target", sshd.root / "back"
    artifacts = source / "1/run/artifacts"
    (artifacts / "a#b").mkdir(parents=True)
    for name in ("plain", "50%.txt", "50%25.txt", "a#b/deep"):
        (artifacts / name).write_text(name)
    foreseen = copy(sshd.uri(source), str(target), for_mlflow=True, check=True)
    done = copy(sshd.uri(source), str(target), for_mlflow=True)
    reason = "MLflow's local store cannot read a file of this name"
    for report in (foreseen, done):
        assert report.failed == {f"1/run/artifacts/{name}": reason for name in ("50%25.txt", "a#b/deep")}
        assert (report.unreadable_names, report.total.files, report.copied.files) == (2, 2, 2)
    assert set(read_tree(target / "1/run/artifacts")) == {b"plain", b"50%.txt"}
    # An SFTP server's store reads them all.
    report = copy(str(source), sshd.uri(back), for_mlflow=True)
    assert (report.unreadable_names, report.copied.files) == (0, 4)


def test_links_are_followed_or_reported(source: Path, target: Path, sshd: SshServer) -> None:
    (source / "1" / "link").symlink_to("run/plain")
    (source / "1" / "dangling").symlink_to("nowhere")
    (source / "1" / "loop").symlink_to("..")
    os.mkfifo(source / "1" / "pipe")
    report = copy(str(source), sshd.uri(target))
    assert report.failed == {
        "1/dangling": "leads nowhere",
        "1/loop": "leads back to a directory above it",
        "1/pipe": "is neither a file nor a directory",
    }
    assert not (target / "1" / "link").is_symlink()
    assert (target / "1" / "link").read_bytes() == (source / "1" / "run" / "plain").read_bytes()


def test_a_vanished_file_is_reported_and_the_rest_arrives(
    ways: tuple[Spell, Spell], source: Path, target: Path
) -> None:
    vanishing = source / "1" / "run" / "plain"

    def remove_when_listed(progress: Progress) -> None:
        vanishing.unlink(missing_ok=True)

    report = copy(ways[0](source), ways[1](target), on_progress=remove_when_listed)
    assert list(report.failed) == ["1/run/plain"]
    assert report.copied.files == 9
    assert read_tree(target) == read_tree(source)


@pytest.fixture
def server_of_nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    if os.getuid() != 0:
        pytest.skip("needs another account to be refused")
    # Not below pytest's directory, which other accounts may not enter.
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        with SshServer(Path(directory) / "nobody", run_as="nobody") as server:
            monkeypatch.setenv("MLFLOW_SFTP_SSH_CONFIG", str(server.ssh_config))
            yield server


@pytest.mark.parametrize("way", ["local", "sftp"])
def test_unreadable_files_and_directories_are_reported(
    way: str, server_of_nobody: SshServer, tmp_path: Path
) -> None:
    source = server_of_nobody.root / "source"
    (source / "closed").mkdir(parents=True)
    (source / "open").write_text("x")
    (source / "secret").write_text("x")
    (source / "secret").chmod(0o600)
    (source / "closed").chmod(0o700)
    if way == "sftp":
        failed = copy(server_of_nobody.uri(source), str(tmp_path / "target")).failed
        assert sorted(os.listdir(tmp_path / "target")) == ["closed", "open"]
    else:
        failed = copy_as_nobody(source, server_of_nobody.root / "target")
    assert set(failed) == {"secret", "closed"}
    assert "ermission denied" in failed["secret"]
    assert "ermission denied" in failed["closed"]


def copy_as_nobody(source: Path, target: Path) -> dict[str, str]:
    """Run the copy in a child that gives up root after a first copy, which has imported everything."""
    code = (
        "import json, os, sys, tempfile; from mlflow_sftp.operations.copy import copy;"
        "copy(tempfile.mkdtemp(), tempfile.mkdtemp());"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "print(json.dumps(copy(*sys.argv[1:]).failed))"
    )
    command = [sys.executable, "-c", code, str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    failed: dict[str, str] = json.loads(done.stdout)
    return failed


@pytest.mark.parametrize("way", WAYS)
def test_a_killed_copy_resumes(way: str, sshd: SshServer, tmp_path: Path) -> None:
    source, target, manifest = sshd.root / "source", sshd.root / "target", tmp_path / "manifest"
    for number in range(200):
        path = source / str(number % 10) / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(20_000))
    settle(source)
    spell: dict[str, Spell] = {"local": str, "sftp": sshd.uri}
    places = [spell[side](path) for side, path in zip(way.split("-"), (source, target), strict=True)]
    code = (
        "import sys; from pathlib import Path; from mlflow_sftp.operations.copy import copy;"
        "copy(*sys.argv[1:3], manifest=Path(sys.argv[3]), bandwidth=1e6)"
    )
    command = [sys.executable, "-c", code, *places, str(manifest)]
    # What passes through this machine lies in TMPDIR, where the kill leaves it. With few files in flight, none waits
    # for its name until the server's disk has taken all.
    environment = {"TMPDIR": str(tmp_path), "MLFLOW_SFTP_MAX_REQUESTS": "8"}
    with subprocess.Popen(command, env={**os.environ, **environment}) as child:
        deadline = time.monotonic() + 30
        while recorded(manifest) < 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
    done = recorded(manifest)
    assert 20 <= done < 200
    whole = read_tree(source)
    for path, content in read_tree(target).items():
        assert path not in whole or whole[path] == content  # under its name only as a whole
    report = copy(*places, manifest=manifest)
    assert report.copied.files + report.equal.files == 200 - done
    assert report.copied.files < 200
    assert {
        path: content for path, content in read_tree(target).items() if b".mlflow-sftp-" not in path
    } == whole


def recorded(manifest: Path) -> int:
    try:
        return sum(1 for _ in read_manifest(manifest))
    except StorageError:
        return 0


def test_a_server_that_goes_away_stops_the_copy_and_keeps_what_is_done(
    source: Path, target: Path, sshd: SshServer, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.files == 5:
            sshd.stop()

    with pytest.raises(SftpError, match=r"127\.0\.0\.1"):
        copy(str(source), sshd.uri(target), manifest=tmp_path / "m", bandwidth=20e6, on_progress=stop)
    sshd.start()
    report = copy(str(source), sshd.uri(target), manifest=tmp_path / "m")
    assert report.copied.files + report.equal.files < 10
    assert without_unfinished(read_tree(target)) == read_tree(source)


@pytest.mark.parametrize("way", ["local-local", "local-sftp", "sftp-local"])
def test_bandwidth_is_kept(way: str, sshd: SshServer) -> None:
    source, target = sshd.root / "source", sshd.root / "target"
    source.mkdir()
    (source / "file").write_bytes(bytes(6 << 20))
    spell: dict[str, Spell] = {"local": str, "sftp": sshd.uri}
    one, other = way.split("-")
    report = copy(spell[one](source), spell[other](target), bandwidth=4 << 20)
    assert 1.0 < report.seconds < 4
    assert report.copied.files == 1


def test_mistakes_are_named(source: Path, target: Path, sshd: SshServer, tmp_path: Path) -> None:
    with pytest.raises(LocationError, match="one lies in the other"):
        copy(str(source), str(source / "deeper"))
    with pytest.raises(LocationError, match="artifact root"):
        copy("mlflow-artifacts:/", str(target))
    with pytest.raises(StorageError, match="no such file or directory"):
        copy(sshd.uri("nowhere"), str(target))
    copy(str(source), str(target), manifest=tmp_path / "m", include=("1",))
    with pytest.raises(StorageError, match="belongs to a copy"):
        copy(str(source), str(tmp_path / "elsewhere"), manifest=tmp_path / "m")
    (tmp_path / "text").write_text("this is text and not a manifest at all")
    with pytest.raises(StorageError, match="cannot be used"):
        copy(str(source), str(target), manifest=tmp_path / "text")


def test_a_single_file(ways: tuple[Spell, Spell], source: Path, target: Path, tmp_path: Path) -> None:
    """Its copy is named, directories above it are made, and what is there in this size is compared."""
    file, copied = source / "2" / "large", target / "new" / "copy"
    places = ways[0](file), ways[1](copied)
    assert copy(*places, check=True).copied == (1, LARGE)
    assert not target.exists()
    assert copy(*places, manifest=tmp_path / "m").copied == (1, LARGE)
    assert copied.read_bytes() == file.read_bytes()
    assert copy(*places).equal == (1, LARGE)
    again = copy(*places, manifest=tmp_path / "m")
    assert (again.copied, again.equal) == ((0, 0), (0, 0))
    copied.write_bytes(bytes(LARGE))
    assert copy(*places).copied == (1, LARGE)
    assert os.listdir(copied.parent) == ["copy"]
    with pytest.raises(StorageError, match="is a directory; name the copy"):
        copy(places[0], ways[1](copied.parent))
    with pytest.raises(StorageError, match="is a file"):
        copy(ways[0](file.parent), places[1])
