"""MLflow's ArtifactRepository interface, as MLflow calls it."""

import asyncio
import io
import os
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException, MlflowTraceDataNotFound

from mlflow_sftp import errors
from mlflow_sftp.mlflow_plugin.artifact_repository import SftpArtifactRepository
from tests.support.server import SftpServer
from tests.support.storing import files_below, pattern, repository_for, use


def test_mlflow_resolves_sftp_to_this_class(repository: Any) -> None:
    assert type(repository) is SftpArtifactRepository


def test_a_run_through_mlflow_itself(
    server: SftpServer, root: Path, tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(server, monkeypatch)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = mlflow.create_experiment("e", artifact_location=server.uri(root / "exp"))
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_text("hello", "notes/a.txt")
        mlflow.log_dict({"a": 1}, "conf.json")
        mlflow.log_artifacts(str(tree), "tree")
    client = mlflow.MlflowClient()
    assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["conf.json", "notes", "tree"]
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes/a.txt") == "hello"
    local = client.download_artifacts(run.info.run_id, "tree", str(tmp_path))
    assert files_below(Path(local)) == files_below(tree)
    on_server = root / "exp" / run.info.run_id / "artifacts"
    assert files_below(on_server / "tree") == files_below(tree)


def test_log_artifact_puts_the_bytes_where_they_belong(repository: Any, root: Path, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(pattern(70_000))
    repository.log_artifact(tmp_path / "a.bin")
    repository.log_artifact(str(tmp_path / "a.bin"), "deep/er")
    assert files_below(root) == {
        "a.bin": pattern(70_000),
        "deep": None,
        "deep/er": None,
        "deep/er/a.bin": pattern(70_000),
    }


@pytest.mark.parametrize("size", [0, 1, 32768, 261_120, 261_121, 1 << 20, (1 << 20) + 1, 5_000_000])
def test_every_size_survives_both_ways(repository: Any, root: Path, tmp_path: Path, size: int) -> None:
    (tmp_path / "f").write_bytes(pattern(size))
    repository.log_artifact(str(tmp_path / "f"))
    assert (root / "f").read_bytes() == pattern(size)
    (tmp_path / "back").mkdir()
    assert Path(repository.download_artifacts("f", str(tmp_path / "back"))).read_bytes() == pattern(size)


def test_overwriting_replaces_and_shortens(repository: Any, root: Path, tmp_path: Path) -> None:
    for content in (b"long content", b"short"):
        (tmp_path / "f").write_bytes(content)
        repository.log_artifact(str(tmp_path / "f"))
    assert files_below(root) == {"f": b"short"}


def test_list_artifacts(repository: Any, root: Path) -> None:
    (root / "b" / "c").mkdir(parents=True)
    (root / "a.txt").write_text("12345")
    (root / "b" / "x").write_text("1")
    (root / ".hidden").write_text("")
    shown = [(each.path, each.is_dir, each.file_size) for each in repository.list_artifacts()]
    assert shown == [(".hidden", False, 0), ("a.txt", False, 5), ("b", True, None)]
    assert [each.path for each in repository.list_artifacts("b")] == ["b/c", "b/x"]
    assert [each.path for each in repository.list_artifacts("b/")] == ["b/c", "b/x"]
    assert repository.list_artifacts("a.txt") == []
    assert repository.list_artifacts("missing") == []
    assert repository.list_artifacts("b/c") == []


def test_listing_a_directory_larger_than_one_answer(repository: Any, root: Path) -> None:
    names = sorted(f"f{index:04}" for index in range(1500))
    for name in names:
        (root / name).touch()
    assert [each.path for each in repository.list_artifacts()] == names


def test_download_a_directory(repository: Any, root: Path, tree: Path, tmp_path: Path) -> None:
    repository.log_artifacts(str(tree), "sub")
    (tmp_path / "out").mkdir()
    assert repository.download_artifacts("sub", str(tmp_path / "out")) == str(tmp_path / "out" / "sub")
    assert files_below(tmp_path / "out" / "sub") == files_below(tree)
    everything = Path(repository.download_artifacts(""))
    assert files_below(everything / "sub") == files_below(tree)


def test_downloading_what_is_not_there_says_so(repository: Any, tmp_path: Path) -> None:
    with pytest.raises(MlflowException, match="there is no such artifact") as caught:
        repository.download_artifacts("nope.txt", str(tmp_path))
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert isinstance(caught.value, errors.NotFoundError)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_download_directory_says_so(repository: Any, tmp_path: Path) -> None:
    with pytest.raises(MlflowException, match="it does not exist"):
        repository.download_artifacts("x", str(tmp_path / "nowhere"))


def test_delete(repository: Any, root: Path, tree: Path) -> None:
    repository.log_artifacts(str(tree), "a")
    repository.log_artifacts(str(tree), "b")
    repository.delete_artifacts("a/d0/deeper/file 0.bin")
    assert not (root / "a/d0/deeper/file 0.bin").exists()
    assert (root / "a/d0/deeper").is_dir()
    repository.delete_artifacts("a")
    assert not (root / "a").exists()
    assert files_below(root / "b") == files_below(tree)
    repository.delete_artifacts("a")
    repository.delete_artifacts()
    assert not root.exists()


def test_delete_removes_a_link_and_never_what_it_points_to(repository: Any, root: Path) -> None:
    (root / "kept").mkdir()
    (root / "kept" / "file").write_text("x")
    (root / "sub").mkdir()
    (root / "sub" / "link").symlink_to(root / "kept")
    (root / "alias").symlink_to(root / "kept")
    (root / "dangling").symlink_to(root / "nowhere")
    repository.delete_artifacts("alias")
    repository.delete_artifacts("dangling")
    repository.delete_artifacts("sub")
    assert files_below(root) == {"kept": None, "kept/file": b"x"}


def test_logging_again_after_the_directory_was_deleted(repository: Any, root: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    repository.log_artifact(str(tmp_path / "f"), "a/b")
    (root / "a/b/f").unlink()
    (root / "a/b").rmdir()
    (root / "a").rmdir()
    repository.log_artifact(str(tmp_path / "f"), "a/b")
    assert (root / "a/b/f").read_text() == "x"


@pytest.mark.parametrize("path", ["../out", "a/../../out", "/etc/x", "a/../b"])
def test_paths_that_leave_the_root_are_refused(
    repository: Any, root: Path, tmp_path: Path, path: str
) -> None:
    (tmp_path / "f").write_text("x")
    calls: list[Callable[[], object]] = [
        lambda: repository.log_artifact(str(tmp_path / "f"), path),
        lambda: repository.log_artifacts(str(tmp_path), path),
        lambda: repository.list_artifacts(path),
        lambda: repository.download_artifacts(path, str(tmp_path)),
        lambda: repository.delete_artifacts(path),
    ]
    for call in calls:
        with pytest.raises(MlflowException) as caught:
            call()
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    assert files_below(root) == {}


def test_mlflow_may_pass_the_root_itself_to_delete(repository: Any, root: Path) -> None:
    (root / "f").touch()
    repository.delete_artifacts(str(root))
    assert not root.exists()


def test_a_stream_is_stored(repository: Any, root: Path) -> None:
    repository.log_artifact_from_stream(io.BytesIO(pattern(3_000_001)), "s.bin", "sub")
    repository.log_artifact_from_stream(io.BytesIO(b""), "empty")
    assert (root / "sub/s.bin").read_bytes() == pattern(3_000_001)
    assert (root / "empty").read_bytes() == b""


def test_an_async_stream_is_stored(repository: Any, root: Path) -> None:
    data = pattern(2_500_000)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 77_777):
            yield data[start : start + 77_777]

    asyncio.run(repository.log_artifact_from_async_stream(chunks(), "a.bin", "x"))
    assert (root / "x/a.bin").read_bytes() == data


def test_a_stream_that_breaks_leaves_nothing_and_spares_the_old_file(repository: Any, root: Path) -> None:
    (root / "f").write_text("old")

    async def chunks() -> AsyncIterator[bytes]:
        yield pattern(2_000_000)
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        asyncio.run(repository.log_artifact_from_async_stream(chunks(), "f"))
    repository.list_artifacts()
    assert files_below(root) == {"f": b"old"}


def test_traces_and_attachments(repository: Any) -> None:
    with pytest.raises(MlflowTraceDataNotFound):
        repository.download_trace_data()
    repository.upload_trace_data('{"spans": []}')
    assert repository.download_trace_data() == {"spans": []}
    name = str(uuid.uuid4())
    repository.upload_attachment(name, b"picture")
    assert repository.download_trace_attachment(name) == b"picture"


def test_the_password_is_never_shown(server: SftpServer, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(server, monkeypatch)
    uri = server.uri(root).replace(f"{server.user}@", f"{server.user}:s3cr%40t@")
    shown = repr(repository_for(uri))
    assert "s3cr" not in shown
    assert ":***@" in shown


def test_nothing_is_connected_before_the_first_operation() -> None:
    repository_for("sftp://nobody@192.0.2.1:9/a")


def test_a_local_file_that_cannot_be_read_is_named(repository: Any, tmp_path: Path) -> None:
    with pytest.raises(MlflowException, match="missing") as caught:
        repository.log_artifact(str(tmp_path / "missing.txt"))
    assert isinstance(caught.value, errors.LocalError)


def test_log_artifacts_of_a_missing_directory_is_named(repository: Any, tmp_path: Path) -> None:
    with pytest.raises(MlflowException, match="missing"):
        repository.log_artifacts(str(tmp_path / "missing"))


def test_paths_given_as_path_objects(repository: Any, root: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("x")
    repository.log_artifacts(tmp_path / "d")
    assert os.listdir(root) == ["f"]


def test_names_that_are_not_utf8_are_listed_read_and_deleted(
    repository: Any, root: Path, tmp_path: Path
) -> None:
    """MLflow answers every listing as UTF-8: one such name made it an error for all of a run."""
    names = [b"caf\xe9", "\uf7e9".encode(), b"plain"]
    for name in names:
        Path(os.fsdecode(bytes(root) + b"/" + name)).write_bytes(name)
    listed = [entry.path for entry in repository.list_artifacts()]
    assert [path.encode() for path in listed] == sorted([b"caf\xef\x9f\xa9", *names[1:]])
    found = {Path(repository.download_artifacts(path, str(tmp_path))).read_bytes() for path in listed}
    assert found == set(names)
    repository.delete_artifacts(listed[0])
    assert len(os.listdir(root)) == 2
    (tmp_path / "all").mkdir()
    repository.download_artifacts("", str(tmp_path / "all"))
    assert sorted(os.listdir(bytes(tmp_path / "all"))) == sorted(os.listdir(bytes(root)))
