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
_exit_callbacks: list[Callable[[], Awaitable[None]]] = []
_fork_callbacks: list[Callable[[], object]] = []
# A loop inherited by fork() shares its epoll descriptor with the parent: if the child ever closed it (as garbage
# collection does), the parent would lose its wake-ups. Held here, it and what lives on it are never collected.
_inherited: list[object] = []


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the event loop and wait for it; an interrupt cancels it."""
    future = asyncio.run_coroutine_threadsafe(work, loop())
    try:
        return future.result()
    except (KeyboardInterrupt, SystemExit):
        future.cancel()
        with contextlib.suppress(CancelledError, TimeoutError, Exception):
            future.result(_EXIT_SECONDS)
        raise


def loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop of this process, starting it on first use."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = _new_loop()
            threading.Thread(target=_loop.run_forever, name="mlflow-sftp", daemon=True).start()
        return _loop


def at_exit(callback: Callable[[], Awaitable[None]]) -> None:
    """Await `callback()` on the loop when the process ends."""
    _exit_callbacks.append(callback)


def after_fork(callback: Callable[[], object]) -> None:
    """Call `callback()` in every forked child; what it returns is kept alive, out of use."""
    _fork_callbacks.append(callback)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _run_exit_callbacks() -> None:
    if _loop is None:
        return
    for callback in _exit_callbacks:
        future = asyncio.run_coroutine_threadsafe(_as_coroutine(callback), _loop)
        with contextlib.suppress(Exception):
            future.result(_EXIT_SECONDS)


async def _as_coroutine(callback: Callable[[], Awaitable[None]]) -> None:
    await callback()


def _reset_after_fork() -> None:
    global _lock, _loop
    _inherited.append(_loop)
    _inherited.extend(callback() for callback in _fork_callbacks)
    _lock = threading.Lock()
    _loop = None


atexit.register(_run_exit_callbacks)
os.register_at_fork(after_in_child=_reset_after_fork)
