# SPDX-License-Identifier: Apache-2.0
"""Stores in which two names are one: by case (vfat, NTFS, macOS), or by Unicode form (macOS, some NAS)."""

import unicodedata
from contextlib import suppress
from typing import NamedTuple

from mlflow_sftp.stores.base import ABOUT_ONE_FILE, FileProblemError
from mlflow_sftp.stores.open_store import Store
from mlflow_sftp.transfer import temporary_names

_REFUSED = (FileProblemError, *ABOUT_ONE_FILE)
# One name in two spellings each.
_CASES = ("x", "X")
_FORMS = ("\u00e9", "e\u0301")


class Folding(NamedTuple):
    """Whether a store takes names for one that differ in case, or in Unicode form."""

    case: bool
    form: bool

    def key(self, path: str) -> str:
        """Return what is the same for all paths that are one there."""
        if path.isascii():
            return path.lower() if self.case else path
        if self.form:
            path = unicodedata.normalize("NFD", path)
        if self.case:
            path = path.casefold()
        return unicodedata.normalize("NFD", path) if self.form else path


ANY = Folding(case=True, form=True)
NONE = Folding(case=False, form=False)


async def find_out(store: Store) -> Folding:
    """Try it in a directory that is made and removed again; NONE where none can be made."""
    scratch = temporary_names.temporary()
    try:
        await store.make_directory(scratch)
        return Folding(await _is_one(store, scratch, *_CASES), await _is_one(store, scratch, *_FORMS))
    except _REFUSED:
        return NONE
    finally:
        for name in (_CASES[0], _FORMS[0], ""):
            with suppress(*_REFUSED):
                await store.remove_directory(f"{scratch}/{name}".rstrip("/"))


async def _is_one(store: Store, directory: str, one: str, other: str) -> bool:
    await store.make_directory(f"{directory}/{one}")
    return await store.kind(f"{directory}/{other}") is not None
