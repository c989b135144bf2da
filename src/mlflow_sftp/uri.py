# SPDX-License-Identifier: Apache-2.0
"""sftp://[user[:password]@][host][:port]/absolute/path, percent-decoded."""

import posixpath
import re
from dataclasses import dataclass, field, replace
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from mlflow_sftp.errors import InvalidPathError, InvalidUriError

_ENCODING = ("utf-8", "surrogateescape")
# Also one that holds a "/", which should have been escaped; but 22/a@b is a port and a path.
_PASSWORD = re.compile(r"(?<=://)([^/@:\[\s]*):(?:[^/\s]*@|(?!\d*(?:[/\s]|$))[^@\s]*@)")
_NO_HOST = re.compile(r"[?#/\s%]")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect; what is None comes from the OpenSSH client configuration."""

    host: str
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"{user}{host}{port}"


@dataclass(frozen=True, slots=True)
class SftpUri:
    """A place on an SFTP server. `path` is absolute, as the server shows it; bytes that are not UTF-8 survive
    in it as surrogate escapes."""

    endpoint: Endpoint
    path: str

    @classmethod
    def parse(cls, uri: str) -> "SftpUri":
        """Read a URI; InvalidUriError says what is wrong with it and never shows the password.

        A raw "#" or "?" is part of the path: artifact names may hold them and SFTP has neither query nor fragment.
        """
        scheme, authority, raw_path = split(uri)
        if scheme != "sftp":
            raise InvalidUriError("parse", "", f"{redact(uri)} does not start with sftp://")
        path = _decode(raw_path) or "/"
        if "\0" in path:
            raise InvalidUriError("parse", "", f"the path of {redact(uri)} holds a NUL character")
        endpoint = authority or Endpoint("")
        if not endpoint.host:
            endpoint = replace(endpoint, host="localhost")
        return cls(endpoint, posixpath.normpath("/" + path.lstrip("/")))

    def __str__(self) -> str:
        return f"sftp://{self.endpoint}{quote_from_bytes(encode(self.path))}"

    def join(self, relative: str | None) -> str:
        """Return the absolute path of `relative` below this place.

        InvalidPathError for what would leave it: "..", absolute paths, NUL. The place itself (None, "", ".") and
        its own absolute path, which MLflow passes when it deletes a run, are accepted.
        """
        if not relative or relative == self.path:
            return self.path
        if relative.startswith("/"):
            raise InvalidPathError(
                "use the artifact path " + repr(relative), str(self.endpoint), "it is absolute"
            )
        if ".." in relative.split("/") or "\0" in relative:
            seen = "it leaves the artifact root" if ".." in relative else "it holds a NUL character"
            raise InvalidPathError("use the artifact path " + repr(relative), str(self.endpoint), seen)
        return posixpath.normpath(posixpath.join(self.path, relative))


def encode(path: str) -> bytes:
    """Return the bytes SFTP carries for a path."""
    return path.encode(*_ENCODING)


def decode(path: bytes) -> str:
    """Inverse of `encode`."""
    return path.decode(*_ENCODING)


def split(uri: str) -> tuple[str, Endpoint | None, str]:
    """Cut a URI into its scheme, its authority, decoded, and its path, as spelled.

    The one reader of authorities, for `SftpUri` and for `Location`. Without "//" there is no authority; a host may
    be "". All that follows the authority is path, "?" and "#" too. Raises InvalidUriError, which never shows the
    password.
    """
    scheme, _, rest = uri.lstrip().partition(":")
    if not rest.startswith("//"):
        return scheme.lower(), None, rest
    authority, slash, path = rest[2:].partition("/")
    # urlsplit would end the authority at the first two, and drop the others.
    escaped = "".join(
        f"%{ord(character):02X}" if character in "?#\t\r\n" else character for character in authority
    )
    try:
        parts = urlsplit(f"{scheme}://{escaped}")
    except ValueError as error:
        raise InvalidUriError("parse", "", f"{redact(uri)} is not a valid URI: {error}") from None
    try:
        port = parts.port
    except ValueError:
        seen = f"{redact(uri)}: the port is not a number below 65536"
        raise InvalidUriError("parse", "", seen) from None
    host = _decode(parts.hostname or "")
    if _NO_HOST.search(host):
        raise InvalidUriError("parse", "", f"{redact(uri)}: {host!r} is no name of a host")
    endpoint = Endpoint(
        host=host,
        port=port,
        user=_decode(parts.username) if parts.username else None,
        password=_decode(parts.password) if parts.password else None,
    )
    return scheme.lower(), endpoint, slash + path


def redact(text: str) -> str:
    """Return a URI, or a text that holds some, with every password in it replaced by ***."""
    return _PASSWORD.sub(r"\1:***@", text)


def _decode(text: str) -> str:
    return decode(unquote_to_bytes(text.encode(*_ENCODING)))
