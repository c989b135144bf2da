"""Images of a name that several stacks of a host run."""

import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import record as records
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import (
    UpgradeRecord,
    Version,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy import images
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.on_host import OnHost

LABEL = "freegee.mlflow_sftp.owner"


def compose(image: str) -> str:
    return f"services:\n  mlflow:\n    image: {image}\n"


def archive(path: Path, image: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        content = compose(image).encode()
        member = tarfile.TarInfo("compose.yml")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


class Engine:
    """An engine that has something of some stacks, and images."""

    def __init__(self, directories: dict[str, list[str]], images: list[dict[str, Any]]) -> None:
        self._directories = directories
        self._images = images
        self.removed: list[str] = []

    def run(self, *arguments: str) -> str:
        kind, verb = arguments[:2]
        if verb == "inspect":
            return json.dumps([each for each in self._images if each["Id"] in arguments])
        if verb == "rm":
            self.removed += arguments[2:]
            return ""
        if kind == "image":
            owner = arguments[-1].partition(f"{LABEL}=")[2]
            return "\n".join(each["Id"] for each in self._images if each["Config"]["Labels"][LABEL] == owner)
        if "--quiet" in arguments:
            # None is made of any image.
            return ""
        return "\n".join(self._directories.get(kind, []))


def image(name: str, owner: Path) -> dict[str, Any]:
    return {
        "Id": f"sha256:{name}",
        "RepoTags": [name],
        "Created": "2020-01-01T00:00:00Z",
        "Size": 1,
        "Config": {"Labels": {LABEL: str(owner)}},
    }


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A stack without containers, as `teardown.yml` leaves it, with a past and a plan."""
    other = tmp_path / "other"
    (other / "switches/20260105T000000Z/next").mkdir(parents=True)
    (other / "compose.yml").write_text(compose("freegee/mlflow-server:deployed"))
    (other / "switches/20260105T000000Z/next/compose.yml").write_text(compose("freegee/mlflow-server:next"))
    archive(other / "before-deployment.tar", "freegee/mlflow-server:before")
    archive(other / "switches/20260101T000000Z/before.tar", "freegee/mlflow-server:undo")
    versions = {"source": Version(image="x"), "target": Version(image="freegee/mlflow-server:planned")}
    store = Store.at("sftp", "direct", "sftp://me@host:22/a")
    planned = UpgradeRecord(id="20260105T000000Z", store=store, state="planned", **versions)
    records.write(planned, other / "switches/20260105T000000Z")
    return other


@pytest.mark.parametrize("seen_as", ["container", "volume", "network"])
def test_tidying_one_stack_leaves_what_another_one_needs(
    seen_as: str, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    (own / "switches").mkdir(parents=True)
    kept = [f"freegee/mlflow-server:{each}" for each in ("deployed", "next", "before", "undo", "planned")]
    made = [image(name, own) for name in (*kept, "freegee/mlflow-server:old")]
    engine = Engine({seen_as: [str(own), str(other), "base_image"]}, made)
    monkeypatch.setattr(images.docker, "run", engine.run)
    stack: Any = SimpleNamespace(
        settings=SimpleNamespace(directory=own, switches=own / "switches"),
        store=Store.at("local", "direct", "/mlruns"),
        project=SimpleNamespace(images=("freegee/mlflow-server:new",), postgres_image=""),
    )
    *_, outcome = OnHost(stack, 90, check=False).tidy()
    assert outcome.error == ""
    assert outcome.kept == dict.fromkeys(kept, f"the stack in {other} needs it")
    assert engine.removed == ["freegee/mlflow-server:old"]


def test_what_nobody_can_read_is_not_taken_for_free(
    other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (other / "switches/20260105T000000Z/upgrade.json").write_text("half")
    engine = Engine({"volume": [str(other)]}, [])
    monkeypatch.setattr(images.docker, "run", engine.run)
    with pytest.raises(RefusedError, match=r"upgrade\.json cannot be read"):
        images.needed_by_others(tmp_path / "own")
