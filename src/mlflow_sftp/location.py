# SPDX-License-Identifier: Apache-2.0
"""Artifact locations as MLflow writes them: reading, comparing and re-spelling them.

MLflow percent-decodes a plain local path just as it does a `file:` URI, so `/p/a%20b` is the directory
`a b`. It does not decode `mlflow-artifacts:` paths on the server, while its client does through HTTP: only
names that need no encoding mean the same to both.
"""

import re
from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import quote, unquote, urlsplit

from mlflow_sftp.errors import InvalidUriError, LocationError
from mlflow_sftp.uri import Endpoint, redact, split

StoreKind = Literal["local", "sftp", "mlflow-artifacts"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_KINDS: dict[str, StoreKind] = {"file": "local", "sftp": "sftp", "mlflow-artifacts": "mlflow-artifacts"}
_DEFAULT_PORTS = {"sftp": 22, "http": 80, "https": 443}
# How MLflow's proxy is reached without its own scheme, perhaps below a prefix.
_PROXY_OVER_HTTP = re.compile(r"(?:/.*)?/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts(?=/|$)")
# To us, as to MLflow, a location with one is suspect; to SFTP it is a part of the path.
_QUERY = re.compile(r"[?#].*", re.DOTALL)
# What RFC 3986 allows unescaped in a path.
PATH_SAFE = "/!$&'()*+,;=:@~"


@dataclass(frozen=True)
class Location:
    """One place where artifacts are kept.

    `parts` are the decoded names below the root of the file system, the SFTP server or the proxy; `raw_parts`
    the same names as spelled, or None where the spelling cannot be cut at the same places (`%2F`).
    """

    text: str
    kind: StoreKind
    scheme: str
    parts: tuple[str, ...]
    raw_parts: tuple[str, ...] | None
    user: str | None = None
    host: str | None = None
    port: int | None = None
    absolute: bool = True
    has_query: bool = False

    @classmethod
    def parse(cls, text: str, working_directory: str | None = None) -> Self:
        """Read a plain path, `file:`, `sftp:` or `mlflow-artifacts:` location, or the URL of a proxied one.

        `working_directory` is where relative local paths start (the MLflow server's); without it they stay
        relative. Raises LocationError for any other scheme or a malformed authority.
        """
        if not text or "\0" in text:
            raise LocationError("an artifact location is empty or holds a NUL character")
        if _SCHEME.match(text) is None:
            return cls._local(text, "", text, working_directory)
        scheme = text.partition(":")[0].lower()
        if scheme in ("http", "https"):
            return cls._proxied_url(text)
        kind = _KINDS.get(scheme)
        if kind is None:
            raise LocationError(f"{redact(text)}: the scheme {scheme}: is not one this tool moves")
        if kind == "local":
            return cls._file_uri(text, working_directory)
        return cls._remote(text, kind)

    @classmethod
    def _file_uri(cls, text: str, working_directory: str | None) -> Self:
        try:
            uri = urlsplit(text)
        except ValueError as error:
            raise LocationError(f"{redact(text)} is not a valid URI: {error}") from error
        if uri.netloc not in ("", "localhost"):
            raise LocationError(f"{text}: a file: URI with the host {uri.netloc} is not a local path")
        location = cls._local(text, "file", uri.path, working_directory)
        return cls(**{**location.__dict__, "has_query": _has_query(text)})

    @classmethod
    def _local(cls, text: str, scheme: str, path: str, working_directory: str | None) -> Self:
        absolute = path.startswith("/")
        if not absolute and working_directory is not None:
            path = f"{quote(working_directory, safe=PATH_SAFE)}/{path}"
            absolute = True
        parts, raw_parts = _split_path(path)
        return cls(text, "local", scheme, parts, raw_parts, absolute=absolute)

    @classmethod
    def _proxied_url(cls, text: str) -> Self:
        location = cls._remote(text, "mlflow-artifacts", _PROXY_OVER_HTTP)
        if location.host is None:
            raise LocationError(f"{redact(text)}: the URL names no host")
        return location

    @classmethod
    def _remote(cls, text: str, kind: StoreKind, root: re.Pattern[str] | None = None) -> Self:
        """Read a URI; with `root`, the path begins after what that matches."""
        try:
            scheme, authority, path = split(text)
        except InvalidUriError as error:
            raise LocationError(error.seen) from error
        if root is not None:
            begin = root.match(path)
            if begin is None:
                raise LocationError(f"{redact(text)} is not the URL of an artifact that MLflow serves")
            path = path[begin.end() :]
        endpoint = authority or Endpoint("")
        parts, raw_parts = _split_path(_QUERY.sub("", path))
        return cls(
            text,
            kind,
            scheme,
            parts,
            raw_parts,
            user=endpoint.user,
            host=endpoint.host or None,
            port=endpoint.port,
            has_query=_has_query(text),
        )

    @property
    def climbs(self) -> bool:
        """Whether the path holds `..`, so that its names do not say where it leads."""
        return ".." in self.parts

    @property
    def path(self) -> str:
        """The decoded path: absolute, except for a relative local location."""
        joined = "/".join(self.parts)
        return f"/{joined}" if self.absolute else joined or "."

    def is_under(self, root: "Location") -> bool:
        """Whether this is `root` or below it; names are compared whole, so /mlruns2 is not under /mlruns."""
        return self._same_tree(root) and self._same_endpoint(root)

    def below(self, root: "Location") -> str | None:
        """The names from `root` to here, joined by "/"; None where this is elsewhere or its path climbs."""
        if self.climbs or not self.is_under(root):
            return None
        return "/".join(self.parts[len(root.parts) :])

    def may_be_under(self, root: "Location") -> bool:
        """Whether the path says yes, and user, port or name of a proxy say no: elsewhere, or another spelling.

        One MLflow server has many names, and `mlflow-artifacts:/` is whichever the client talks to.
        """
        same_host = self.host == root.host or self.kind == "mlflow-artifacts"
        return self._same_tree(root) and not self._same_endpoint(root) and same_host

    def _same_tree(self, root: "Location") -> bool:
        names = normal_parts(self.parts)
        return (
            self.kind == root.kind
            and self.absolute == root.absolute
            and names[: len(root.parts)] == normal_parts(root.parts)
        )

    def _same_endpoint(self, root: "Location") -> bool:
        same_user = None in (self.user, root.user) or self.user == root.user
        return same_user and self.host == root.host and self._effective_port == root._effective_port

    @property
    def _effective_port(self) -> int | None:
        return self.port or _DEFAULT_PORTS.get(self.scheme)

    def spelled_below(self, root: "Location", new_root: "Location") -> str:
        """This location's text once `root` is `new_root`; raises LocationError where no text can mean it."""
        if self.climbs:
            raise LocationError("the path holds '..'")
        if self.has_query:
            raise LocationError("the URI has a query or fragment")
        base = new_root.text.rstrip("/")
        if base.endswith(":"):  # "mlflow-artifacts:/" is a root whose slash belongs to it
            base += "/"
        tail = self._tail(len(root.parts), new_root)
        if not tail:
            return base or "/"
        return f"{base.rstrip('/')}/{tail}"

    def _tail(self, skip: int, new_root: "Location") -> str:
        names = self.parts[skip:]
        if new_root.kind == "mlflow-artifacts":
            return _proxied(names)
        # The same encoding on both sides: keep every character as it was spelled.
        if self.raw_parts is not None and _encoding(self) == _encoding(new_root):
            return "/".join(self.raw_parts[skip:])
        if new_root.scheme == "":
            return "/".join(name.replace("%", "%25") for name in names)
        return "/".join(quote(name, safe=PATH_SAFE) for name in names)


def parse_root(text: str, working_directory: str | None = None) -> Location:
    """Read a root given by an operator; raises LocationError where re-rooting from or to it is unsafe."""
    root = Location.parse(text, working_directory)
    if root.climbs or root.has_query:
        raise LocationError(f"{redact(text)}: a root must not hold '..', a query or a fragment")
    if root.kind == "sftp" and root.host is None:
        raise LocationError(text, "name the host, as in sftp://user@host:port/path")
    if root.kind == "local" and not root.parts:
        raise LocationError(f"{text}: the whole file system cannot be an artifact root")
    return root


def normal_parts(parts: tuple[str, ...]) -> tuple[str, ...]:
    """The names after following `..`, as a reader of the path would."""
    names: list[str] = []
    for part in parts:
        if part != "..":
            names.append(part)
        elif names:
            names.pop()
    return tuple(names)


def _split_path(path: str) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    raw_parts = _names(path)
    parts = _names(unquote(path))
    aligned = tuple(unquote(raw) for raw in raw_parts) == parts
    return parts, raw_parts if aligned else None


def _names(path: str) -> tuple[str, ...]:
    return tuple(name for name in path.split("/") if name not in ("", "."))


def _has_query(text: str) -> bool:
    return "?" in text or "#" in text


def _encoding(location: Location) -> str:
    return {"": "plain", "mlflow-artifacts": "proxied"}.get(location.scheme, "uri")


def _proxied(names: tuple[str, ...]) -> str:
    path = "/".join(names)
    for character in "%#?":
        if character in path:
            raise LocationError(f"MLflow's proxy cannot serve a path with '{character}'")
    return path
