# SPDX-License-Identifier: Apache-2.0
"""The event loop of this process, on a thread of its own; a forked child gets a new one."""

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

T = TypeVar("T")
_EXIT_SECONDS = 2.0

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_at_end: list[Callable[[], Awaitable[None]]] = []
_in_child: list[Callable[[], object]] = []
# A loop inherited by fork() shares its epoll descriptor with the parent: if the child ever closed it (as garbage
# collection does), the parent would lose its wake-ups. Held here, it and what lives on it are never collected.
_inherited: list[object] = []


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and wait for it; an interrupt cancels it."""
    future = asyncio.run_coroutine_threadsafe(work, loop())
    try:
        return future.result()
    except (KeyboardInterrupt, SystemExit):
        future.cancel()
        with contextlib.suppress(CancelledError, TimeoutError, Exception):
            future.result(_EXIT_SECONDS)
        raise


def loop() -> asyncio.AbstractEventLoop:
    """Return the running background loop of this process, starting it on first use."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = _new_loop()
            threading.Thread(target=_loop.run_forever, name="mlflow-sftp", daemon=True).start()
        return _loop


def at_process_end(farewell: Callable[[], Awaitable[None]]) -> None:
    """Await `farewell()` on the loop when the process ends."""
    _at_end.append(farewell)


def in_forked_child(forget: Callable[[], object]) -> None:
    """Call `forget()` in every forked child; what it returns is kept alive, out of use."""
    _in_child.append(forget)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _say_goodbye() -> None:
    if _loop is None:
        return
    for farewell in _at_end:
        future = asyncio.run_coroutine_threadsafe(_await(farewell), _loop)
        with contextlib.suppress(Exception):
            future.result(_EXIT_SECONDS)


async def _await(farewell: Callable[[], Awaitable[None]]) -> None:
    await farewell()


def _forget_parent() -> None:
    global _lock, _loop
    _inherited.append(_loop)
    _inherited.extend(forget() for forget in _in_child)
    _lock = threading.Lock()
    _loop = None


atexit.register(_say_goodbye)
os.register_at_fork(after_in_child=_forget_parent)
