"""Asking for free space: what servers answer that advertise statvfs and cannot do it."""

import errno
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.directory import (
    check_directory,
    space_error,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.session import FileSystem, SftpClient
from paramiko.sftp import CMD_EXTENDED_REPLY, CMD_NAME, CMD_STATUS


class Client(SftpClient):
    """A client whose server answers one thing to statvfs, and has every directory."""

    def __init__(self, answer: Any, closed: bool = False) -> None:
        self.sock = SimpleNamespace(closed=closed)
        self._answer = answer

    def _request(self, *arguments: Any) -> tuple[int, paramiko.Message]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def stat(self, path: str) -> paramiko.SFTPAttributes:
        return paramiko.SFTPAttributes()

    def listdir_iter(self, path: str = ".", read_aheads: int = 50) -> Any:
        return iter(())


def numbers(*values: int) -> paramiko.Message:
    """A reply, as it is after its request's number was read."""
    message = paramiko.Message()
    message.add_int(1)
    for value in values:
        message.add_int64(value)
    message.rewind()
    message.get_int()
    return message


REFUSALS = {
    "unsupported": OSError("Operation unsupported"),
    "failure": OSError("Failure"),
    "not permitted": OSError(errno.EACCES, "Permission denied"),
    "end of file": EOFError("End of file"),
    "nothing but OK": (CMD_STATUS, numbers()),
    "another kind of reply": (CMD_NAME, numbers(*range(11))),
    "too few numbers": (CMD_EXTENDED_REPLY, numbers(4096, 4096)),
}


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
def test_a_server_that_cannot_tell_is_no_failure(answer: Any) -> None:
    assert Client(answer).statvfs("/a") is None
    assert check_directory(Client(answer), "/a") == "/a"
    assert space_error(Client(answer), "/a") is None


def test_numbers() -> None:
    client = Client((CMD_EXTENDED_REPLY, numbers(512, 4096, 9, 8, 1000000, 7, 6, 5, 0, 1, 255)))
    assert client.statvfs("/a") == FileSystem(free=4096000000, free_inodes=5, read_only=True)
    assert check_directory(client, "/a") == "/a, 4.1 GB free"


@pytest.mark.parametrize(
    "error", [EOFError(), OSError("Socket is closed"), TimeoutError(), paramiko.SSHException("dropped")]
)
def test_a_broken_connection_is_not_taken_for_a_refusal(error: Exception) -> None:
    with pytest.raises(type(error)):
        Client(error, closed=True).statvfs("/a")
