"""Where trials and shards run: processes of this host, or dask's workers. Both call the same functions."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from distributed import Client, Security

Item = TypeVar("Item")
Done = TypeVar("Done")

# Each holds MLflow and scikit-learn, 300 MB: a memory limit of 2 GB bears as many.
LOCAL_PROCESSES = 4
CONNECT_SECONDS = 20
WORKER_SECONDS = 60


class NoEngineError(Exception):
    """There is nothing to compute with: what was seen, what to do."""


class LostWorkersError(Exception):
    """Workers that had a task were lost again and again, or the scheduler that knew what they had."""


class Engine(Protocol):
    """Calls a function for many items, beside each other."""

    def completed(self, function: Callable[[Item], Done], items: Sequence[Item]) -> Iterator[Done]:
        """Yield what `function` returns for each item, the first to be ready first.

        Function, items and results are pickled. The first that raises ends all.

        Raises:
            LostWorkersError: an item's process was lost, with dask again and again or with the scheduler.
        """


class LocalEngine:
    """Processes of this host."""

    def completed(self, function: Callable[[Item], Done], items: Sequence[Item]) -> Iterator[Done]:
        # A forked process would go on with this one's connections.
        pool = ProcessPoolExecutor(
            min(len(items), os.cpu_count() or 1, LOCAL_PROCESSES), multiprocessing.get_context("spawn")
        )
        try:
            for future in as_completed([pool.submit(function, item) for item in items]):
                yield future.result()
        except BrokenProcessPool:
            raise LostWorkersError(
                "a process that this one had started was killed. Most often memory was short: give the service more "
                "(mlflow_stack_memory_limits), or use --engine dask, which repeats what a lost worker had"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class DaskEngine:
    """Workers of a dask scheduler, which gives what a lost worker had to another one."""

    def __init__(self, client: "Client", scheduler: str) -> None:
        self._client = client
        self._scheduler = scheduler

    def completed(self, function: Callable[[Item], Done], items: Sequence[Item]) -> Iterator[Done]:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker
        from distributed import as_completed as completed

        futures = self._client.map(function, items, pure=False)
        try:
            for _, done in completed(futures, loop=self._client.loop, with_results=True):
                # In place of a result, where nobody else has cancelled anything.
                if isinstance(done, CancelledError):
                    raise LostWorkersError(
                        f"the scheduler was lost ({self._scheduler}), and with it what workers had. "
                        "Begin again once it runs: docker compose ps dask-scheduler, or on a swarm docker service ps "
                        "with the service's name, shows it"
                    )
                yield done
        except KilledWorker as error:
            raise LostWorkersError(
                f"{error.allowed_failures + 1} workers were lost with the same task, the last at "
                f"{error.last_worker.address}. Most often memory was short: look at the log of dask-worker, and give "
                "it more (mlflow_stack_memory_limits)"
            ) from None
        finally:
            self._client.cancel(futures)


@contextmanager
def engine(name: str, scheduler: str | None) -> Iterator[Engine]:
    """Yield the engine of this name, ready to compute.

    Raises:
        NoEngineError: the scheduler cannot be used, or has no workers.
    """
    if name == "local":
        yield LocalEngine()
        return
    address = scheduler or ""
    with _connected(address) as client:
        yield DaskEngine(client, address)


@contextmanager
def _connected(scheduler: str) -> "Iterator[Client]":
    import logging

    from distributed import Client

    # What it has to tell of a failure, the exception tells. Dask gives the second a level of its own.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        # What it would refuse, a client that is half made complains of once more when it goes.
        security = _security(scheduler)
        client = Client(scheduler, timeout=CONNECT_SECONDS, security=security, set_as_default=False)
    except (OSError, ValueError) as error:
        raise NoEngineError(
            f"cannot use the scheduler at {scheduler}: {_seen(error)}\n"
            "check that it runs (docker compose ps dask-scheduler; on a swarm, docker service ps with the service's "
            "name), that the address is right (tls://host:8786), and that dask's configuration names a certificate of "
            "the same authority (DASK_CONFIG; the stack's services have it)"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKER_SECONDS)
        except TimeoutError:
            raise NoEngineError(
                f"the scheduler at {scheduler} has no workers\n"
                "start them, or see why they do not join: docker compose logs dask-worker; on a swarm, docker service "
                "logs with the service's name"
            ) from None
        yield client


def _security(scheduler: str) -> "Security":
    """Return what dask's configuration says of certificates; ValueError or OSError where that does not do."""
    from distributed import Security

    security = Security()
    scheme = scheduler.partition("://")[0]
    if scheme not in ("tls", "tcp"):
        raise ValueError("that is no address of a scheduler")
    if scheme == "tcp" and security.require_encryption:
        raise ValueError("dask's configuration requires encryption, and the address is none with tls://")
    if scheme == "tls" and security.get_connection_args("client").get("ssl_context") is None:
        raise ValueError("dask's configuration names no certificate")
    return security


def _seen(error: BaseException) -> str:
    """The innermost cause, which names the certificate or the connection."""
    texts = [f"{type(error).__name__}: {error}"]
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
        if str(error):
            texts.append(f"{type(error).__name__}: {error}")
    return texts[0] if len(texts) == 1 else f"{texts[0]} ({texts[-1]})"
