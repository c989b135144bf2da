# SPDX-License-Identifier: Apache-2.0
"""What the statuses of the world mean in those of SFTP version 3.

Servers answer a client of version 3 with the finer statuses of later versions, and those in front of object stores or
Windows with a plain failure and words. This is the one place where that is understood.
"""

import re

_NO_SUCH_FILE, _PERMISSION_DENIED, _FAILURE = 2, 3, 4
# Of versions 4 to 6: no such path, write protection; a file in the place of a directory, an invalid name.
_LATER = {10: _NO_SUCH_FILE, 12: _PERMISSION_DENIED}
_LAST_OF_VERSION_3 = 8
_THING = r"(?:file|directory|folder|path|object|key)"
_WORDS = (
    (_PERMISSION_DENIED, r"permission denied|access (?:is )?denied|not permitted|read-only file system"),
    (
        _NO_SUCH_FILE,
        rf"no such {_THING}|cannot find the {_THING}|{_THING}(?: or {_THING})? (?:was |is |could )?not (?:be )?found"
        rf"|{_THING} (?:does not|doesn't) exist|nosuchkey",
    ),
)
_COMPILED = [(code, re.compile(words, re.IGNORECASE)) for code, words in _WORDS]


def standard_code(code: int, words: str) -> int:
    """Return the status of version 3 that a server means by a status and its words."""
    if code in _LATER:
        return _LATER[code]
    if code != _FAILURE and code <= _LAST_OF_VERSION_3:
        return code
    return next((meant for meant, pattern in _COMPILED if pattern.search(words)), _FAILURE)
