import pickle

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode

from mlflow_sftp import errors
from mlflow_sftp.mlflow_plugin.exceptions import MlflowSftpError, as_mlflow

_KINDS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SftpError)
]


@pytest.mark.parametrize("kind", _KINDS)
def test_every_error_becomes_mlflows_with_its_code(kind: type[errors.SftpError]) -> None:
    original = kind("upload a", "u@h:22", "it broke.", "Mend it.")
    translated = as_mlflow(original)
    assert isinstance(translated, MlflowException)
    assert isinstance(translated, MlflowSftpError)
    assert isinstance(translated, kind)
    assert translated.error_code == kind.error_code
    assert kind.error_code in ErrorCode.keys()  # noqa: SIM118  # a protobuf enum, not a mapping
    assert str(translated) == str(original)
    assert "it broke" in str(original)
    assert "Mend it." in str(original)


def test_errors_survive_pickling() -> None:
    error = as_mlflow(errors.NotFoundError("read x", "u@h", "there is nothing"))
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.error_code) == (type(error), str(error), error.error_code)


def test_a_subclass_of_our_own_is_translated_as_its_public_base() -> None:
    class HiddenError(errors.NotFoundError):
        pass

    assert isinstance(as_mlflow(HiddenError("a", "b", "c")), errors.NotFoundError)
