"""The rooms of module_utils: which may import which, and what the modules that run anywhere are made of."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

_PLUGINS = Path(__file__).parents[3] / "plugins"
_UTILS = "ansible_collections.freegee.mlflow_sftp.plugins.module_utils"
# A room may use those before it, never those behind it.
_ROOMS = (
    "_diagnosis",
    "_docker",
    "_keys",
    "_sshd",
    "_sftp",
    "_mlflow",
    "_users",
    "_inputs",
    "_stack",
    "_swarm",
    "_cutover",
    "_backup",
    "_tidy",
    "_rotation",
)
_FILES = {
    ".".join(path.relative_to(_PLUGINS / "module_utils").with_suffix("").parts): path
    for path in (_PLUGINS / "module_utils").rglob("*.py")
}
# Their code must run wherever a container or host has paramiko.
_SFTP_FILES = {
    **{
        name: path
        for name, path in _FILES.items()
        if name.partition(".")[0] in ("_diagnosis", "_keys", "_sftp")
    },
    **{path.stem: path for path in (_PLUGINS / "modules").glob("sftp_*.py")},
}


def imports(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name} imports relatively"
            module = str(node.module)
            within = (
                {f"{module}.{alias.name}" for alias in node.names} if module.startswith(_UTILS) else set()
            )
            # A name in a file, or a file in a room.
            found |= {name for name in within if name.removeprefix(f"{_UTILS}.") in _FILES} or {module}
    return found


def own_imports(path: Path) -> set[str]:
    """Names in `_FILES` that a file imports."""
    found = {name.removeprefix(f"{_UTILS}.") for name in imports(path) if name.startswith(_UTILS)}
    assert found <= _FILES.keys()
    return found


def test_no_circles() -> None:
    list(TopologicalSorter({name: own_imports(path) for name, path in _FILES.items()}).static_order())


@pytest.mark.parametrize("name", sorted(name for name in _FILES if "." in name))
def test_rooms_use_only_those_before_them(name: str) -> None:
    allowed = _ROOMS[: _ROOMS.index(name.partition(".")[0]) + 1]
    assert {used.partition(".")[0] for used in own_imports(_FILES[name])} <= set(allowed)


@pytest.mark.parametrize("name", sorted(_FILES))
def test_utilities_know_nothing_of_ansible(name: str) -> None:
    assert not {used for used in imports(_FILES[name]) if used.partition(".")[0] == "ansible"}


@pytest.mark.parametrize("name", sorted(_SFTP_FILES))
def test_modules_named_sftp_need_nothing_but_paramiko(name: str) -> None:
    packages = {used.partition(".")[0] for used in imports(_SFTP_FILES[name])}
    # cryptography is what paramiko itself is made of.
    libraries = {"ansible", "ansible_collections", "cryptography", "paramiko"}
    assert packages - sys.stdlib_module_names <= libraries
    assert "_mlflow" not in {used.partition(".")[0] for used in own_imports(_SFTP_FILES[name])}
