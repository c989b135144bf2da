# SPDX-License-Identifier: GPL-3.0-or-later
"""Editing authorized_keys files as bytes, so that everything not asked for stays byte-identical.

Two formats: OpenSSH's, one key a line, and RFC 4716, one block a key, which ProFTPD's mod_sftp reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import PublicKey

OPENSSH = "openssh"
RFC4716 = "rfc4716"

_BEGIN = b"---- BEGIN SSH2 PUBLIC KEY ----"
_END = b"---- END SSH2 PUBLIC KEY ----"
_KEY_TYPE = re.compile(rb"(ssh|ecdsa|sk)-[\w@.-]+$")
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
# A field of a line: quoted parts may hold spaces, and quotes escaped by a backslash.
_FIELD = re.compile(rb'(?:"(?:\\.|[^"\\])*"|[^\s"])+')


@dataclass(frozen=True)
class Entry:
    """A piece of a file; all pieces together are the file.

    Attributes:
        text: The bytes, end of line included.
        blob: Base64 of the key it authorizes; None for comments, empty lines and what is not understood.
        options: Options in front of the key.
    """

    text: bytes
    blob: str | None = None
    options: str = ""

    @property
    def is_ignorable(self) -> bool:
        """Whether it is an empty line or a comment."""
        return self.blob is None and (not self.text.strip() or self.text.lstrip().startswith(b"#"))


@dataclass(frozen=True)
class WantedKey:
    """A key to authorize.

    Attributes:
        key: The key.
        comment: Written when the key is added; that of a key already there is kept.
        options: Options it must have; None for any.
    """

    key: PublicKey
    comment: str = ""
    options: str | None = None


def format_of(content: bytes, server_banner: str) -> str:
    """Tell which format a file has, or if it has none yet, which one the server reads."""
    if content.strip():
        return RFC4716 if _BEGIN in content else OPENSSH
    return RFC4716 if "mod_sftp" in server_banner else OPENSSH


def parse(content: bytes, file_format: str) -> list[Entry]:
    """Take a file apart."""
    return _parse_blocks(content) if file_format == RFC4716 else _parse_lines(content)


def blobs(content: bytes, file_format: str) -> set[str]:
    """Return the keys that a file authorizes."""
    return {entry.blob for entry in parse(content, file_format) if entry.blob}


def _parse_lines(content: bytes) -> list[Entry]:
    return [_parse_line(line) for line in _LINE.findall(content)]


def _parse_line(line: bytes) -> Entry:
    stripped = line.strip()
    if not stripped or stripped.startswith(b"#"):
        return Entry(line)
    fields = _FIELD.findall(stripped)
    for position in (0, 1):
        if len(fields) > position + 1 and _KEY_TYPE.match(fields[position]):
            options = b"".join(fields[:position]).decode("utf-8", "surrogateescape")
            return Entry(line, fields[position + 1].decode("ascii", "replace"), options)
    return Entry(line)


def _parse_blocks(content: bytes) -> list[Entry]:
    entries = []
    block: list[bytes] = []
    for line in _LINE.findall(content):
        if block or line.strip() == _BEGIN:
            block.append(line)
        else:
            entries.append(Entry(line))
        if line.strip() == _END and block:
            entries.append(Entry(b"".join(block), _blob_of_block(block)))
            block = []
    return [*entries, *(Entry(line) for line in block)]


def _blob_of_block(block: list[bytes]) -> str:
    body = b""
    in_header = False
    for line in block[1:-1]:
        text = line.strip()
        is_header = in_header or b":" in text
        # A header goes on in the next line after a backslash.
        in_header = is_header and text.endswith(b"\\")
        if not is_header:
            body += text
    return body.decode("ascii", "replace")


def add(content: bytes, file_format: str, wanted: WantedKey) -> bytes:
    """Return the content with a key in it; identical if it is there as wanted."""
    entries = parse(content, file_format)
    for position, entry in enumerate(entries):
        if entry.blob != wanted.key.blob:
            continue
        if wanted.options is None or file_format == RFC4716 or entry.options == wanted.options:
            return content
        entries[position] = Entry(_with_options(entry.text, entry.options, wanted.options))
        return b"".join(entry.text for entry in entries)
    text = _render(file_format, wanted)
    if content and not content.endswith(b"\n"):
        # Nor does the new last line end, so that `remove` can restore what was there.
        return content + b"\n" + text
    return content + text + b"\n"


def _with_options(line: bytes, old: str, new: str) -> bytes:
    rest = line.lstrip()[len(old.encode("utf-8", "surrogateescape")) :].lstrip()
    return f"{new} ".encode() + rest if new else rest


def _render(file_format: str, wanted: WantedKey) -> bytes:
    key = wanted.key
    if file_format == RFC4716:
        body = re.findall(".{1,70}", key.blob)
        comment = [f'Comment: "{wanted.comment[:60]}"'] if wanted.comment else []
        return "\n".join([_BEGIN.decode(), *comment, *body, _END.decode()]).encode()
    return " ".join(filter(None, [wanted.options, key.type, key.blob, wanted.comment])).encode()


def remove(content: bytes, file_format: str, blob: str) -> bytes:
    """Return the content without a key; identical if it is not there."""
    return _keep(content, file_format, lambda entry: entry.blob != blob)


def keep_only(content: bytes, file_format: str, blob: str) -> bytes:
    """Return the content without any other key; comments stay, what is not understood goes."""
    return _keep(content, file_format, lambda entry: entry.blob == blob or entry.is_ignorable)


def _keep(content: bytes, file_format: str, wanted: Callable[[Entry], bool]) -> bytes:
    entries = parse(content, file_format)
    kept = b"".join(entry.text for entry in entries if wanted(entry))
    if entries and not wanted(entries[-1]) and not content.endswith(b"\n"):
        return kept.removesuffix(b"\n")
    return kept
