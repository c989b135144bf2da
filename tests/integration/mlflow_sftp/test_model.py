"""Random sequences of operations against a model of the tree: a dictionary of paths to contents."""

import posixpath
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from mlflow_sftp.storage import SftpStorage
from tests.support.server import SftpServer
from tests.support.sshd import SshServer
from tests.support.storing import files_below, settings_for

_NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=12
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)
_CONTENTS = st.one_of(st.binary(max_size=200), st.integers(0, 255).map(lambda byte: bytes([byte]) * 300_000))


class StoreMachine(RuleBasedStateMachine):
    """Uploads, downloads, lists and removes; the server's tree must always be the model's."""

    paths: Bundle[str] = Bundle("paths")
    server: SftpServer

    @initialize()
    def start(self) -> None:
        self.local = Path(tempfile.mkdtemp())
        self.root = Path(tempfile.mkdtemp(dir=self.server.root))
        self.storage = SftpStorage(self.server.uri(self.root), settings_for(self.server))
        self.model: dict[str, bytes | None] = {}

    @rule(target=paths, path=_PATHS)
    def name(self, path: str) -> str:
        return path

    @rule(path=paths, content=_CONTENTS)
    def upload(self, path: str, content: bytes) -> None:
        if self._blocked(path):
            return
        (self.local / "file").write_bytes(content)
        self.storage.upload(str(self.local / "file"), path)
        self._add_parents(path)
        self.model[path] = content

    @rule(path=paths, contents=st.dictionaries(_NAMES, _CONTENTS, max_size=3))
    def upload_tree(self, path: str, contents: dict[str, bytes]) -> None:
        targets = {posixpath.join(path, name): content for name, content in contents.items()}
        if self._blocked(path, directory=True) or any(self._blocked(target) for target in targets):
            return
        tree = self.local / "tree"
        tree.mkdir()
        for name, content in contents.items():
            (tree / name).write_bytes(content)
        self.storage.upload_tree(str(tree), path)
        shutil.rmtree(tree)
        self._add_parents(posixpath.join(path, "x"))
        self.model |= targets

    @rule(path=paths)
    def remove(self, path: str) -> None:
        there = path in self.model
        assert self.storage.remove(path) is there
        self.model = {
            each: content
            for each, content in self.model.items()
            if each != path and not each.startswith(f"{path}/")
        }

    @rule(path=paths)
    def stat(self, path: str) -> None:
        found = self.storage.stat(path)
        assert (found is not None) == (path in self.model)
        if found is not None and (content := self.model[path]) is not None:
            assert found.size == len(content)

    @rule(path=paths)
    def list_directory(self, path: str) -> None:
        entries = self.storage.list_directory(path)
        if path not in self.model:
            assert entries is None
        elif self.model[path] is not None:
            assert entries == []
        else:
            children = {each for each in self.model if posixpath.dirname(each) == path}
            assert {posixpath.join(path, entry.path) for entry in entries or []} == children

    @rule(path=paths)
    def download(self, path: str) -> None:
        content = self.model.get(path)
        if content is not None:
            self.storage.download(path, str(self.local / "back"))
            assert (self.local / "back").read_bytes() == content

    @rule()
    def download_everything(self) -> None:
        target = self.local / "all"
        self.storage.download_tree("", str(target))
        assert files_below(target) == self.model
        shutil.rmtree(target)

    @rule()
    def restart_the_server(self) -> None:
        self.server.restart()

    @invariant()
    def the_server_has_what_the_model_has(self) -> None:
        if hasattr(self, "model"):
            assert files_below(self.root) == self.model

    def teardown(self) -> None:
        if hasattr(self, "local"):
            shutil.rmtree(self.local)

    def _blocked(self, path: str, *, directory: bool = False) -> bool:
        """Tell whether a file is in the way of a directory, or the other way round."""
        above = {path[:index] for index, character in enumerate(path) if character == "/"}
        if any(self.model.get(each) is not None for each in above):
            return True
        return path in self.model and (self.model[path] is None) != directory

    def _add_parents(self, path: str) -> None:
        while path := posixpath.dirname(path):
            self.model.setdefault(path, None)


def test_any_sequence_of_operations(mortal: SftpServer) -> None:
    class Machine(StoreMachine):
        server = mortal

    case = Machine.TestCase
    # A container takes a second to restart.
    examples = 12 if isinstance(mortal, SshServer) else 3
    case.settings = settings(
        max_examples=examples, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
    )
    case().runTest()
