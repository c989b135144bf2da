from collections.abc import Callable

import pytest

from mlflow_sftp.errors import InvalidPathError, InvalidUriError, StorageError
from mlflow_sftp.location import Location
from mlflow_sftp.uri import Endpoint, SftpUri, decode, encode, redact


@pytest.mark.parametrize(
    ("uri", "endpoint", "path"),
    [
        ("sftp://u@h:2121/a/b", Endpoint("h", 2121, "u"), "/a/b"),
        ("sftp://h/a", Endpoint("h"), "/a"),
        ("sftp:///a", Endpoint("localhost"), "/a"),
        ("sftp://h", Endpoint("h"), "/"),
        ("sftp://h//a//b/", Endpoint("h"), "/a/b"),
        ("sftp://u:p%40ss@h/a", Endpoint("h", None, "u", "p@ss"), "/a"),
        ("sftp://do%5Cmain@h/a", Endpoint("h", None, "do\\main"), "/a"),
        ("sftp://[::1]:22/a", Endpoint("::1", 22), "/a"),
        ("sftp://h/a%20b%23c%25", Endpoint("h"), "/a b#c%"),
        ("sftp://h/a#b?c d", Endpoint("h"), "/a#b?c d"),
        ("sftp://h/new\nline\tx", Endpoint("h"), "/new\nline\tx"),
        ("sftp://h/\u00e9", Endpoint("h"), "/\u00e9"),
        ("sftp://h/%E9", Endpoint("h"), "/\udce9"),
    ],
)
def test_parse(uri: str, endpoint: Endpoint, path: str) -> None:
    parsed = SftpUri.parse(uri)
    assert parsed.endpoint == endpoint
    assert parsed.endpoint.password == endpoint.password
    assert parsed.path == path


@pytest.mark.parametrize(
    "uri", ["http://h/a", "/a", "sftp://h:x/a", "sftp://h:99999/a", "sftp://h/%00", "sftp://[::1"]
)
def test_what_cannot_be_used_is_refused(uri: str) -> None:
    with pytest.raises(InvalidUriError):
        SftpUri.parse(uri)


@pytest.mark.parametrize("uri", ["sftp://u:s3cret@h:port/a", "ftp://u:s3cret@h/a", "sftp://u:s3cret@h/a"])
def test_a_password_is_never_shown(uri: str) -> None:
    assert "s3cret" not in redact(uri)
    try:
        shown = f"{SftpUri.parse(uri)} {SftpUri.parse(uri)!r}"
    except InvalidUriError as error:
        shown = f"{error} {error!r}"
    assert "s3cret" not in shown


def test_a_uri_is_written_so_that_it_reads_back() -> None:
    uri = "sftp://u@h:22/a%20b%23%25%E9"
    assert str(SftpUri.parse(uri)) == uri
    assert SftpUri.parse(str(SftpUri.parse("sftp://h/x?y#z"))).path == "/x?y#z"


@pytest.mark.parametrize(
    ("relative", "path"),
    [
        (None, "/r"),
        ("", "/r"),
        (".", "/r"),
        ("a", "/r/a"),
        ("a//b/", "/r/a/b"),
        ("a/./b", "/r/a/b"),
        ("/r", "/r"),
    ],
)
def test_join(relative: str | None, path: str) -> None:
    assert SftpUri.parse("sftp://h/r").join(relative) == path


@pytest.mark.parametrize("relative", ["..", "../r", "a/..", "a/../..", "/", "/other", "/r/../x", "a\0b"])
def test_join_refuses_what_leaves_the_root(relative: str) -> None:
    with pytest.raises(InvalidPathError):
        SftpUri.parse("sftp://h/r").join(relative)


def test_bytes_survive() -> None:
    assert encode(decode(bytes(range(1, 256)))) == bytes(range(1, 256))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sftp://u:se/cret@h:22/p", "sftp://u:***@h:22/p"),
        ("sftp://u:p@w@h/p", "sftp://u:***@h/p"),
        ("sftp://h:22/a@b", "sftp://h:22/a@b"),
        ("sftp://[::1]:22/a@b", "sftp://[::1]:22/a@b"),
        ("from sftp://a:b@h/x to sftp://c:d@h/y", "from sftp://a:***@h/x to sftp://c:***@h/y"),
    ],
)
def test_passwords_are_hidden_however_they_are_spelled(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize("text", ["sftp://[::1/p", "sftp://h]/p", "sftp://[not]/p", "sftp://h\u2100/p"])
@pytest.mark.parametrize("parse", [SftpUri.parse, Location.parse])
def test_an_authority_that_is_none_is_refused_by_both_readers(
    parse: Callable[[str], object], text: str
) -> None:
    with pytest.raises(StorageError, match="is not a valid URI"):
        parse(text)


@pytest.mark.parametrize("text", ["sftp://h:x/p", "sftp://h:65536/p"])
@pytest.mark.parametrize("parse", [SftpUri.parse, Location.parse])
def test_a_port_that_is_none_is_named_as_such(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(StorageError, match="the port is not a number below 65536"):
        parse(text)


@pytest.mark.parametrize("text", ["sftp://h?x", "sftp://h%2Fx/p", "sftp://h%0A/p", "sftp://h%23/p"])
@pytest.mark.parametrize("parse", [SftpUri.parse, Location.parse])
def test_what_cannot_be_a_host_is_refused(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(StorageError, match="is no name of a host"):
        parse(text)
