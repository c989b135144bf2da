# SPDX-License-Identifier: Apache-2.0
"""The event loop of this process, on a thread of its own; a forked child gets a new one.

It serves until the very end of the interpreter: exit handlers, threads that outlive the main one and MLflow's own
asynchronous logging may begin to use it then.
"""

import asyncio
import atexit
import contextlib
import functools
import os
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_EXIT_SECONDS = 2.0
_MOST_THREADS = min(32, (os.cpu_count() or 1) + 4)

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
# The ends of all work that has been started and has not ended.
_unfinished: set[threading.Event] = set()
_exit_callbacks: list[Callable[[], Awaitable[None]]] = []
_fork_callbacks: list[Callable[[], object]] = []
# A loop inherited by fork() shares its epoll descriptor with the parent: if the child ever closed it (as garbage
# collection does), the parent would lose its wake-ups. Held here, it and what lives on it are never collected.
_inherited: list[object] = []


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the event loop and wait for it; an interrupt cancels it and lets it clean up, for a while."""
    future, ended = _start(work)
    try:
        return future.result()
    except (KeyboardInterrupt, SystemExit):
        future.cancel()
        # The future is over with that, the work is not.
        ended.wait(_EXIT_SECONDS)
        raise


def submit(work: Coroutine[Any, Any, T]) -> "Future[T]":
    """Start a coroutine on the event loop and return its future."""
    return _start(work)[0]


def _start(work: Coroutine[Any, Any, T]) -> tuple["Future[T]", threading.Event]:
    ended = threading.Event()

    async def work_to_its_end() -> T:
        try:
            return await work
        finally:
            _unfinished.discard(ended)
            ended.set()

    running = loop()
    _unfinished.add(ended)
    return asyncio.run_coroutine_threadsafe(work_to_its_end(), running), ended


def loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop of this process, starting it on first use."""
    global _loop
    with _lock:
        if _loop is None:
            new = _new_loop()
            new.set_default_executor(_DaemonThreads())
            threading.Thread(target=new.run_forever, name="mlflow-sftp", daemon=True).start()
            _loop = new
        return _loop


def at_exit(callback: Callable[[], Awaitable[None]]) -> None:
    """Await `callback()` on the loop when the process ends, unless somebody still waits for work on it then."""
    _exit_callbacks.append(callback)


def after_fork(callback: Callable[[], object]) -> None:
    """Call `callback()` in every forked child; what it returns is kept alive, out of use."""
    _fork_callbacks.append(callback)


class _DaemonThreads(ThreadPoolExecutor):
    """Threads for what blocks (`asyncio.to_thread`, names to resolve), which take work as long as the loop does.

    The standard library's take none once the main thread has ended, and hold up the end until theirs is done.
    """

    def __init__(self) -> None:
        super().__init__(_MOST_THREADS)
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0
        self._starting = threading.Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        future: Future[T] = Future()
        self._provide_thread()
        self._work.put((future, functools.partial(fn, *args, **kwargs)))
        return future

    def _provide_thread(self) -> None:
        with self._starting:
            if self._idle.acquire(blocking=False) or self._count == _MOST_THREADS:
                return
            try:
                threading.Thread(target=self._serve, name="mlflow-sftp-worker", daemon=True).start()
            except RuntimeError:
                if not self._count:
                    raise
                return  # As many as the system allows.
            self._count += 1

    def _serve(self) -> None:
        while True:
            future, work = self._work.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)
            del future, work  # What they hold is not to live until the next ones come.
            self._idle.release()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _run_exit_callbacks() -> None:
    # MLflow's asynchronous logging may have registered before us and be flushed only after this.
    if _loop is None or _unfinished:
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
    _unfinished.clear()
    _lock = threading.Lock()
    _loop = None


atexit.register(_run_exit_callbacks)
os.register_at_fork(after_in_child=_reset_after_fork)
