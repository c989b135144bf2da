"""What becomes of a snapshot's files before they are brought back."""

import os
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.fetching import hand_over


def test_only_files_are_brought_back(tmp_path: Path) -> None:
    outside, top = tmp_path / "outside", tmp_path / "staging"
    (outside / "deep").mkdir(parents=True)
    (outside / "secret").write_text("secret")
    (top / "1" / "a").mkdir(parents=True)
    (top / "1" / "a" / "model.txt").write_text("model")
    (top / "1" / "file").symlink_to(outside / "secret")
    (top / "1" / "directory").symlink_to(outside)
    (top / "1" / "nowhere").symlink_to("nowhere")
    os.mkfifo(top / "1" / "a" / "pipe")
    hand_over(top, os.getuid(), os.getgid())
    left = {str(path.relative_to(top)) for path in top.rglob("*")}
    assert left == {"1", "1/a", "1/a/model.txt"}
    assert (outside / "secret").read_text() == "secret"
    assert (outside / "deep").is_dir()
