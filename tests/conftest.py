"""Fixtures for every test of the project."""

import functools
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ansible.plugins.loader import init_plugin_loader

from tests.support.container import ContainerServer, DropbearContainer, OpensshContainer, ProftpdContainer
from tests.support.progress import Progress
from tests.support.servers import SERVERS
from tests.support.sshd import SshServer

_KINDS: dict[str, type[ContainerServer]] = {
    "openssh": OpensshContainer,
    "proftpd": ProftpdContainer,
    "dropbear": DropbearContainer,
}
_TESTS = Path(__file__).parent

# Before any module of the collection is imported: what Python alone has found, Ansible's finder cannot go on with.
init_plugin_loader([str(_TESTS.parent / ".ansible/collections")])

# Parameters that stand for a server or a database that is not this machine's own.
_FURTHER = {*_KINDS, *_KINDS.values(), *SERVERS, "openssh-10", "postgresql", "proxied"} - {"openssh-internal"}


# The terminal comes first.
@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    terminal = config.pluginmanager.getplugin("terminalreporter")
    # Workers have none.
    if terminal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress(terminal, bool(config.getoption("numprocesses", 0))))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    if config.getoption("dist") != "loadfile":
        return None
    # Where a test runs alone, pytest-xdist need not be there.
    from tests.support.spread import HeavyAndLight

    return HeavyAndLight(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        quick = item.path.is_relative_to(_TESTS / "unit") or item.path.is_relative_to(_TESTS / "lint")
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and not quick:
            values = item.callspec.params.values()
            if any(isinstance(value, str | type) and value in _FURTHER for value in values):
                item.add_marker(pytest.mark.full)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """What a test has printed or failed with may hold a name that is no UTF-8, which ends the run of pytest-xdist."""
    return _printable((yield))


def _printable(part: Any) -> Any:
    if isinstance(part, str):
        return part.encode(errors="backslashreplace").decode()
    if isinstance(part, dict):
        return {_printable(key): _printable(value) for key, value in part.items()}
    return type(part)(map(_printable, part)) if isinstance(part, list | tuple) else part


@pytest.fixture(autouse=True)
def environment_of_mlflow() -> Iterator[None]:
    """What a program that was run in this process, or MLflow itself, has set for MLflow ends with the test."""
    before = _of_mlflow()
    yield
    _restore(before)


@pytest.fixture(scope="module", autouse=True)
def uris_of_mlflow() -> Iterator[None]:
    """The server and the registry that MLflow in this process was told of are forgotten with the file that told it."""
    yield
    if mlflow := sys.modules.get("mlflow"):
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri("")
    # Not what was there before the file: a fixture of the whole session may have told it by then.
    _restore(_FROM_OUTSIDE)


def _restore(before: dict[str, str]) -> None:
    for name in _of_mlflow().keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _of_mlflow() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}


_FROM_OUTSIDE = _of_mlflow()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[SshServer]:
    """A running OpenSSH server for one test; see tests/support/sshd.py."""
    with SshServer(tmp_path / "server") as server:
        yield server


@pytest.fixture(scope="session")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ContainerServer]]:
    """Each kind of server in a container, started when first asked for; a test takes a `room()` of it."""
    with ExitStack() as running:

        @functools.cache
        def start(kind: str) -> ContainerServer:
            return running.enter_context(_KINDS[kind](tmp_path_factory.mktemp(kind) / "server"))

        yield start
