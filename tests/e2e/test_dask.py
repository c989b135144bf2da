"""A stack with dask's workers: who reaches them, a sweep that loses one, and the same files again.

The tests of this file are steps of one story, on one stack.
"""

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.docker import docker
from tests.support.lab import Lab
from tests.support.monitor import eventually
from tests.support.stack import passes

pytestmark = [pytest.mark.lab, pytest.mark.sweep, pytest.mark.timeout(1500)]

ENTRYPOINT = ("python", "-m", "experiments.image_scoring.entrypoint")
DIRECTORY = "/srv/sftp/freegee/agent.freegee.ch/artifacts"
# What anybody may try who has no certificate: the answer to a TLS handshake, or why there is none.
STRANGER = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
try:
    plain = socket.create_connection((sys.argv[1], 8786), timeout=5)
    with context.wrap_socket(plain) as tls:
        tls.settimeout(5)
        # With TLS 1.3 the refusal comes after the handshake.
        tls.recv(1)
        print("talks")
except ssl.SSLError as error:
    print("refused:", error.reason)
except OSError as error:
    print("no way:", type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    settings: dict[str, object] = {
        "mlflow_stack_services": ["mlflow", "experiment-service", "train"],
        "mlflow_stack_dask": True,
    }
    lab = Lab("mlflow-dask", tmp_path_factory.mktemp("dask") / "lab", 14701, settings)
    with lab.cleared():
        output = passes(lab.play("site.yml", "--skip-tags", "verify", "--diff"))
        assert "PRIVATE KEY" not in output
        yield lab


def address_of(lab: Lab, service: str, network: str) -> str:
    shown = json.loads(docker("container", "inspect", f"{lab.name}-{service}-1"))[0]
    return str(shown["NetworkSettings"]["Networks"][network]["IPAddress"])


def stranger(lab: Lab, network: str) -> str:
    """What somebody without a certificate gets to hear on this network."""
    image = docker("container", "inspect", "--format={{.Config.Image}}", f"{lab.name}-dask-scheduler-1")
    address = address_of(lab, "dask-scheduler", f"{lab.name}_dask")
    return docker("run", "--rm", f"--network={network}", image, "python", "-c", STRANGER, address)


def states(lab: Lab) -> dict[str, str]:
    """Whether each container of scheduler and workers is well."""
    lines = lab.compose("ps", "--format", "{{.Name}} {{.Health}}").splitlines()
    pairs = (line.partition(" ") for line in lines)
    return {name.removeprefix(f"{lab.name}-"): health for name, _, health in pairs}


def test_two_workers_have_joined_and_nothing_is_published(lab: Lab) -> None:
    names = ("dask-scheduler-1", "dask-worker-1", "dask-worker-2")
    assert {name: state for name, state in states(lab).items() if name.startswith("dask")} == dict.fromkeys(
        names, "healthy"
    )
    for name in names:
        assert docker("container", "port", f"{lab.name}-{name}") == ""
    for path in (lab.stack / ".secrets/dask").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_uid == 10001
    # The authority's own key is not on the Docker host's side.
    assert not list(lab.stack.rglob("ca.key"))


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    before = docker("ps", "--quiet", "--no-trunc", f"--filter=name={lab.name}-")
    assert "changed=0" in passes(lab.play("site.yml", "--skip-tags", "verify"))
    assert docker("ps", "--quiet", "--no-trunc", f"--filter=name={lab.name}-") == before


def test_without_the_network_there_is_no_way_and_without_a_certificate_no_answer(lab: Lab) -> None:
    assert stranger(lab, lab.name).startswith("no way:")
    assert stranger(lab, "bridge").startswith("no way:")
    assert stranger(lab, f"{lab.name}_dask").startswith("refused: TLSV13_ALERT_CERTIFICATE_REQUIRED")
    within = ("exec", "-T", "-e", "DASK_CONFIG=/nowhere", "experiment-service")
    done = subprocess.run(
        ["docker", "compose", *within, *ENTRYPOINT, "--engine", "dask"],
        cwd=lab.stack,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "error: cannot use the scheduler at tls://dask-scheduler:8786" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sweep_that_loses_a_worker_leaves_every_file_on_the_sftp_server(lab: Lab) -> None:
    arguments = ("--engine", "dask", "--json", "--trials", "4", "--epochs", "200")
    sweep = subprocess.Popen(
        ["docker", "compose", "run", "--rm", "-T", "train", *ENTRYPOINT, *arguments],
        cwd=lab.stack,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: trials(lab).count("RUNNING") == 2, 240)
    time.sleep(2)
    # All of its processes; the engine would not start again what was killed from outside.
    worker = f"{lab.name}-dask-worker-1"
    subprocess.run(["docker", "exec", worker, "bash", "-c", "kill -9 -1"], check=False)
    out, err = sweep.communicate(timeout=600)
    assert sweep.returncode == 0, err

    done = json.loads(out)
    assert sorted(trials(lab)) == [*["FINISHED"] * 4, "KILLED"]
    stored = f"{DIRECTORY}/{done['experiment_id']}"
    expected = {
        f"{stored}/{trial['run_id']}/artifacts/{path}": digest
        for trial in done["trials"]
        for path, digest in trial["digests"].items()
    } | {f"{stored}/{done['run_id']}/artifacts/{each['path']}": each["digest"] for each in done["shards"]}
    assert len(expected) == 4 * 3 + 4
    found = docker("exec", f"{lab.name}-sftp", "sha256sum", *expected)
    assert {path: digest for digest, path in (line.split() for line in found.splitlines())} == expected
    eventually(lambda: states(lab)["dask-worker-1"] == "healthy", 120)


def trials(lab: Lab) -> list[str]:
    """The states of the runs of all trials, asked for where the server is."""
    code = (
        "import mlflow; c = mlflow.MlflowClient('http://localhost:5000');"
        "found = c.get_experiment_by_name('image_scoring');"
        "runs = c.search_runs([found.experiment_id]) if found else [];"
        "print('states', *[r.info.status for r in runs if 'sweep.trial' in r.data.tags])"
    )
    return lab.compose("exec", "-T", "mlflow", "python", "-c", code).splitlines()[-1].split()[1:]


def test_what_is_switched_off_goes(lab: Lab) -> None:
    passes(lab.play("site.yml", "--skip-tags", "verify", mlflow_stack_dask=False))
    assert not [name for name in states(lab) if name.startswith("dask")]
    assert not (lab.stack / "dask").exists()
    assert not (lab.stack / ".secrets/dask").exists()
