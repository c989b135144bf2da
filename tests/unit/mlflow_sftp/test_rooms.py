"""The rooms of the package: which may import which, and what each pulls in that costs or is not everywhere."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mlflow_sftp

_ROOT = Path(mlflow_sftp.__file__).parent
# From the ground up: a file uses its own room and those below. What lies in no room is on the floor it is named on.
_FLOORS = (
    ("errors",),
    ("settings", "uri", "event_loop", "maintenance_server", "light_import"),
    ("location", "__init__"),
    ("wire",),
    ("transfer",),
    ("stores", "database", "storage"),
    ("operations",),
    ("monitor",),
    ("cli", "mlflow_plugin"),
    ("__main__",),
)
_FLOOR_OF = {room: number for number, rooms in enumerate(_FLOORS) for room in rooms}
_FILES = {
    ".".join(path.relative_to(_ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in _ROOT.rglob("*.py")
}
_MAY_IMPORT_MLFLOW = (
    "mlflow_plugin.",
    "operations.artifact_removal",
    "operations.database_copy.schema",
    "operations.database_migration",
    "operations.database_schema",
    "operations.entities",
    "operations.garbage",
    "operations.login",
    "operations.login_schema",
    "operations.purge",
    "operations.read_back",
    "operations.round_trip",
)


def imports(path: Path, *, when_loaded: bool = False) -> set[str]:
    """Dotted names of what a file imports, anywhere in it or only on its top level; `a.b` for `from a import b`."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    for node in tree.body if when_loaded else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports(path: Path, *, when_loaded: bool = False) -> set[str]:
    """Files of the package that a file imports."""
    found = set()
    for name in imports(path, when_loaded=when_loaded):
        parts = name.removeprefix("mlflow_sftp.").split(".") if name.startswith("mlflow_sftp") else []
        prefixes = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
        found |= set([prefix for prefix in prefixes if prefix in _FILES][:1])
    return found


def room(name: str) -> str:
    return name.partition(".")[0]


def test_no_import_circle() -> None:
    """Of what is imported when a file is loaded; a type alone may look up."""
    order = TopologicalSorter({name: own_imports(path, when_loaded=True) for name, path in _FILES.items()})
    assert set(order.static_order()) == set(_FILES)


@pytest.mark.parametrize("name", sorted(set(_FILES) - {"__init__"}))
def test_no_room_uses_a_higher_one(name: str) -> None:
    higher = {used for used in own_imports(_FILES[name]) if _FLOOR_OF[room(used)] > _FLOOR_OF[room(name)]}
    assert not higher


@pytest.mark.parametrize("name", sorted(_FILES))
def test_mlflow_is_imported_by_those_alone_who_need_it(name: str) -> None:
    if not name.startswith(_MAY_IMPORT_MLFLOW):
        assert not [used for used in imports(_FILES[name]) if used.partition(".")[0] == "mlflow"]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import mlflow_sftp", ("asyncssh", "mlflow", "sqlalchemy", "click", "importlib.metadata")),
        ("import mlflow_sftp.mlflow_plugin.entry_point", ("asyncssh", "mlflow", "sqlalchemy")),
        ("import mlflow_sftp.cli.main", ("asyncssh", "mlflow", "sqlalchemy", "asyncio", "rich")),
        ("import mlflow_sftp.cli.files", ("mlflow", "sqlalchemy")),
        ("import mlflow_sftp.cli.copy", ("mlflow", "sqlalchemy")),
        ("import mlflow_sftp.cli.info", ("mlflow", "sqlalchemy")),
        ("import mlflow_sftp.cli.round_trip", ("sqlalchemy",)),
        ("import mlflow_sftp.cli.audit", ("mlflow",)),
        ("import mlflow_sftp.cli.relocate", ("mlflow",)),
        ("import mlflow_sftp.cli.restore", ("mlflow",)),
        ("import mlflow_sftp.cli.monitor", ("asyncssh", "mlflow", "sqlalchemy")),
        ("import mlflow_sftp.monitor.server_check", ("asyncssh", "mlflow", "sqlalchemy", "click")),
    ],
)
def test_what_is_not_needed_is_not_loaded(statement: str, absent: tuple[str, ...]) -> None:
    code = f"import sys; {statement}; print(*(name for name in {absent!r} if name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
