"""One site through its whole life: bin/demo deploys it, operations change, verify, switch, prune and remove it.

Each test can run alone on what bin/demo leaves.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.support.docker import docker, unused_name
from tests.support.stack import INSIDE, SWITCH, Stack, fails, passes

from .conftest import OWNER, Demo

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

SFTP = "sftp://freegee@tajo.host.ch:13121/agent.freegee.ch/artifacts"
DIRECTORY = "/srv/sftp/freegee/agent.freegee.ch/artifacts"


def test_a_second_run_changes_nothing(demo: Demo) -> None:
    containers = demo.lab.containers()
    output = passes(demo.lab.play("site.yml"))
    assert set(re.findall(r"changed=(\d+)", output)) == {"0"}
    assert demo.lab.containers() == containers


def test_summary_names_the_run_and_its_files(demo: Demo) -> None:
    run = re.search(
        r"Run ([0-9a-f]{32}) of the sample experiment lies at (sftp://\S+/artifacts):", demo.output
    )
    assert run, demo.output[-5000:]
    path = run[2].partition("@tajo.host.ch:13121")[2]
    key = demo.lab.stack / ".secrets/mlflow_sftp_key/id_ed25519"
    listing = subprocess.run(
        [
            "sftp", "-q", "-b", "-", "-P", "13121", "-i", str(key), "-o", "HostKeyAlias=[tajo.host.ch]:13121",
            "-o", f"UserKnownHostsFile={demo.lab.stack}/mlflow/known_hosts", "freegee@127.0.0.1",
        ],
        input=f"ls -1 {path}/plots\n",
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert "confusion_matrix.png" in listing.stdout


def test_what_mlflow_stored_are_the_bytes_on_the_server_s_disk(demo: Demo) -> None:
    """Without SFTP in between."""
    name, text = "a dir/grüße 100%.txt", "Größe 1 µm\n"
    code = f"import mlflow as m; m.start_run(); m.log_text({text!r}, {name!r}); print(m.get_artifact_uri())"
    said = demo.lab.compose("exec", "-T", "experiment-service", "python", "-c", code)
    uri = next(line for line in said.splitlines() if line.startswith(f"{SFTP}/"))
    assert (
        docker("exec", f"{demo.lab.name}-sftp", "cat", f"{DIRECTORY}{uri.removeprefix(SFTP)}/{name}")
        == text.strip()
    )


def test_no_service_is_root_and_each_holds_the_key(demo: Demo) -> None:
    ask = "test -r /run/secrets/mlflow_sftp_key/id_ed25519 && id -u"
    for service in ("mlflow", "notebook", "experiment-service"):
        assert demo.lab.compose("exec", "-T", service, "sh", "-c", ask).strip() == "10001"


def test_a_foreign_host_name_and_a_stranger_without_token_are_refused(demo: Demo) -> None:
    search = f"http://127.0.0.1:{demo.lab.port + 1}/api/2.0/mlflow/experiments/search?max_results=1"
    notebook = demo.lab.compose("port", "notebook", "8888").strip()
    for request in (
        Request(search, headers={"Host": "evil.example"}),
        Request(f"http://{notebook}/api/contents"),
    ):
        with pytest.raises(HTTPError, match="403"):
            urlopen(request)


def test_the_training_job_stores_at_the_root(demo: Demo) -> None:
    experiment = ("python", "-m", "experiments.image_scoring.entrypoint", "--json")
    run = json.loads(demo.lab.compose("run", "--rm", "-T", "train", *experiment))
    assert run["artifact_uri"].startswith(f"{SFTP}/")


def test_no_secret_is_printed(demo: Demo) -> None:
    key = (demo.lab.stack / ".secrets/mlflow_sftp_key/id_ed25519").read_text()
    token = (demo.lab.stack / ".secrets/notebook_token").read_text().strip()
    assert len(token) >= 32
    assert token in (demo.lab.stack / ".env").read_text()
    assert token not in demo.output
    for line in key.splitlines()[1:-1]:
        assert line not in demo.output
    assert "PRIVATE KEY" not in demo.output


def test_secrets_belong_to_their_users(demo: Demo) -> None:
    key = demo.lab.stack / ".secrets/mlflow_sftp_key/id_ed25519"
    assert (key.stat().st_mode & 0o777, key.stat().st_uid) == (0o600, 10001)
    assert (demo.lab.stack / ".env").stat().st_mode & 0o777 == 0o600
    assert (demo.lab.stack / ".secrets/notebook_token").stat().st_mode & 0o777 == 0o600


def test_a_change_recreates_only_the_service_it_touches_whatever_proxy_docker_has(
    demo: Demo, tmp_path: Path
) -> None:
    """Neither the health checks nor the playbooks' requests go through a proxy, which here leads nowhere."""
    nowhere = "http://127.0.0.1:9"
    proxies = {"httpProxy": nowhere, "httpsProxy": nowhere, "noProxy": "example.org"}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {"default": proxies}}))
    before = demo.lab.containers()
    outcome = demo.lab.play(
        "site.yml",
        "--tags",
        "stack",
        environment={"DOCKER_CONFIG": str(tmp_path), "http_proxy": nowhere},
        mlflow_stack_notebook_port=demo.lab.port + 3,
    )
    assert not outcome.failed, outcome.output[-5000:]
    after = demo.lab.containers()
    assert {name for name in after if after[name] != before[name]} == {"notebook"}
    environment = demo.lab.compose("exec", "-T", "notebook", "printenv").splitlines()
    assert {"HTTP_PROXY=", "https_proxy="} <= set(environment)
    assert any(line.startswith("NO_PROXY=localhost,127.0.0.1,::1,mlflow,") for line in environment)


def deployed(demo: Demo) -> dict[str, bytes]:
    return {
        name: (demo.lab.stack / name).read_bytes() for name in ("compose.yml", ".env", "mlflow/known_hosts")
    }


@pytest.mark.full
def test_a_deployment_that_does_not_start_goes_back(demo: Demo) -> None:
    files, services = deployed(demo), demo.lab.containers().keys()
    limits = dict.fromkeys(("mlflow", "notebook", "experiment-service", "train", "postgres"), "2g")
    changed = {"mlflow_stack_memory_limits": {**limits, "mlflow": "24m"}, "mlflow_stack_wait_timeout": 60}
    outcome = demo.lab.play("site.yml", "--tags", "stack", **changed)
    output = " ".join(outcome.output.split())
    assert outcome.failed
    assert "Start the stack and wait until every service is healthy, on docker-host: " in output
    assert (
        "The files and containers from before the deployment were restored: MLflow answers as before."
        in output
    )
    assert deployed(demo) == files
    assert demo.lab.containers().keys() == services
    inspect = ["docker", "inspect", "--format={{.HostConfig.Memory}} {{.State.Health.Status}}"]
    server = subprocess.run(
        [*inspect, f"{demo.lab.name}-mlflow-1"], capture_output=True, text=True, check=True
    )
    assert server.stdout == f"{2 << 30} healthy\n"


@pytest.mark.full
def test_a_deployment_that_fails_its_verification_goes_back(demo: Demo) -> None:
    files, sftp = deployed(demo), f"{demo.lab.name}-sftp"
    subprocess.run(["docker", "exec", sftp, "chmod", "0555", DIRECTORY], check=True)
    try:
        changed = {"mlflow_stack_notebook_port": demo.lab.port + 2, "mlflow_stack_pids_limit": 500}
        outcome = demo.lab.play("site.yml", "--tags", "stack,verify", **changed)
    finally:
        subprocess.run(["docker", "exec", sftp, "chmod", "0755", DIRECTORY], check=True)
    output = " ".join(outcome.output.split())
    assert outcome.failed
    assert "path_read_only" in output
    assert "MLflow answers as before" in output
    assert deployed(demo) == files


def test_whoever_runs_ansible_reads_the_pin_and_writes_reports(demo: Demo) -> None:
    """The lab's files are made as root; the lookup of the pin and the reports do without become."""
    status = demo.lab.directory.stat()
    assert (status.st_uid, status.st_mode & 0o777) == (os.getuid() or OWNER, 0o755)
    key = demo.lab.directory / "ssh_host_ed25519_key"
    assert [path.stat().st_mode & 0o777 for path in (key, key.with_suffix(".pub"))] == [0o600, 0o644]


@pytest.mark.full
def test_images_are_built_by_the_engine_s_own_builder(demo: Demo, tmp_path: Path) -> None:
    """The default that the user has chosen is another one, in which the base image is unknown."""
    config = {"DOCKER_CONFIG": str(tmp_path)}
    create = ["docker", "buildx", "create", "--driver", "docker-container", "--name", unused_name(), "--use"]
    subprocess.run(create, env={**os.environ, **config}, check=True, capture_output=True)
    # Another comment is another image, whose layers are all there.
    outcome = demo.lab.play(
        "site.yml", "--tags", "install", environment=config, ansible_managed="Another builder is the default"
    )
    assert not outcome.failed, outcome.output[-5000:]
    built = set(re.findall(r"freegee/mlflow-(?:server|client):\w+", outcome.output))
    assert len(built) == 2
    docker("image", "rm", *built)


def test_a_run_does_not_begin_with_warnings(demo: Demo) -> None:
    run = "import mlflow; mlflow.start_run(); mlflow.log_text('logged', 'a.txt'); mlflow.end_run()"
    said = demo.lab.compose("exec", "-T", "experiment-service", "sh", "-c", f'python -c "{run}" 2>&1')
    assert "View run" in said
    assert "WARNING" not in said


@pytest.mark.sweep
def test_a_key_of_another_type_works(demo: Demo) -> None:
    """The demo has an ed25519 key, the stack of test_storage_switch.py an ECDSA key."""
    outcome = demo.lab.play("site.yml", "--tags", "sftp,stack", sftp_client_key_type="rsa")
    assert not outcome.failed, outcome.output[-5000:]
    keys = {path.name for path in (demo.lab.stack / ".secrets/mlflow_sftp_key").iterdir()}
    assert keys == {"id_rsa", "id_rsa.pub"}
    # MLflow prints links when a run ends.
    log = "import mlflow as m; r = m.start_run(); m.log_text('logged', 'key.txt'); m.end_run(); print(r.info.run_id)"
    run = demo.lab.compose("exec", "experiment-service", "python", "-c", log).splitlines()[-1]
    read = f"import mlflow; print(mlflow.artifacts.load_text('runs:/{run}/key.txt'))"
    assert "logged" in demo.lab.compose("exec", "notebook", "python", "-c", read)


def test_a_change_of_the_store_is_refused_while_artifacts_lie_there(demo: Demo) -> None:
    env = (demo.lab.stack / ".env").read_bytes()
    outcome = demo.lab.play("site.yml", artifact_storage="local")
    assert outcome.failed
    assert "leave the old ones behind" in " ".join(outcome.output.split())
    assert (demo.lab.stack / ".env").read_bytes() == env


def test_wrong_pin_stops_the_play_and_shows_what_was_seen(demo: Demo) -> None:
    known_hosts = (demo.lab.stack / "mlflow/known_hosts").read_bytes()
    wrong = "SHA256:" + "B" * 43
    outcome = demo.lab.play("site.yml", "--tags", "sftp", sftp_host_key_fingerprints=[wrong])
    assert outcome.failed
    seen = subprocess.run(
        ["ssh-keygen", "-lf", str(demo.lab.directory / "ssh_host_ed25519_key.pub")],
        capture_output=True, text=True, check=True,
    ).stdout.split()[1]  # fmt: skip
    assert seen in outcome.output
    assert wrong in outcome.output
    assert (demo.lab.stack / "mlflow/known_hosts").read_bytes() == known_hosts


def test_a_verify_leaves_no_row_and_no_file_behind(demo: Demo) -> None:
    script = (INSIDE / "count_rows.py").read_text()

    def traces() -> tuple[dict[str, int], str]:
        rows = json.loads(demo.lab.compose("exec", "-T", "mlflow", "python", "-c", script).splitlines()[-1])
        found = ["docker", "exec", f"{demo.lab.name}-sftp", "find", DIRECTORY]
        return rows, subprocess.run(found, capture_output=True, text=True, check=True).stdout

    before = traces()
    assert before[0]["runs"] > 0
    outcome = demo.lab.play("playbooks/verify.yml")
    assert not outcome.failed, outcome.output[-5000:]
    assert traces() == before


@pytest.mark.full
def test_verify_fails_when_the_store_does(demo: Demo) -> None:
    sftp = f"{demo.lab.name}-sftp"
    subprocess.run(["docker", "exec", sftp, "chmod", "0555", DIRECTORY], check=True)
    try:
        outcome = demo.lab.play("playbooks/verify.yml")
    finally:
        subprocess.run(["docker", "exec", sftp, "chmod", "0755", DIRECTORY], check=True)
    assert outcome.failed
    assert "path_read_only" in outcome.output


@pytest.mark.full
def test_accept_new_trusts_the_first_key_and_only_that(demo: Demo) -> None:
    known_hosts = demo.lab.stack / "mlflow/known_hosts"
    pinned = known_hosts.read_bytes()
    policy: dict[str, object] = {"sftp_host_key_policy": "accept_new", "sftp_host_key_fingerprints": []}
    known_hosts.unlink()
    try:
        passes(demo.lab.play("site.yml", "--tags", "sftp", **policy))
        assert pinned in known_hosts.read_bytes()
        key = b"AAAAC3NzaC1lZDI1NTE5AAAAIBBt8NDmUsWjtRJLiY9GeVXOPaXU4PuXiRWBvVcw+baK"
        other = b"[tajo.host.ch]:13121 ssh-ed25519 " + key + b"\n"
        known_hosts.write_bytes(other)
        output = fails(demo.lab.play("site.yml", "--tags", "sftp", **policy))
        assert "something else answers in its place" in output
        assert known_hosts.read_bytes() == other
    finally:
        known_hosts.write_bytes(pinned)


@pytest.fixture
def stack(demo: Demo) -> Stack:
    return Stack(demo.lab, {})


def test_switch_to_local_storage(stack: Stack) -> None:
    stack.bring_to(SFTP, SFTP, artifact_storage="sftp")
    run = stack.log()
    output = passes(stack.lab.play(SWITCH, artifact_storage="local"))
    assert re.search(r"MLflow was closed for [\d.]+ s", output)
    assert stack.stored() == ("/mlruns", "/mlruns")
    assert stack.read_text(run) == "since"
    assert [found for found in stack.locations(SFTP) if found["kind"] == "location"] == []


def test_roll_back_to_sftp(stack: Stack) -> None:
    stack.bring_to("/mlruns", "/mlruns", artifact_storage="local")
    run = stack.log()
    passes(stack.lab.play(SWITCH, undo=True))
    assert stack.stored() == (SFTP, SFTP)
    assert stack.read_text(run) == "since"


def test_audit_then_prune_what_the_switch_left(stack: Stack) -> None:
    if "done" not in stack.switches():
        stack.bring_to("/mlruns", "/mlruns", artifact_storage="local")
    stack.bring_to(SFTP, SFTP, artifact_storage="sftp")
    passes(stack.lab.play("playbooks/audit.yml"))
    count = "find /mlruns -type f | wc -l"
    before = int(stack.lab.compose("exec", "-T", "mlflow", "sh", "-c", count))
    output = passes(stack.lab.play("playbooks/storage_prune.yml"))
    assert f"Deleted {before} files" in output
    assert int(stack.lab.compose("exec", "-T", "mlflow", "sh", "-c", count)) == 0 < before
