"""Artifacts and locations moved together: MLflow finds everything, at every stop of the journey."""

import hashlib
import os
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

from mlflow_sftp.database.database import Database
from mlflow_sftp.operations import relocate
from mlflow_sftp.operations.audit import audit
from mlflow_sftp.operations.copy import copy
from mlflow_sftp.operations.relocate import Request
from tests.support.mlflow_content import Content
from tests.support.mlflow_server import MlflowServer
from tests.support.sshd import SshServer

Hashes = dict[str, str]


def hash_tree(top: str | Path) -> Hashes:
    """SHA-256 by path, without what MLflow's client writes beside a downloaded model."""
    return {
        os.path.relpath(os.path.join(directory, name), top): hashlib.sha256(
            Path(directory, name).read_bytes()
        ).hexdigest()
        for directory, _, names in os.walk(top)
        for name in names
        if name != "registered_model_meta"
    }


def download_everything(tracking_uri: str, content: Content, directory: Path) -> dict[str, Hashes]:
    """Every artifact of every run (deleted ones too), and the model by each of its names, through MLflow."""
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(tracking_uri)
    client = MlflowClient(tracking_uri)
    found: dict[str, Hashes] = {}
    for name, run in content.runs.items():
        target = directory / name
        target.mkdir(parents=True)
        client.download_artifacts(run, "", str(target))
        found[name] = hash_tree(target)
    model_uris = ("models:/doubler@champion", "models:/doubler/2", f"runs:/{content.runs['parent']}/model")
    for number, uri in enumerate(model_uris):
        target = directory / f"model{number}"
        target.mkdir()
        mlflow.artifacts.download_artifacts(uri, dst_path=str(target))
        found[uri] = hash_tree(target)
        model = mlflow.pyfunc.load_model(uri)
        assert model.predict(pd.DataFrame({"x": [2]}))["x"].tolist() == [4]
    trace = mlflow.get_trace(content.trace_id)
    found["trace"] = {span.name: str(span.inputs) for span in trace.data.spans}
    return found


@pytest.fixture(autouse=True)
def client(sshd: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SFTP_SSH_CONFIG", str(sshd.ssh_config))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


def switch(uri: str, source: str, target: str, old: str, new: str, work: Path) -> None:
    """Copy, re-root, and require that nothing was left behind and that both sides agree afterwards."""
    copied = copy(source, target, manifest=work.with_suffix(".manifest"))
    assert copied.failed == {}
    with Database(uri) as database:
        request = Request((old,), new)
        applied = relocate.apply(database, request, work.with_suffix(".journal"), backup=None)
        assert applied.changed
        assert [found for found in relocate.scan(database, [old]) if found.kind == "location"] == []
        result = audit(database, new, store=target, manifest=work.with_suffix(".manifest"))
    assert {problem.kind for problem in result.problems} <= {"orphaned", "unknown_location"}


def test_local_to_sftp_to_local(content: tuple[str, Content], sshd: SshServer, tmp_path: Path) -> None:
    uri, made = content
    expected = download_everything(uri, made, tmp_path / "0")
    assert len(expected["parent"]) == 5
    old, sftp, back = str(made.root), sshd.uri("artifacts"), str(tmp_path / "back here")
    switch(uri, old, sftp, old, sftp, tmp_path / "there")
    made.root.rename(tmp_path / "out of sight")
    assert download_everything(uri, made, tmp_path / "1") == expected
    switch(uri, sftp, back, sftp, back, tmp_path / "back")
    sshd.stop()
    assert download_everything(uri, made, tmp_path / "2") == expected


def test_local_to_proxied_sftp(content: tuple[str, Content], sshd: SshServer, tmp_path: Path) -> None:
    uri, made = content
    _without_percent(uri, made)
    expected = download_everything(uri, made, tmp_path / "0")
    sftp = sshd.uri("artifacts")
    switch(uri, str(made.root), sftp, str(made.root), "mlflow-artifacts:/", tmp_path / "there")
    made.root.rename(tmp_path / "out of sight")
    with MlflowServer(tmp_path, ["--serve-artifacts", "--artifacts-destination", sftp]) as server:
        assert download_everything(server.uri, made, tmp_path / "1") == expected


def _without_percent(uri: str, content: Content) -> None:
    """The proxy cannot serve a name with a percent sign: give that experiment another one."""
    old, new = f"{content.root}/odd name %2541", f"{content.root}/odd name"
    (content.root / "odd name %41").rename(new)
    with Database(uri) as database:
        relocate.apply(database, Request((old,), new), content.root.parent / "renamed", backup=None)
