"""What other code may rely on: the names of `mlflow_sftp`, and docs/data-plane.md that describes them."""

import re
from importlib.metadata import version
from pathlib import Path

import mlflow_sftp
from mlflow_sftp import errors, storage

_PAGE = Path(__file__).parents[3] / "docs" / "data-plane.md"


def test_the_face_is_this() -> None:
    """A name that goes, or comes by accident, is seen here."""
    family = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    family = {name for name in family if issubclass(getattr(errors, name), errors.StorageError)}
    assert set(mlflow_sftp.__all__) == family | {"Entry", "Settings", "SftpStorage", "__version__"}
    assert len(mlflow_sftp.__all__) == len(set(mlflow_sftp.__all__))
    assert dir(mlflow_sftp) == sorted(mlflow_sftp.__all__)


def test_each_name_is_what_it_says() -> None:
    assert mlflow_sftp.SftpStorage is storage.SftpStorage
    assert mlflow_sftp.Entry is storage.Entry
    assert mlflow_sftp.__version__ == version("mlflow-sftp")
    for name in mlflow_sftp.__all__:
        assert getattr(mlflow_sftp, name) is not None
    assert not hasattr(mlflow_sftp, "Remote")


def test_every_error_has_one_base_and_a_cause_of_its_own() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    causes = {
        kind("artifacts_differ", "seen").cause for kind in kinds if issubclass(kind, errors.RoundTripError)
    }
    causes |= {kind("seen").cause for kind in kinds if not issubclass(kind, errors.RoundTripError)}
    assert all(issubclass(kind, errors.StorageError) for kind in kinds)
    assert len(causes) == len(kinds)
    assert errors.NotFoundError("read x", "u@h", "gone").cause == "not_found"
    assert errors.RoundTripError("artifacts_differ", "seen").cause == "artifacts_differ"


def test_the_page_documents_exactly_the_face() -> None:
    section = _PAGE.read_text().partition("\n## The public face\n")[2].partition("\n## ")[0]
    assert section
    rows = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)
    assert sorted(rows) == sorted(mlflow_sftp.__all__)


def test_the_page_documents_every_method_of_the_storage() -> None:
    section = _PAGE.read_text().partition("\n## The public face\n")[2].partition("\n## ")[0]
    public = [name for name in vars(mlflow_sftp.SftpStorage) if not name.startswith("_")]
    assert [name for name in public if f"`{name}" not in section and f".{name}(" not in section] == []
