"""Nothing piles up: what is old goes and everything else stays, and 200 days leave no more than a few do.

The tests of this file are steps of one story, on one stack for each way of access.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.aged import AgedStack
from tests.support.docker import docker
from tests.support.lab import Lab
from tests.support.stack import Stack, fails, fill, passes

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(1800)]

BACKUP, TIDY = "playbooks/backup.yml", "playbooks/tidy.yml"


@pytest.fixture(scope="module", params=["direct", pytest.param("proxied", marks=pytest.mark.sweep)])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings: dict[str, object] = {
        "mlflow_stack_access": request.param,
        "mlflow_stack_services": ["mlflow", "notebook", "experiment-service"],
    }
    lab = Lab("mlflow-tidy", tmp_path_factory.mktemp("tidy") / "lab", 13971, settings)
    with lab.cleared():
        passes(lab.play("site.yml", "--skip-tags", "verify"))
        if request.param == "proxied":
            yield Stack(lab, {})
        else:
            filled = fill(lab, 20, 1)
            # The one deleted run of the content stays: what nobody knows the age of is not old.
            filled.execute("UPDATE runs SET deleted_time = NULL WHERE lifecycle_stage = 'deleted'")
            yield filled
    own = docker("image", "ls", "--quiet", f"--filter=reference=freegee/{lab.name}-test").split()
    if own:
        docker("image", "rm", "--force", *own)


@pytest.fixture
def aged(stack: Stack) -> AgedStack:
    return AgedStack(stack)


def test_what_is_old_goes_and_everything_else_stays(stack: Stack, aged: AgedStack) -> None:
    old, restored, young, kept = (stack.log() for _ in range(4))
    for run in (old, restored):
        aged.delete_run(run)
    aged.view(kept)
    aged.leave_download()
    old_upload, old_orphan = aged.leave_upload(), aged.leave_in_quarantine(1)
    aged.leave_cutover(0.5, "undone")
    aged.pass_days(100)
    (old_cutover,) = aged.switches.glob("*Z")
    aged.delete_run(young)
    stays = [aged.leave_cutover(3), aged.leave_upload(), aged.leave_in_quarantine(89)]
    aged.leave_download()
    gone = [old_upload, next(aged.store.glob(f"*quarantine/*/{old_orphan.parent.name}/orphan")), old_cutover]
    old_image, young_image = aged.leave_image(100), aged.leave_image(80)

    before = aged.measure()
    output = passes(stack.lab.play(TIDY, "--check", "--diff"))
    assert "2 deleted runs, models and experiments would be removed" in output
    for told in (old_cutover.name, old_image):
        assert told in output
    for told in (young_image, *(path.name for path in stays)):
        assert told not in output
    assert aged.measure() == before
    assert not (stack.lab.stack / "tidy").exists()

    aged.restore_run(restored)
    output = passes(stack.lab.play(TIDY))
    assert "1 deleted runs, models and experiments removed" in output
    assert not [path for path in gone if path.exists()]
    assert all(path.exists() for path in stays)
    images = docker("image", "ls", "--format={{.Repository}}:{{.Tag}}").split()
    assert old_image not in images
    assert young_image in images
    assert len(aged.downloads()) == 1
    assert not list(aged.store.rglob(f"*{old}*"))
    for run in (restored, kept):
        assert stack.read_text(run) == "since"
    assert list(aged.store.rglob(f"*{young}*"))
    if stack.content:
        assert stack.read() == stack.content

    again = passes(stack.lab.play(TIDY))
    assert "changed=0" in again
    docker("image", "rm", young_image)


@pytest.mark.sweep
def test_what_cannot_be_tidied_is_told_and_does_not_keep_the_rest(stack: Stack, aged: AgedStack) -> None:
    run = stack.log()
    aged.delete_run(run)
    aged.leave_cutover(2, "undone")
    aged.leave_cutover(1)
    aged.pass_days(100)
    server = f"{stack.lab.name}-sftp"
    docker("pause", server)
    try:
        output = fails(stack.lab.play(TIDY))
    finally:
        docker("unpause", server)
    assert "Not everything could be tidied" in output
    assert len(list(aged.switches.glob("*Z"))) == 1
    # Nothing of it has gone: what cannot be reached keeps its rows.
    assert "0 deleted runs, models" not in passes(stack.lab.play(TIDY, "--check"))
    passes(stack.lab.play(TIDY))
    assert not list(aged.store.rglob(f"*{run}*"))


def test_a_cutover_that_is_half_done_is_refused(stack: Stack, aged: AgedStack) -> None:
    directory = aged.leave_cutover(100, "cutting")
    record = directory / "upgrade.json"
    try:
        output = fails(stack.lab.play(TIDY))
        assert "half done" in output
        assert "playbooks/upgrade.yml -e resume=finish|undo" in output
    finally:
        record.write_text(record.read_text().replace('"cutting"', '"undone"'))


def test_little_space_is_a_warning_and_refuses_a_cutover(stack: Stack) -> None:
    report = stack.lab.stack.parent / "report/report.json"
    quick = {"verify_level": "quick"}
    passes(stack.lab.play("playbooks/verify.yml", **quick))
    assert cells(report)["space"]["status"] == "ok"
    assert "the account freegee@" in cells(report)["space"]["detail"]
    output = passes(stack.lab.play("playbooks/verify.yml", **quick, mlflow_stack_capacity_warn="100%"))
    assert "space_low" in output
    quota = {"sftp_target_quota_bytes": 1000, "mlflow_stack_capacity_refuse": "1%"}
    passes(stack.lab.play("playbooks/verify.yml", **quick, **quota))
    assert "0 B of 1000 B free by its quota" in cells(report)["space"]["detail"]
    assert cells(report)["space"]["cause"] == "space_reserved"

    containers = stack.lab.containers()
    goal = {"artifact_storage": "local", "mlflow_stack_capacity_refuse": "100%"}
    output = fails(stack.lab.play("playbooks/storage_switch.yml", **goal))
    assert "have to stay free (mlflow_stack_capacity_refuse)" in output
    assert "Nothing was changed" in output
    assert stack.lab.containers() == containers
    wrong = fails(stack.lab.play("site.yml", "--check", mlflow_stack_capacity_warn="ten"))
    assert "mlflow_stack_capacity_warn is 'ten'; expected a percentage" in wrong


@pytest.mark.parametrize(
    ("steps", "days"),
    [pytest.param(4, 50, id="in leaps"), pytest.param(200, 1, id="day by day", marks=pytest.mark.sweep)],
)
@pytest.mark.timeout(7200)
def test_200_days_leave_no_more_than_the_first(stack: Stack, aged: AgedStack, steps: int, days: int) -> None:
    # What the timer calls is what is called here, day by day.
    passes(stack.lab.play(TIDY, mlflow_tidy_schedule="daily"))
    measured = []
    for _ in range(steps):
        live_for_a_day(aged)
        aged.pass_days(days)
        tidy(stack)
        measured.append(aged.measure())
    # From the hundredth day on, what comes in is what goes out.
    steady = measured[steps // 2 :]
    for name in steady[0]:
        values = [float(str(each[name])) for each in steady]
        assert max(values) - min(values) <= max(0.03 * max(values), 2), (name, values)


def test_what_is_gone_for_good_is_in_no_further_backup(stack: Stack, aged: AgedStack, tmp_path: Path) -> None:
    backup = {
        "mlflow_backup_repository": str(tmp_path / "repository"),
        "mlflow_backup_password": "a-password-that-nobody-may-see",
        "mlflow_backup_include_account": True,
    }
    place, store = stack.lab.stack / "backup/account", aged.store
    gone, kept = stack.log(), stack.log()
    passes(stack.lab.play(BACKUP, **backup))
    assert list(place.rglob(f"*{gone}*"))
    aged.delete_run(gone)
    aged.pass_days(100)
    passes(stack.lab.play(TIDY))
    output = passes(stack.lab.play(BACKUP, **backup))
    assert re.search(r"Removed \d+ files from the copy of the account", output)
    assert not list(place.rglob(f"*{gone}*"))
    assert list(place.rglob(f"*{kept}*/artifacts/since.txt"))
    output = passes(stack.lab.play("playbooks/restore.yml", "--check", discard=True, **backup))
    assert "has every artifact of the snapshot" in output
    # An account that has lost everything takes nothing with it.
    aside = store.with_name("aside")
    store.rename(aside)
    store.mkdir()
    try:
        before = sorted(place.rglob("*"))
        output = fails(stack.lab.play(BACKUP, **backup))
        assert "lists no file, and the copy of it" in output
        assert sorted(place.rglob("*")) == before
    finally:
        store.rmdir()
        aside.rename(store)
    output = passes(stack.lab.play(BACKUP, **backup))
    assert "from the copy of the account" not in output
    assert stack.read_text(kept) == "since"


def cells(report: Path) -> dict[str, dict[str, str]]:
    """What the report says of the Docker host, by stage."""
    told = json.loads(report.read_text())
    row = next(row for row in told["rows"] if row["vantage"] == "Docker host")
    return dict(zip(told["columns"], row["cells"], strict=True))


def live_for_a_day(aged: AgedStack) -> None:
    aged.log_and_delete()
    aged.leave_download()
    aged.leave_upload()
    aged.leave_in_quarantine(0)
    aged.leave_cutover(0)
    # One that was replaced today.
    aged.leave_image(91)


def tidy(stack: Stack) -> None:
    """Call what the timer calls."""
    home = stack.lab.stack / "tidy"
    program = "ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.command"
    done = subprocess.run(
        ["/usr/bin/env", f"PYTHONPATH={home}/program", "python3", "-m", program, str(home / "schedule.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
