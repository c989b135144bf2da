"""Switches that leave something where it is, and stores that turn out to be too small: further steps, on SQLite.

The tests of this file are steps of one story, on one stack. Each brings the stack to where it begins: it can run alone,
and does not fall with the step before.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.lab import Lab
from tests.support.stack import SWITCH, Stack, fails, filled_stack, passes

# Ten minutes of CI beside test_storage_switch.py, whose switches are the same code.
pytestmark = [pytest.mark.lab, pytest.mark.sweep, pytest.mark.timeout(1800)]

SFTP = "sftp://freegee@tajo.host.ch:13231/agent.freegee.ch/artifacts"
FIRST = {"artifact_storage": "sftp"}
SECOND = {"artifact_storage": "sftp", "sftp_user": "second", "sftp_path": "/artifacts"}
SECOND_URI = "sftp://second@tajo.host.ch:13231/artifacts"
FIRST_DIRECTORY = "/srv/sftp/freegee/agent.freegee.ch/artifacts"
SECOND_DIRECTORY = "/srv/sftp/second/artifacts"
FILLER = "/srv/sftp/filler"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    lab = Lab("mlflow-parts", tmp_path_factory.mktemp("parts") / "lab", 13231)
    with filled_stack(lab, files=50, mebibytes=8, prepare=lambda: make_small_volume(lab)) as filled:
        yield filled


def make_small_volume(lab: Lab) -> None:
    """Let the SFTP server have a disk that can be filled; with the lab's mark, or the lab would not take it."""
    options = ["type=tmpfs", "device=tmpfs", "o=size=100m,mode=755"]
    flags = [flag for option in options for flag in ("--opt", option)]
    mark = f"--label=freegee.mlflow_sftp.owner={lab.directory}"
    subprocess.run(
        ["docker", "volume", "create", mark, *flags, f"{lab.name}-sftp"], check=True, capture_output=True
    )


def test_only_new_runs_go_to_the_new_store(stack: Stack) -> None:
    output = passes(stack.lab.play(SWITCH, artifact_storage="sftp", migrate="none"))
    assert "To copy: nothing (migrate=none)" in output
    assert stack.stored() == (SFTP, SFTP)
    assert stack.read() == stack.content
    assert stack.read_text(stack.log()) == "since"
    at_home = {
        (found["table"], found["column"])
        for found in stack.locations("/mlruns")
        if found["kind"] == "location"
    }
    assert ("runs", "artifact_uri") in at_home
    assert ("experiments", "artifact_location") not in at_home  # where new runs go


def test_later_the_rest_follows_and_then_there_is_nothing_to_do(stack: Stack) -> None:
    stack.bring_to(SFTP, SFTP, **FIRST, migrate="none")
    run = stack.log()
    output = passes(stack.lab.play(SWITCH, artifact_storage="sftp"))
    assert "New runs go there already; this moves the rest." in output
    assert [found for found in stack.locations("/mlruns") if found["kind"] == "location"] == []
    assert stack.read() == stack.content
    assert stack.read_text(run) == "since"
    again = passes(stack.lab.play(SWITCH, artifact_storage="sftp"))
    assert f"Nothing to do: artifacts are at {SFTP}, direct access." in again
    assert "changed=0" in again


def test_a_store_that_is_too_small_is_refused_before_anything_changes(stack: Stack) -> None:
    stack.bring_to(SFTP, SFTP, **FIRST)
    containers = stack.lab.containers()
    fill(stack, leave_mebibytes=4)
    try:
        output = fails(stack.lab.play(SWITCH, **SECOND))
        assert f"{SECOND_URI} has" in output
        assert re.search(r"are to be copied\. Nothing was changed\. Make room", output)
        assert stack.lab.containers() == containers
    finally:
        on_server(stack, "rm", FILLER)


def test_a_store_that_is_full_at_the_cut_and_a_way_back_that_is_barred(stack: Stack) -> None:
    stack.bring_to(SFTP, SFTP, **FIRST)
    kept = stack.lab.directory / "before.tar"

    def fill_and_bar() -> None:
        on_server(stack, "sh", "-c", f"rm $(find {SECOND_DIRECTORY} -name large.bin)")
        fill(stack, leave_mebibytes=4)
        files_from_before(stack).rename(kept)

    output = fails(stack.lab.play_until("Close MLflow", SWITCH, fill_and_bar, **SECOND))
    assert "Copy files that were written since the first copy" in output
    assert re.search(r"\d+ bytes are free and \d+ are needed", output)
    assert "The rollback failed as well: Restore the stack's files from before" in output
    refused = fails(stack.lab.play(SWITCH, **SECOND))
    assert "interrupted while undoing" in refused
    assert "What had gone wrong: Copy files that were written since the first copy" in refused
    kept.rename(files_from_before(stack))
    passes(stack.lab.play(SWITCH, resume="undo"))
    assert stack.answers()
    assert stack.stored() == (SFTP, SFTP)
    assert stack.read() == stack.content
    on_server(stack, "rm", FILLER)


def test_another_host_key_at_the_cut_and_everything_is_as_before(stack: Stack) -> None:
    stack.bring_to(SFTP, SFTP, **FIRST)
    trusted = (stack.lab.directory / "ssh_host_ed25519_key").read_text()
    output = fails(
        stack.lab.play_until("Close MLflow", SWITCH, lambda: serve_with(stack, new_key()), **SECOND)
    )
    assert "Copy files that were written since the first copy" in output
    assert "the server's host key is not trusted" in output
    assert "was undone: MLflow answers" in output
    assert stack.answers()
    assert stack.stored() == (SFTP, SFTP)
    serve_with(stack, trusted)
    assert stack.read() == stack.content


def test_a_second_account_with_a_key_of_its_own(stack: Stack) -> None:
    bring_to_first(stack)
    show = "cat /run/secrets/mlflow_sftp_key/id_*"
    first = stack.lab.compose("exec", "-T", "mlflow", "sh", "-c", show)
    passes(stack.lab.play(SWITCH, **SECOND))
    assert stack.stored() == (SECOND_URI, SECOND_URI)
    assert stack.read() == stack.content
    assert stack.lab.compose("exec", "-T", "mlflow", "sh", "-c", show) != first


def test_prune_reaches_the_account_that_was_left(stack: Stack) -> None:
    bring_to_second(stack)
    count = f"find {FIRST_DIRECTORY} -type f | wc -l"
    before = int(on_server(stack, "sh", "-c", count))
    foreseen = passes(stack.lab.play("playbooks/storage_prune.yml", "--check", **SECOND))
    assert f"Would delete {before} files" in foreseen
    assert int(on_server(stack, "sh", "-c", count)) == before > 50
    passes(stack.lab.play("playbooks/storage_prune.yml", **SECOND))
    assert int(on_server(stack, "sh", "-c", count)) == 0
    assert stack.read() == stack.content


def test_a_name_that_local_storage_cannot_give_back_is_refused_before_anything_changes(stack: Stack) -> None:
    bring_to_second(stack)
    run = stack.log("50%25#.txt")
    containers = stack.lab.containers()
    output = fails(stack.lab.play(SWITCH, **SECOND | {"artifact_storage": "local"}))
    assert "could not read 1 files back, so nothing was changed. First: " in output
    assert f"{run}/artifacts/50%25#.txt. Rename or remove them at {SECOND_URI}" in output
    assert stack.lab.containers() == containers


def bring_to_first(stack: Stack) -> None:
    """Have everything in the first account, also what a step left in local storage."""
    stack.bring_to(SFTP, SFTP, **FIRST)
    if any(found["kind"] == "location" for found in stack.locations("/mlruns")):
        passes(stack.lab.play(SWITCH, **FIRST))


def bring_to_second(stack: Stack) -> None:
    """Have everything in the second account, with the first one's copies."""
    if stack.stored() != (SECOND_URI, SECOND_URI):
        bring_to_first(stack)
        stack.bring_to(SECOND_URI, SECOND_URI, **SECOND)


def new_key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def serve_with(stack: Stack, host_key: str) -> None:
    """Let the SFTP server have this host key."""
    # The file is mounted, so it has to stay the one it is.
    (stack.lab.directory / "ssh_host_ed25519_key").write_text(host_key)
    subprocess.run(["docker", "kill", "--signal", "HUP", f"{stack.lab.name}-sftp"], check=True)


def files_from_before(stack: Stack) -> Path:
    """Where the switch that is going on keeps the stack's files."""
    records = sorted((stack.lab.stack / "switches").glob("*/switch.json"))
    states = {path: json.loads(path.read_text())["state"] for path in records}
    return next(path for path in records if states[path] in ("cutting", "undoing")).with_name("before.tar")


def fill(stack: Stack, leave_mebibytes: int) -> None:
    """Fill the server's disk, but for so much."""
    free = f"$(df --output=avail -k {Path(FILLER).parent} | tail -1)"
    on_server(stack, "sh", "-c", f"head -c $(({free} - {leave_mebibytes * 1024}))K /dev/zero > {FILLER}")


def on_server(stack: Stack, *command: str) -> str:
    inside = ["docker", "exec", f"{stack.lab.name}-sftp", *command]
    return subprocess.run(inside, check=True, stdout=subprocess.PIPE, text=True).stdout
