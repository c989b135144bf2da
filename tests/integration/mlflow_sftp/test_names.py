"""Names that other stores lose, and links that lead nowhere, around or out."""

import os
from pathlib import Path
from typing import Any

import pytest

from mlflow_sftp.errors import InvalidPathError
from mlflow_sftp.storage import SftpStorage
from tests.support.server import SftpServer
from tests.support.storing import files_below, pattern, settings_for

_NAMES = [
    "with space",
    " leading and trailing ",
    "ünïcödé-NFC-\u00e9",
    "NFD-e\u0301",
    "日本語",
    "100%",
    "%2F",
    "a#b",
    "a?b=c&d",
    "a:b",
    "~",
    "~root",
    "new\nline",
    "tab\t",
    "back\\slash",
    "-rf",
    ".hidden",
    "'quote\"",
    "$HOME `id` *",
    "x" * 255,
    "...",
]


def _bytes_below(directory: Path) -> dict[bytes, bytes]:
    top = os.fsencode(directory)
    return {
        os.path.relpath(os.path.join(parent, name), top): Path(
            os.fsdecode(os.path.join(parent, name))
        ).read_bytes()
        for parent, _, names in os.walk(top)
        for name in names
    }


def test_names_survive_both_ways(storage: SftpStorage, root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in _NAMES:
        (source / name).mkdir(parents=True)
        (source / name / name).write_text(name)
    storage.upload_tree(str(source))
    assert _bytes_below(root) == _bytes_below(source)
    assert {entry.path for entry in storage.list_directory() or []} == set(_NAMES)
    storage.download_tree("", str(tmp_path / "back"))
    assert _bytes_below(tmp_path / "back") == _bytes_below(source)
    for name in _NAMES:
        storage.download(f"{name}/{name}", str(tmp_path / "one"))
        assert (tmp_path / "one").read_text() == name
        assert storage.remove(f"{name}/{name}")
    assert _bytes_below(root) == {}


def test_bytes_that_are_not_utf8_are_kept_as_given(storage: SftpStorage, root: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"latin-\xe9\xff")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / name).write_text("x")
    storage.upload_tree(str(tmp_path / "s"))
    assert os.listdir(os.fsencode(root)) == [b"latin-\xe9\xff"]
    storage.download_tree("", str(tmp_path / "back"))
    assert os.listdir(os.fsencode(tmp_path / "back")) == [b"latin-\xe9\xff"]


def test_the_path_in_the_uri_is_percent_decoded(server: SftpServer, root: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    SftpStorage(server.uri(root) + "/a%20b%23c%25d", settings_for(server)).upload(str(tmp_path / "f"), "f")
    assert (root / "a b#c%d" / "f").read_text() == "x"


def test_a_path_deeper_than_anyone_needs(storage: SftpStorage, root: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    deep = "/".join(["d" * 100] * 20)
    storage.upload(str(tmp_path / "f"), f"{deep}/f")
    assert (root / deep / "f").read_text() == "x"


def test_empty_directories_survive_both_ways(storage: SftpStorage, root: Path, tmp_path: Path) -> None:
    (tmp_path / "s" / "a" / "b").mkdir(parents=True)
    storage.upload_tree(str(tmp_path / "s"))
    assert files_below(root) == {"a": None, "a/b": None}
    storage.download_tree("", str(tmp_path / "back"))
    assert files_below(tmp_path / "back") == {"a": None, "a/b": None}


def test_local_links_are_followed_and_broken_ones_left_out(
    storage: SftpStorage, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "s"
    (source / "d").mkdir(parents=True)
    (source / "d" / "f").write_text("x")
    (source / "file-link").symlink_to(source / "d" / "f")
    (source / "dir-link").symlink_to(source / "d")
    (source / "dangling").symlink_to(source / "nowhere")
    (source / "loop").symlink_to(source / "loop")
    (source / "d" / "up").symlink_to(source)
    os.mkfifo(source / "pipe")
    storage.upload_tree(str(source))
    assert files_below(root) == {
        "d": None,
        "d/f": b"x",
        "dir-link": None,
        "dir-link/f": b"x",
        "file-link": b"x",
    }
    for name in ("dangling", "loop", "up", "pipe"):
        assert name in caplog.text


def test_links_on_the_server(storage: SftpStorage, root: Path, tmp_path: Path) -> None:
    (root / "d").mkdir()
    (root / "d" / "f").write_text("hello")
    (root / "file-link").symlink_to("d/f")
    (root / "dir-link").symlink_to("d")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    (root / "d" / "up").symlink_to("..")
    shown = {entry.path: (entry.is_directory, entry.size) for entry in storage.list_directory() or []}
    assert {name: kind for name, (kind, _) in shown.items()} == {
        "d": True,
        "dir-link": True,
        "file-link": False,
    }
    assert shown["file-link"][1] == 5
    storage.download_tree("", str(tmp_path / "back"))
    back = files_below(tmp_path / "back")
    assert {name for name in back if name.endswith("f")} >= {"d/f", "dir-link/f"}
    assert back["file-link"] == b"hello"
    assert len(back) < 20


def test_directory_links_in_a_circle_end(storage: SftpStorage, root: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (root / name).mkdir()
        (root / name / "over").symlink_to(root / other)
    assert len(list(storage.walk())) < 10


def test_links_do_not_lead_out_of_the_root(server: SftpServer, root: Path, tmp_path: Path) -> None:
    inside, outside = root / "inside", root / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("s")
    (inside / "file").symlink_to(outside / "secret")
    (inside / "dir").symlink_to(outside)
    storage = SftpStorage(server.uri(inside), settings_for(server))
    (tmp_path / "f").write_text("x")
    assert storage.list_directory() == []
    calls: list[Any] = [
        lambda: storage.download("file", str(tmp_path / "out")),
        lambda: storage.download("dir/secret", str(tmp_path / "out")),
        lambda: storage.list_directory("dir"),
        lambda: storage.upload(str(tmp_path / "f"), "dir/f"),
        lambda: storage.remove("dir/secret"),
    ]
    for call in calls:
        with pytest.raises(InvalidPathError, match="leads out of"):
            call()
    assert files_below(outside) == {"secret": b"s"}


def test_a_root_that_is_itself_a_link_works(server: SftpServer, root: Path, tmp_path: Path) -> None:
    (root / "real").mkdir()
    (root / "alias").symlink_to("real")
    (tmp_path / "f").write_text("x")
    storage = SftpStorage(server.uri(root / "alias"), settings_for(server))
    storage.upload(str(tmp_path / "f"), "d/f")
    assert [entry.path for entry in storage.walk()] == ["d", "d/f"]
    assert (root / "real" / "d" / "f").read_text() == "x"


def test_a_root_link_that_is_repointed_leads_to_the_new_place(
    server: SftpServer, root: Path, tmp_path: Path
) -> None:
    for place in ("old", "new"):
        (root / place / "run").mkdir(parents=True)
        (root / place / "run" / "f").write_text(place)
    (root / "alias").symlink_to("old")
    (tmp_path / "f").write_text("x")
    storage = SftpStorage(server.uri(root / "alias"), settings_for(server))
    storage.upload(str(tmp_path / "f"), "run/before")
    (root / "alias").unlink()
    (root / "alias").symlink_to("new")
    storage.download("run/f", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "new"
    storage.upload(str(tmp_path / "f"), "run/after")
    storage.upload(str(tmp_path / "f"), "run2/after")
    assert sorted(files_below(root / "new")) == ["run", "run/after", "run/f", "run2", "run2/after"]


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_a_known_directory_that_became_a_link_out_of_the_root_is_not_followed(
    server: SftpServer, root: Path, tmp_path: Path, size: int
) -> None:
    inside, outside = root / "inside", root / "outside"
    for directory in (inside, outside / "artifacts"):
        directory.mkdir(parents=True)
    (tmp_path / "f").write_bytes(pattern(size))
    storage = SftpStorage(server.uri(inside), settings_for(server))
    storage.upload(str(tmp_path / "f"), "run/artifacts/one")
    (inside / "run").rename(root / "moved")
    (inside / "run").symlink_to(outside)
    with pytest.raises(InvalidPathError, match="leads out of"):
        storage.upload(str(tmp_path / "f"), "run/artifacts/two")
    with (tmp_path / "f").open("rb") as stream, pytest.raises(InvalidPathError, match="leads out of"):
        storage.upload_stream(stream, "run/artifacts/three")
    assert [name for name in files_below(outside) if not name.endswith(".part")] == ["artifacts"]
