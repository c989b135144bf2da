"""The modules' SFTP client: right answers, and those that are none."""

import errno
import struct
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.client import (
    Attributes,
    FileSystem,
    GarbledError,
    SftpClient,
    WrongLengthError,
    shown,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.directory import (
    check_directory,
    space_error,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.files import (
    kind_of,
    missing_directories,
    move_over,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.wire import MalformedError

from tests.support.scripted_channel import (
    ATTRS,
    DATA,
    EXTENDED_REPLY,
    HANDLE,
    NAME,
    STATUS,
    Answer,
    ScriptedChannel,
    status,
    string,
)

_OPEN, _CLOSE, _READ, _WRITE, _LSTAT, _FSTAT, _OPENDIR, _READDIR = 3, 4, 5, 6, 7, 8, 11, 12
_MKDIR, _STAT, _RENAME, _READLINK, _EXTENDED = 14, 17, 18, 19, 200
_NOTHING = struct.pack(">I", 0)
_DIRECTORY = struct.pack(">II", 4, 0o40755)
_FILE = struct.pack(">II", 4, 0o100644)


def client(answer: Answer) -> tuple[SftpClient, ScriptedChannel]:
    channel = ScriptedChannel(answer)
    return SftpClient(channel, 1.0), channel  # type: ignore[arg-type]


def says(**answers: tuple[int, bytes] | None) -> Answer:
    """Answer requests by name; OK to those not named."""
    numbers = {name: globals()[f"_{name.upper()}"] for name in answers}
    by_number = {numbers[name]: answer for name, answer in answers.items()}
    return lambda kind, fields: by_number.get(kind, status(0))


def listing(*names: bytes, attributes: bytes = _NOTHING) -> Answer:
    """A directory that holds these names, all at once."""
    left = [
        (NAME, struct.pack(">I", len(names)) + b"".join(string(n) + string(b"") + attributes for n in names))
    ]

    def answer(kind: int, fields: bytes) -> tuple[int, bytes]:
        if kind == _OPENDIR:
            return HANDLE, string(b"h")
        if kind == _READDIR:
            return left.pop() if left else status(1)
        return status(0)

    return answer


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (2, "", FileNotFoundError),
        (4, "open /x: file does not exist", FileNotFoundError),
        (3, "No such file or directory", FileNotFoundError),
        (10, "", FileNotFoundError),
        (3, "", PermissionError),
        (4, "permission denied", PermissionError),
        (4, "File already exists", FileExistsError),
        (19, "", NotADirectoryError),
        (4, "x is not a directory", NotADirectoryError),
        (4, "", OSError),
        (4, "Failure", OSError),
        (1, "", OSError),
        (77, "\ufffd", OSError),
    ],
)
def test_refusals(code: int, text: str, expected: type[OSError]) -> None:
    sftp, _ = client(says(stat=status(code, text)))
    with pytest.raises(OSError, match=r".") as raised:
        sftp.stat("/x")
    assert type(raised.value) is expected


def test_status_without_text_and_with_text_that_is_no_utf8() -> None:
    for tail in (b"", string(b"\xff\xfe") + string(b"")):
        sftp, _ = client(says(mkdir=(STATUS, struct.pack(">I", 4) + tail)))
        with pytest.raises(OSError, match=r"."):
            sftp.mkdir("/x")


def test_what_is_not_told_is_unknown() -> None:
    sftp, _ = client(says(stat=(ATTRS, _NOTHING)))
    assert sftp.stat("/x") == Attributes(None, None, None)
    assert sftp.stat("/x").kind is None
    sftp, _ = client(says(stat=(ATTRS, struct.pack(">II", 4, 0o644))))
    assert (sftp.stat("/x").kind, sftp.stat("/x").permissions) == (None, 0o644)


MALFORMED: dict[str, tuple[Answer, Callable[[SftpClient], Any]]] = {
    "size cut short": (says(stat=(ATTRS, struct.pack(">II", 1, 0))), lambda sftp: sftp.stat("/x")),
    "no flags": (says(stat=(ATTRS, b"")), lambda sftp: sftp.stat("/x")),
    "a handle where attributes were due": (
        says(stat=(HANDLE, string(b"h"))),
        lambda sftp: sftp.stat("/x"),
    ),
    "only OK": (says(stat=status(0)), lambda sftp: sftp.stat("/x")),
    "attributes instead of a status": (says(mkdir=(ATTRS, _NOTHING)), lambda sftp: sftp.mkdir("/x")),
    "four billion extensions": (
        says(stat=(ATTRS, struct.pack(">II", 0x80000000, 0xFFFFFFFF))),
        lambda sftp: sftp.stat("/x"),
    ),
    "four billion names": (
        says(opendir=(HANDLE, string(b"h")), readdir=(NAME, b"\xff" * 4)),
        lambda sftp: sftp.entries("/x"),
    ),
    "a path for a name": (listing(b"../../etc"), lambda sftp: sftp.entries("/x")),
    "an empty name": (listing(b""), lambda sftp: sftp.entries("/x")),
    "NUL in a name": (listing(b"a\0b"), lambda sftp: sftp.entries("/x")),
    "nothing, for ever": (
        says(opendir=(HANDLE, string(b"h")), readdir=(NAME, _NOTHING)),
        lambda sftp: sftp.entries("/x"),
    ),
    "more than asked": (
        says(open=(HANDLE, string(b"h")), fstat=(ATTRS, _NOTHING), read=(DATA, string(bytes(32769)))),
        lambda sftp: list(sftp.read("/x")),
    ),
    "two names for one": (
        says(readlink=(NAME, struct.pack(">I", 2) + string(b"a"))),
        lambda sftp: sftp.readlink("/x"),
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_answers_that_are_none(name: str) -> None:
    answer, act = MALFORMED[name]
    sftp, _ = client(answer)
    with pytest.raises(MalformedError):
        act(sftp)


def test_answer_to_nothing_that_was_asked() -> None:
    sftp, channel = client(says(stat=(ATTRS, _NOTHING)))
    channel.extra.append(bytes([STATUS]) + struct.pack(">I", 4242) + status(0)[1])
    with pytest.raises(MalformedError, match="4242"):
        sftp.stat("/x")


@pytest.mark.parametrize("size", [0, 1 << 21, 0xFFFFFFFF])
def test_size_of_an_answer_is_bounded(size: int) -> None:
    sftp, channel = client(lambda kind, fields: None)
    channel.say_raw(struct.pack(">I", size))
    with pytest.raises(MalformedError):
        sftp.stat("/x")


def test_silence_ends() -> None:
    sftp, _ = client(lambda kind, fields: None)
    with pytest.raises(TimeoutError):
        sftp.stat("/x")


def test_text_instead_of_sftp() -> None:
    class Shell(ScriptedChannel):
        def sendall(self, packet: bytes) -> None:
            self.say_raw(b"Welcome to tajo!\r\n")

    with pytest.raises(GarbledError, match="Welcome to tajo!"):
        SftpClient(Shell(says()), 1.0)  # type: ignore[arg-type]


def test_names_that_are_not_utf8() -> None:
    sftp, _ = client(listing(b".", b"..", b"a\xff", "ü".encode()))
    assert [entry.name for entry in sftp.entries("/x")] == ["a\udcff", "ü"]
    assert shown("a\udcff") == r"a\xff"
    asked = []

    def answer(kind: int, fields: bytes) -> tuple[int, bytes]:
        asked.append(fields)
        return status(0)

    sftp, _ = client(answer)
    sftp.remove("/x/a\udcff")
    assert asked == [string(b"/x/a\xff")]


def file(content: bytes, *, size: int | None, most: int = 1 << 20) -> Answer:
    """A file whose size is told as `size`, read `most` bytes at a time."""

    def answer(kind: int, fields: bytes) -> tuple[int, bytes]:
        if kind == _OPEN:
            return HANDLE, string(b"h")
        if kind == _FSTAT:
            return ATTRS, _NOTHING if size is None else struct.pack(">IQ", 1, size)
        if kind == _READ:
            at, length = struct.unpack(">QI", fields[5:])
            data = content[at : at + min(length, most)]
            return (DATA, string(data)) if data else status(1)
        return status(0)

    return answer


@pytest.mark.parametrize("most", [7000, 32768, 1 << 20])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("length", [0, 1, 32768, 300_001])
def test_reading(most: int, known: bool, length: int) -> None:
    content = bytes(index * 7 % 251 for index in range(length))
    sftp, channel = client(file(content, size=length if known else None, most=most))
    assert b"".join(sftp.read("/x")) == content
    assert channel.requests[-1] == _CLOSE


@pytest.mark.parametrize("size", [9, 11])
def test_file_of_another_length_than_told(size: int) -> None:
    sftp, _ = client(file(b"0123456789", size=size))
    with pytest.raises(WrongLengthError):
        list(sftp.read("/x"))


def test_close_that_fails_is_a_failure_to_write() -> None:
    sftp, _ = client(says(open=(HANDLE, string(b"h")), close=status(14, "disk full")))
    with pytest.raises(OSError, match="disk full") as raised:
        sftp.create("/x", b"content")
    assert raised.value.errno == errno.ENOSPC


def test_write_that_fails_closes_the_file() -> None:
    sftp, channel = client(says(open=(HANDLE, string(b"h")), write=status(4)))
    with pytest.raises(OSError, match=r"."):
        sftp.create("/x", bytes(5_000_000))
    assert channel.requests[-1] == _CLOSE
    assert channel.requests.count(_WRITE) <= 33


def hides(*hidden: str, there: tuple[str, ...] = (), code: int = 3) -> Answer:
    """A server that refuses to be asked about some paths, and has some directories."""

    def answer(kind: int, fields: bytes) -> tuple[int, bytes]:
        path = fields[4:].decode()
        if path in hidden:
            return status(code)
        if kind == _STAT:
            return (ATTRS, _DIRECTORY) if path in there else status(2)
        return status(0)

    return answer


@pytest.mark.parametrize("code", [2, 3, 4])
def test_nothing_is_asked_about_directories_above(code: int) -> None:
    sftp, _ = client(hides("/", "/home", there=("/home/u",), code=code))
    assert missing_directories(sftp, "/home/u") == []
    assert missing_directories(sftp, "/home/u/a/b/") == ["/home/u/a", "/home/u/a/b"]
    sftp, channel = client(hides(there=("a",)))
    assert missing_directories(sftp, "a/b") == ["a/b"]
    assert missing_directories(sftp, "/") == missing_directories(sftp, "") == []
    assert channel.requests == [_STAT, _STAT]


def test_kind_that_is_not_told_is_asked_for_and_never_assumed() -> None:
    sftp, _ = client(says(lstat=(ATTRS, _FILE)))
    assert kind_of(sftp, "/x", Attributes()) == 0o100000
    sftp, _ = client(says(lstat=(ATTRS, _NOTHING)))
    with pytest.raises(OSError, match="does not tell"):
        kind_of(sftp, "/x", Attributes())


def test_replacing_without_the_extension_moves_the_old_file_aside() -> None:
    names = {"/new": 1, "/x": 2}

    def answer(kind: int, fields: bytes) -> tuple[int, bytes]:
        if kind == _EXTENDED:
            return status(8)
        if kind == _STAT:
            # It does not tell modes either.
            return (ATTRS, _NOTHING) if fields[4:].decode() in names else status(2)
        if kind == _RENAME:
            length = int.from_bytes(fields[:4], "big")
            old, new = fields[4 : 4 + length].decode(), fields[8 + length :].decode()
            if new in names:
                return status(4)
            names[new] = names.pop(old)
        else:
            del names[fields[4:].decode()]
        return status(0)

    sftp, _ = client(answer)
    assert not move_over(sftp, "/new", "/x")
    assert names == {"/x": 1}


def numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}Q", *values)


REFUSALS = {
    "unsupported": status(8, "Operation unsupported"),
    "failure": status(4),
    "not permitted": status(3),
    "end of file": status(1),
    "nothing but OK": status(0),
    "another kind of reply": (NAME, numbers(*range(11))),
    "too few numbers": (EXTENDED_REPLY, numbers(4096, 4096)),
}


def directory(answer: tuple[int, bytes]) -> SftpClient:
    """A client of a server that has every directory, and one answer to statvfs."""
    return client(
        says(stat=(ATTRS, _DIRECTORY), opendir=(HANDLE, string(b"h")), readdir=status(1), extended=answer)
    )[0]


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
def test_a_server_that_cannot_tell_free_space_is_no_failure(answer: tuple[int, bytes]) -> None:
    sftp = directory(answer)
    assert sftp.statvfs("/a") is None
    assert check_directory(sftp, "/a") == "/a"
    assert space_error(sftp, "/a") is None


def test_free_space() -> None:
    sftp = directory((EXTENDED_REPLY, numbers(512, 4096, 9, 8, 1000000, 7, 6, 5, 0, 1, 255)))
    assert sftp.statvfs("/a") == FileSystem(free=4096000000, free_inodes=5, read_only=True)
    assert check_directory(sftp, "/a") == "/a, 4.1 GB free"


def test_a_directory_that_is_listed_is_there_whatever_else_is_refused() -> None:
    sftp, _ = client(
        says(stat=status(3), opendir=(HANDLE, string(b"h")), readdir=status(1), extended=status(8))
    )
    assert check_directory(sftp, "/a") == "/a"
