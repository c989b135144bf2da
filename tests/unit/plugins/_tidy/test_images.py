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

    def __init__(
        self,
        directories: dict[str, list[str]],
        images: list[dict[str, Any]],
        services: list[dict[str, Any]] | None = None,
    ) -> None:
        self._directories = directories
        self._images = images
        self._services = services or []
        self.removed: list[str] = []

    def run(self, *arguments: str) -> str:
        kind, verb = arguments[:2]
        if kind == "service":
            return json.dumps(self._services) if verb == "inspect" else "\n".join(map(str, self._services))
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
        project=SimpleNamespace(images=("freegee/mlflow-server:new",), postgres_image="", on_swarm=False),
    )
    *_, outcome = OnHost(stack, 90, check=False).tidy()
    assert outcome.error == ""
    assert outcome.kept == dict.fromkeys(kept, f"the stack in {other} needs it")
    assert engine.removed == ["freegee/mlflow-server:old"]


def spec(name: str, image: str) -> dict[str, Any]:
    return {"Name": name, "TaskTemplate": {"ContainerSpec": {"Image": image}}}


PLUGIN = {
    "Name": "storage",
    "TaskTemplate": {"Runtime": "plugin", "PluginSpec": {"name": "storage", "remote": "example/storage"}},
}


def on_swarm(tmp_path: Path) -> Any:
    """The home of a swarm's stack: an upgrade that can be undone, one that went, one that is planned, and jobs."""
    switches = tmp_path / "switches"
    store = Store.at("sftp", "proxied", "sftp://me@host:22/a")
    for day, state, before in ((1, "undone", "gone"), (2, "done", "undo"), (3, "planned", "kept")):
        directory = switches / f"2026010{day}T000000Z"
        directory.mkdir(parents=True)
        versions = {"source": Version(image="x"), "target": Version(image="sha256:planned")}
        records.write(UpgradeRecord(id=directory.name, store=store, state=state, **versions), directory)
        (directory / "service.json").write_text(json.dumps(spec("mlflow_mlflow", f"sha256:{before}")))
        # A swarm's stack has no compose.yml.
        with tarfile.open(directory / "before.tar", "w") as tar:
            tar.addfile(tarfile.TarInfo(".env"), io.BytesIO())
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/compose.yml").write_text(compose("freegee/mlflow-client:jobs"))
    return SimpleNamespace(
        settings=SimpleNamespace(directory=tmp_path, switches=switches),
        store=store,
        project=SimpleNamespace(images=("sha256:deployed",), postgres_image="sha256:postgres", on_swarm=True),
    )


def test_a_swarm_keeps_what_services_run_and_what_they_or_an_undo_go_back_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (
        "deployed",
        "previous",
        "undo",
        "gone",
        "planned",
        "kept",
        "freegee/mlflow-client:jobs",
        "freegee/a:old",
    )
    engine = Engine(
        {},
        [{**image(name, tmp_path), "RepoTags": [name] if ":" in name else []} for name in names],
        [
            {
                "Spec": spec("mlflow_mlflow", "sha256:deployed"),
                "PreviousSpec": spec("mlflow_mlflow", "sha256:previous"),
            },
            {"Spec": spec("mlflow_gateway", "sha256:gateway")},
            # Somebody else's, which has no image.
            {"Spec": PLUGIN, "PreviousSpec": PLUGIN},
        ],
    )
    monkeypatch.setattr(images.docker, "run", engine.run)
    cutovers, clusters, outcome = OnHost(on_swarm(tmp_path), 90, check=False).tidy()
    assert (cutovers.names, clusters.count, outcome.error) == (("20260101T000000Z",), 0, "")
    assert sorted(engine.removed) == ["freegee/a:old", "sha256:gone"]
    assert outcome.kept == {
        "sha256:deployed": "it is deployed",
        "sha256:previous": "the swarm goes back to it where the service mlflow_mlflow fails",
        "sha256:undo": "the upgrade 20260102T000000Z goes back to it",
        "sha256:kept": "the upgrade 20260103T000000Z goes back to it",
        "sha256:planned": "the upgrade 20260103T000000Z is planned, and leads to it",
        "freegee/mlflow-client:jobs": "it is deployed",
    }
    # Other nodes are told as much.
    assert outcome.needed["sha256:gateway"] == "the service mlflow_gateway runs it"
    assert outcome.kept.items() <= outcome.needed.items()


def test_what_nobody_can_read_is_not_taken_for_free(
    other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (other / "switches/20260105T000000Z/upgrade.json").write_text("half")
    engine = Engine({"volume": [str(other)]}, [])
    monkeypatch.setattr(images.docker, "run", engine.run)
    with pytest.raises(RefusedError, match=r"upgrade\.json cannot be read"):
        images.needed_by_others(tmp_path / "own")
