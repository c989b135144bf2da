"""What MLflow tells of runs, models and traces, written down and compared."""

import json
from pathlib import Path

import mlflow
import sqlalchemy as sa
from click.testing import CliRunner
from mlflow import MlflowClient

from mlflow_sftp.cli.entities import entities_command
from mlflow_sftp.operations.entities import differences, entities
from tests.support.mlflow_content import create_content


def make(tmp_path: Path) -> str:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / "root").mkdir()
    content = create_content(uri, tmp_path / "root")
    client = MlflowClient(uri)
    for name in ("parent", "child"):
        client.log_metric(content.runs[name], "loss", float("nan"))
        client.log_param(content.runs[name], "rate", "0.1")
        client.set_tag(content.runs[name], "team", "a")
    mlflow.log_feedback(trace_id=content.trace_id, name="good", value=True)
    return uri


def test_what_has_not_changed_is_told_as_before(tmp_path: Path) -> None:
    uri = make(tmp_path)
    # As JSON keeps it.
    before = json.loads(json.dumps(entities(uri)))
    assert {kind: bool(known) for kind, known in before.items()} == dict.fromkeys(before, True)
    assert differences(before, uri) == []
    MlflowClient(uri).create_run("0")
    assert differences(before, uri) == []


def test_what_changes_or_goes_is_named(tmp_path: Path) -> None:
    uri = make(tmp_path)
    before = entities(uri)
    statements = {
        "UPDATE params SET value = '0.2' WHERE key = 'rate'": "has params {",
        "DELETE FROM metrics": "has metrics {}",
        "DELETE FROM latest_metrics": "has metrics {}",
        "UPDATE tags SET value = 'b' WHERE key = 'team'": "has tags {'team': 'b'",
        "DELETE FROM registered_model_aliases": "has aliases {}, and had {'",
        "DELETE FROM assessments": "has assessments []",
        "DELETE FROM spans": "is not told any more",
        "UPDATE experiments SET name = 'other' WHERE name = 'main'": "has name 'other', and had 'main'",
    }
    engine = sa.create_engine(uri)
    for statement, words in statements.items():
        with engine.connect() as connection:
            savepoint = differences(before, uri)
            connection.execute(sa.text(statement))
            connection.commit()
        now = differences(before, uri)
        if statement != "DELETE FROM metrics":
            assert [each for each in now if each not in savepoint and words in each], (statement, now)


def test_the_command_writes_and_compares(tmp_path: Path) -> None:
    uri = make(tmp_path)
    file = str(tmp_path / "entities.json")
    arguments = [file, "--tracking-uri", uri, "--json"]
    written = CliRunner().invoke(entities_command, arguments)
    assert written.exit_code == 0, written.output
    assert json.loads(written.stdout)["counts"]["trace"] == 1
    same = CliRunner().invoke(entities_command, [*arguments, "--compare"])
    assert same.exit_code == 0, same.output
    assert json.loads(same.stdout)["problems"] == []
    with sa.create_engine(uri).connect() as connection:
        connection.execute(sa.text("DELETE FROM params"))
        connection.commit()
    other = CliRunner().invoke(entities_command, [*arguments, "--compare"])
    assert other.exit_code == 3
    assert any("has params {}" in each for each in json.loads(other.stdout)["problems"])


def test_a_file_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{")
    refused = CliRunner().invoke(
        entities_command, [str(tmp_path / "x"), "--tracking-uri", "http://localhost:1", "--compare"]
    )
    assert refused.exit_code == 2
