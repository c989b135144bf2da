# SPDX-License-Identifier: GPL-3.0-or-later
"""Editing authorized_keys files as bytes, so that everything not asked for stays byte-identical.

Two formats: OpenSSH's, one key a line, and RFC 4716, one block a key, which ProFTPD's mod_sftp reads. A file may hold
both, for each kind of server passes over what it does not understand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import PublicKey

OPENSSH = "openssh"
RFC4716 = "rfc4716"

_BEGIN = b"---- BEGIN SSH2 PUBLIC KEY ----"
_END = b"---- END SSH2 PUBLIC KEY ----"
# Part of a server's greeting, in lower case, and what it reads.
_READ_BY = {"mod_sftp": RFC4716, "openssh": OPENSSH, "dropbear": OPENSSH}
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
        file_format: `OPENSSH` or `RFC4716`.
    """

    text: bytes
    blob: str | None = None
    options: str = ""
    file_format: str = OPENSSH

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


def formats_for(content: bytes, server_banner: str) -> tuple[str, ...]:
    """Tell in which formats a key must be in a file so that the server reads it.

    The server decides, as far as its greeting names it, then what is there; where neither tells, both do.
    """
    for name, file_format in _READ_BY.items():
        if name in server_banner.lower():
            return (file_format,)
    present = {entry.file_format for entry in parse(content) if entry.blob}
    return tuple(present) if len(present) == 1 else (OPENSSH, RFC4716)


def parse(content: bytes) -> list[Entry]:
    """Take a file apart."""
    entries: list[Entry] = []
    block: list[bytes] = []
    for line in _LINE.findall(content):
        if line.strip() == _BEGIN:
            # A block that does not end is none.
            entries += map(_parse_line, block)
            block = [line]
        elif block:
            block.append(line)
        else:
            entries.append(_parse_line(line))
        if line.strip() == _END and block:
            entries.append(Entry(b"".join(block), _blob_of_block(block), file_format=RFC4716))
            block = []
    return [*entries, *map(_parse_line, block)]


def blobs(content: bytes, formats: Sequence[str]) -> set[str]:
    """Return the keys that a file authorizes in some of the formats."""
    return {entry.blob for entry in parse(content) if entry.blob and entry.file_format in formats}


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
    """Return the content with a key in it in a format; identical if it is there as wanted."""
    entries = parse(content)
    for position, entry in enumerate(entries):
        if entry.blob != wanted.key.blob or entry.file_format != file_format or _is_misread(entry):
            continue
        if wanted.options is None or file_format == RFC4716 or entry.options == wanted.options:
            return content
        entries[position] = Entry(_with_options(entry.text, entry.options, wanted.options))
        return b"".join(entry.text for entry in entries)
    text = _render(file_format, wanted)
    if file_format == RFC4716 and any(entry.text.strip() == _BEGIN for entry in entries):
        # A block that does not end takes in what follows.
        return text + b"\n" + content
    if content and not content.endswith(b"\n"):
        # Nor does the new last line end, so that `remove` can restore what was there.
        return content + b"\n" + text
    return content + text + b"\n"


def _is_misread(entry: Entry) -> bool:
    """mod_sftp takes the carriage return for a part of the key."""
    return entry.file_format == RFC4716 and b"\r" in entry.text


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


def remove(content: bytes, blob: str) -> bytes:
    """Return the content without a key; identical if it is not there."""
    return _keep(content, lambda entry: entry.blob != blob)


def keep_only(content: bytes, blob: str) -> bytes:
    """Return the content without any other key; comments stay, what is not understood goes."""
    return _keep(content, lambda entry: entry.blob == blob or entry.is_ignorable)


def _keep(content: bytes, wanted: Callable[[Entry], bool]) -> bytes:
    entries = parse(content)
    kept = b"".join(entry.text for entry in entries if wanted(entry))
    if entries and not wanted(entries[-1]) and not content.endswith(b"\n"):
        return kept.removesuffix(b"\n")
    return kept
