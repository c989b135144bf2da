"""Which names MLflow's local store cannot read, by asking that store."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.utils.uri import validate_path_is_safe

from mlflow_sftp.stores.mlflow_names import is_readable_locally

NAMES = st.text(
    st.characters(exclude_characters="\0", exclude_categories=("Cs",))
    | st.sampled_from("%#?;:&=@ \\4125aA~"),
    min_size=1,
    max_size=12,
).map(lambda text: "/".join(part for part in text.split("/") if part not in ("", ".", "..")) or "x")


def mlflow_keeps(path: str) -> bool:
    try:
        return validate_path_is_safe(path) == path
    except (MlflowException, ValueError):
        return False


@given(NAMES)
@example("a#b")
@example("50%25.txt")
@example("50%.txt")
@example("what?")
@example("a;")
@example("file:/x")
@example("FILE:x")
@example("c:/x")
@example("x:")
@example("a\x17b")
@example("http://[x")
def test_it_is_as_mlflow_says(path: str) -> None:
    assert is_readable_locally(f"1/2/artifacts/{path}") == mlflow_keeps(path)


@pytest.mark.parametrize(
    ("name", "readable"),
    [("with space.txt", True), ("ünïcödé", True), ("50%.txt", True), ("a#b", False), ("50%2525", False)],
)
def test_it_is_as_the_store_does(name: str, readable: bool, tmp_path: Path) -> None:
    (tmp_path / "stored").mkdir()
    (tmp_path / "stored" / name).write_text("content")
    store = LocalArtifactRepository(str(tmp_path / "stored"))
    (tmp_path / "read").mkdir()
    if readable:
        assert Path(store.download_artifacts(name, str(tmp_path / "read"))).read_text() == "content"
    else:
        with pytest.raises(MlflowException):
            store.download_artifacts(name, str(tmp_path / "read"))
    assert is_readable_locally(f"1/2/artifacts/{name}") is readable


def test_what_is_above_the_artifacts_does_not_matter() -> None:
    assert is_readable_locally("odd name %41#/1/artifacts/plain.txt")
    assert is_readable_locally("a#b")
