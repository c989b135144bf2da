import pickle
from collections.abc import Callable

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


def test_the_first_error_is_not_hidden_by_one_of_cleaning_up(caplog: pytest.LogCaptureFixture) -> None:
    def work(first: Exception | None, second: Exception | None) -> None:
        try:
            if first is not None:
                raise first
        finally:
            with errors.first_error_kept():
                if second is not None:
                    raise second

    with pytest.raises(ValueError, match="first"):
        work(ValueError("first"), OSError("second"))
    assert "second" in caplog.text
    with pytest.raises(OSError, match="second"):
        work(None, OSError("second"))
    work(None, None)


def test_a_command_that_cannot_clean_up_says_what_went_wrong_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from mlflow_sftp.cli import files

    def fail(what: str) -> Callable[..., None]:
        def raising(*_: object) -> None:
            raise errors.UnreachableError(what, "sftp.example", "the line is down")

        return raising

    monkeypatch.setattr(files.SftpStorage, "connect", lambda _: {})
    monkeypatch.setattr(files.SftpStorage, "upload", fail("write the probe"))
    monkeypatch.setattr(files.SftpStorage, "remove", fail("delete the probe"))
    said = CliRunner().invoke(files.check_command, ["sftp://sftp.example/x"])
    assert said.exit_code == 1
    assert "Cannot write the probe" in said.output
