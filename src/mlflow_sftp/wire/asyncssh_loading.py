# SPDX-License-Identifier: Apache-2.0
"""Loading asyncssh in two thirds of the time, which every program that uses the store begins with.

asyncssh looks for two optional libraries as it is imported, and for each name Python's `find_library` starts
ldconfig, the C compiler and the linker. What is installed stands in the dynamic linker's own cache.
"""

import contextlib
import ctypes
import ctypes.util
import gc
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_CACHE = Path("/etc/ld.so.cache")


def load_asyncssh() -> None:
    """Import asyncssh, unless somebody has done so already."""
    if "asyncssh" in sys.modules:
        return
    with _without_compiler(), _without_garbage_collection():
        import asyncssh  # noqa: F401  # for those who import it next


@contextlib.contextmanager
def _without_compiler() -> Iterator[None]:
    """Have this thread's `find_library` answer from the linker's cache, where there is one and nothing overrides it."""
    try:
        cache = b"" if os.environ.get("LD_LIBRARY_PATH") else _CACHE.read_bytes()
    except OSError:
        cache = b""
    if not cache:
        yield
        return
    thread, original = threading.get_ident(), ctypes.util.find_library

    def find(name: str) -> str | None:
        return find_in_cache(cache, name) if threading.get_ident() == thread else original(name)

    ctypes.util.find_library = find
    try:
        yield
    finally:
        ctypes.util.find_library = original


def find_in_cache(cache: bytes, name: str) -> str | None:
    """Return the file name of a shared library that this process can load, None where the cache has none."""
    pattern = rb"[\0/](lib" + re.escape(name.encode()) + rb"\.so\.[0-9.]+)\0"
    for found in dict.fromkeys(re.findall(pattern, cache)):
        with contextlib.suppress(OSError):  # It may be of another architecture.
            ctypes.CDLL(found.decode())
            return str(found.decode())
    return None


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Do not look for garbage while thousands of objects are made that all stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
