"""The storage modules, run as Ansible runs them: check, do, check again, do again."""

import contextlib
import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.relocate import scan
from tests.integration.relocate.conftest import Filled
from tests.support.ansible import Outcome, run_module
from tests.support.postgres import PostgresServer
from tests.support.sshd import SshServer

SFTP = "sftp://freegee@tajo.host.ch:2121/agent.freegee.ch/artifacts"


def locations(filled: Filled, root: str) -> int:
    with Database(filled.uri) as database:
        return sum(found.kind == "location" for found in scan(database, [root]))


def test_relocate_and_undo(sqlite_copy: Filled, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "database": sqlite_copy.uri,
        "src": [sqlite_copy.root],
        "dest": SFTP,
        "journal": str(tmp_path / "journal"),
        "backup_file": str(tmp_path / "backup"),
    }
    foreseen = run_module("mlflow_artifact_relocate", options, check=True)
    assert (foreseen.result["changed"], foreseen.result["rows"]) == (True, 13), foreseen.output
    assert foreseen.result["report_only"]["params.value"] == 1
    assert not (tmp_path / "backup").exists()
    done = run_module("mlflow_artifact_relocate", options)
    assert (done.result["changed"], done.result["rows"]) == (True, 13), done.output
    assert done.result["diff"] == foreseen.result["diff"]
    assert f"'name': 'doubler', 'version': 2}}: {SFTP}/1/models/" in done.result["diff"]["after"]
    assert done.result["backup_file"] == str(tmp_path / "backup")
    assert locations(sqlite_copy, SFTP) == 13
    for check in (True, False):
        again = run_module("mlflow_artifact_relocate", options, check=check)
        assert (again.failed, again.result["changed"]) == (False, False)
    back = {"database": sqlite_copy.uri, "state": "undone", "journal": str(tmp_path / "journal")}
    assert run_module("mlflow_artifact_relocate", back, check=True).result["changed"]
    assert locations(sqlite_copy, SFTP) == 13
    assert run_module("mlflow_artifact_relocate", back).result["rows"] == 13
    assert locations(sqlite_copy, sqlite_copy.root) == 13
    assert not run_module("mlflow_artifact_relocate", back).result["changed"]
    again = {**back, "state": "redone"}
    foreseen = run_module("mlflow_artifact_relocate", again, check=True)
    assert (foreseen.result["changed"], locations(sqlite_copy, SFTP)) == (True, 0)
    redone = run_module("mlflow_artifact_relocate", again)
    assert (redone.result["rows"], redone.result["diff"]["after"].count(SFTP)) == (13, 13)
    assert locations(sqlite_copy, SFTP) == 13
    assert not run_module("mlflow_artifact_relocate", again).result["changed"]


@pytest.mark.parametrize("check", [True, False])
def test_relocate_refuses_what_cannot_move(sqlite_copy: Filled, tmp_path: Path, check: bool) -> None:
    options = {
        "database": sqlite_copy.uri,
        "src": sqlite_copy.root,
        "dest": f"/{'d' * 190}",
        "journal": str(tmp_path / "journal"),
    }
    outcome = run_module("mlflow_artifact_relocate", options, check=check)
    assert outcome.failed
    assert "longer than the 200 characters of runs.artifact_uri" in outcome.result["msg"]
    assert locations(sqlite_copy, sqlite_copy.root) == 13


def test_a_password_stays_out_of_sight(postgres_copy: Filled, tmp_path: Path) -> None:
    apart = {"database": postgres_copy.uri, "database_password": "s3cret-word"}
    told = run_module("mlflow_storage_info", apart)
    assert told.result["database"]["counts"]["runs"] == {"total": 5, "active": 3, "deleted": 2}
    assert "s3cret-word" not in told.output
    within = {"database": postgres_copy.uri.replace("postgres@", "postgres:s3cret-word@")}
    refused = run_module("mlflow_storage_info", within)
    assert "database_password" in refused.result["msg"]


ENVIRONMENT_OPTIONS: dict[str, dict[str, Any]] = {
    "mlflow_storage_info": {},
    "mlflow_artifact_relocate": {"src": "/mlruns", "dest": SFTP, "journal": "/nowhere/journal"},
}


@pytest.mark.parametrize("name", ENVIRONMENT_OPTIONS)
def test_the_database_is_that_of_the_server_where_the_module_runs(postgres_copy: Filled, name: str) -> None:
    within = postgres_copy.uri.replace("postgres@", "postgres:s3cret-word@")
    told = run_module(
        name, ENVIRONMENT_OPTIONS[name], check=True, environment={"MLFLOW_BACKEND_STORE_URI": within}
    )
    assert not told.failed, told.output
    assert "s3cret-word" not in told.output
    unknown = run_module(name, ENVIRONMENT_OPTIONS[name], environment={"MLFLOW_BACKEND_STORE_URI": ""})
    assert "MLFLOW_BACKEND_STORE_URI is not set" in unknown.result["msg"]


def copy(options: dict[str, Any], sshd: SshServer, check: bool = False) -> Outcome:
    environment = {"MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config), "MLFLOW_SFTP_RETRY_TIMEOUT": "1"}
    return run_module("mlflow_artifact_copy", options, check=check, environment=environment)


def test_copy(sshd: SshServer, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "1").mkdir(parents=True)
    (source / "1" / "a").write_bytes(bytes(100))
    (source / "b").write_bytes(bytes(11))
    options = {"src": str(source), "dest": sshd.uri("target"), "manifest": str(tmp_path / "manifest")}
    foreseen = copy(options, sshd, check=True)
    assert (foreseen.result["changed"], foreseen.result["copied"]) == (True, {"files": 2, "bytes": 111})
    assert not (sshd.root / "target").exists()
    done = copy(options, sshd)
    assert (done.result["changed"], done.result["copied"]) == (True, {"files": 2, "bytes": 111})
    assert done.result["diff"] == {"before": "0 files, 0 bytes\n", "after": "2 files, 111 bytes\n"}
    for check in (True, False):
        again = copy(options, sshd, check)
        assert (again.result["changed"], again.result["copied"]["files"]) == (False, 0)
    (source / "link").symlink_to("nowhere")
    tolerant = copy(options, sshd)
    assert (tolerant.failed, tolerant.result["failed_files"]) == (False, {"link": "leads nowhere"})
    strict = copy({**options, "strict": True}, sshd)
    assert (strict.failed, strict.result["failed_files"]) == (True, {"link": "leads nowhere"})
    sshd.stop()
    stopped = copy(options, sshd)
    assert stopped.failed
    assert f"127.0.0.1:{sshd.port}" in stopped.result["msg"]
    assert "Traceback" not in stopped.output


def test_copy_tells_in_a_file_how_far_it_is(sshd: SshServer, tmp_path: Path) -> None:
    source, file = tmp_path / "source", tmp_path / "progress"
    source.mkdir()
    for number in range(30):
        (source / str(number)).write_bytes(os.urandom(100_000))
    options = {"src": str(source), "dest": sshd.uri("target"), "progress_file": str(file)}
    file.write_text("of an earlier copy")
    copy(options, sshd, check=True)
    assert file.read_text() == "of an earlier copy"
    seen: list[dict[str, Any]] = []
    with ThreadPoolExecutor() as pool:
        copying = pool.submit(copy, {**options, "bandwidth": 1_000_000}, sshd)
        while not copying.done():
            time.sleep(0.05)
            with contextlib.suppress(FileNotFoundError):
                text = file.read_text()
                if text != "of an earlier copy":
                    seen.append(json.loads(text))
    assert not copying.result().failed, copying.result().output
    seen.append(json.loads(file.read_text()))
    assert len({tuple(each.values()) for each in seen}) >= 3
    assert [each["bytes"] for each in seen] == sorted(each["bytes"] for each in seen)
    assert (seen[-1]["files"], seen[-1]["bytes"]) == (30, 3_000_000)
    assert (seen[-1]["total_files"], seen[-1]["total_bytes"], seen[-1]["seconds_left"]) == (30, 3_000_000, 0)
    assert any(each["seconds_left"] for each in seen)
    assert 500_000 < seen[-1]["rate"] < 1_100_000
    assert [path.name for path in tmp_path.glob("*progress*")] == ["progress"]
    unwritable = copy({**options, "progress_file": str(tmp_path / "nowhere" / "progress")}, sshd)
    assert "progress file cannot be written" in unwritable.result["msg"]


def test_info_counts_places_and_audits(sqlite_copy: Filled, sshd: SshServer, tmp_path: Path) -> None:
    store = tmp_path / "mlruns"
    shutil.copytree(sqlite_copy.root, store)
    options = {"database": sqlite_copy.uri, "store": str(store), "root": sqlite_copy.root, "audit": True}
    told = run_module("mlflow_storage_info", options)
    assert not told.failed, told.output
    database, found = told.result["database"], told.result["store"]
    assert database["counts"]["experiments"] == {"total": 4, "active": 3, "deleted": 1}
    assert database["counts"]["model_versions"] == {"total": 3}
    assert [(place["place"], place["locations"]) for place in database["places"]] == [("local", 14)]
    assert found["exists"]
    assert found["files"] == told.result["audit"]["files"] > 10
    assert found["free_bytes"] > 0
    assert told.result["audit"]["counts"] == {"orphaned": 1, "unknown_location": 1}
    environment = {"MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config)}
    remote = run_module("mlflow_storage_info", {"store": sshd.uri("none/yet")}, environment=environment)
    assert (remote.result["store"]["exists"], remote.result["store"]["files"]) == (False, 0)
    assert remote.result["store"]["free_bytes"] > 0
    assert "database" not in remote.result
    environment["MLFLOW_BACKEND_STORE_URI"] = sqlite_copy.uri
    both = {"store": sshd.uri("none/yet"), "count_database": True}
    assert "database" in run_module("mlflow_storage_info", both, environment=environment).result


def test_a_server_without_a_database_is_named(postgres: PostgresServer) -> None:
    told = run_module("mlflow_storage_info", {"database": postgres.uri("nowhere")})
    assert told.failed
    assert 'database "nowhere" does not exist' in told.result["msg"]
