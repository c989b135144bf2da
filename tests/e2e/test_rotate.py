"""New keys and secrets for a stack while a client logs: nothing fails, and what was replaced is refused.

The tests of this file are steps of one story on one stack, whose SFTP server becomes a hosted one on the way.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.support.ansible import Outcome, run_module
from tests.support.docker import docker
from tests.support.lab import Lab
from tests.support.server import keygen
from tests.support.stack import fails, passes

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(1200)]

ROTATE = "playbooks/rotate.yml"
# As the account of a provider is: the keys lie where the account itself writes.
HOSTED = {
    "sftp_target_mode": "hosted",
    "sftp_target_authorized_keys_file": "/agent.freegee.ch/artifacts/.ssh/authorized_keys",
}
_KEYS = "/etc/ssh/sftp_authorized_keys/freegee"
_HOSTED_KEYS = "/srv/sftp/freegee/agent.freegee.ch/artifacts/.ssh/authorized_keys"
# Logs in anew for each run.
CLIENT = """
import itertools, os, time, mlflow
for number in itertools.count():
    if os.path.exists("/tmp/enough"):
        break
    try:
        with mlflow.start_run():
            mlflow.log_text(f"number {number}", "number.txt")
        print("logged", flush=True)
    except Exception as error:
        print(f"failed {error}", flush=True)
    time.sleep(0.6)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    settings: dict[str, object] = {"mlflow_stack_backend_store": "postgresql"}
    lab = Lab("mlflow-rotate", tmp_path_factory.mktemp("rotate") / "lab", 14021, settings)
    with lab.cleared():
        passes(lab.play("site.yml", "--skip-tags", "verify"))
        yield lab


@pytest.fixture
def hosted(lab: Lab) -> dict[str, object]:
    """Variables of the lab once its server reads the keys where the account can write them."""
    script = f"""
    mkdir -p {Path(_HOSTED_KEYS).parent}; cp {_KEYS} {_HOSTED_KEYS}
    chown -R freegee:freegee {Path(_HOSTED_KEYS).parent}; chmod 700 {Path(_HOSTED_KEYS).parent}
    sed -i 's#AuthorizedKeysFile .*#AuthorizedKeysFile {_HOSTED_KEYS}#' /etc/ssh/sshd_config.d/00-sftp-freegee.conf
    kill -HUP 1
    """
    container = str(lab.variables["lab_sftp_container"])
    if _HOSTED_KEYS not in docker("exec", container, "sh", "-c", "cat /etc/ssh/sshd_config.d/*"):
        docker("exec", container, "sh", "-ec", script)
        time.sleep(1)
    return {**lab.settings, **HOSTED}


@contextmanager
def client(lab: Lab) -> Iterator[list[str]]:
    """A client that logs all the while; in the end the list has what it said."""
    said: list[str] = []
    lab.compose("exec", "-T", "experiment-service", "rm", "-f", "/tmp/enough")
    command = ["docker", "compose", "exec", "-T", "--env", "MLFLOW_SFTP_IDLE_TIMEOUT=0.2"]
    command += ["experiment-service", "python", "-c", CLIENT]
    with subprocess.Popen(
        command, cwd=lab.stack, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        while "logged" not in process.stdout.readline():
            assert process.poll() is None
        try:
            yield said
        finally:
            lab.compose("exec", "-T", "experiment-service", "touch", "/tmp/enough")
            said += [line.strip() for line in process.stdout if line.startswith(("logged", "failed"))]


def login(lab: Lab, key: Path) -> str:
    """Log in with a key from here; return the cause of a refusal, or nothing."""
    options = {
        "host": "tajo.host.ch",
        "port": lab.port,
        "address": "127.0.0.1",
        "user": "freegee",
        "private_key_file": str(key),
        "known_hosts_file": str(lab.stack / "mlflow/known_hosts"),
        "fail_on_error": False,
    }
    return str(run_module("sftp_check", options).result.get("cause", ""))


def key_of(lab: Lab) -> Path:
    return lab.stack / ".secrets/mlflow_sftp_key/id_ed25519"


def copy_of_key(lab: Lab, directory: Path) -> Path:
    """A copy of the key in use, as a thief has it."""
    copy = directory / "old"
    copy.write_text(key_of(lab).read_text())
    copy.chmod(0o600)
    return copy


def state_of(lab: Lab) -> dict[str, object]:
    container = str(lab.variables["lab_sftp_container"])
    return {
        "key": key_of(lab).read_text(),
        "authorized": docker("exec", container, "cat", _KEYS),
        "containers": lab.containers(),
        "secrets": sorted(path.name for path in (lab.stack / ".secrets").rglob("*")),
    }


def require_rotated(lab: Lab, outcome: Outcome, old: Path) -> str:
    """The old key is refused, the new one logs in, and nobody was told either of them."""
    output = passes(outcome)
    for key in (old, key_of(lab)):
        lines = [line for line in key.read_text().splitlines() if "PRIVATE KEY" not in line]
        assert not [line for line in lines if line in outcome.output]
    assert key_of(lab).read_text() != old.read_text()
    assert login(lab, old) == "auth_refused"
    assert login(lab, key_of(lab)) == ""
    assert not (lab.stack / ".secrets/rotation").exists()
    return output


def test_refused_before_anything_is_changed(lab: Lab, tmp_path: Path) -> None:
    before = state_of(lab)
    assert "Say what is to be replaced" in fails(lab.play(ROTATE))
    in_use = copy_of_key(lab, tmp_path)
    bad = {
        "is the one that is in use": {"rotate_private_key_file": str(in_use)},
        "the controller has no such file": {"rotate_private_key_file": str(tmp_path / "nothing")},
        "does not accept the new key": {
            "rotate_private_key_file": str(keygen(tmp_path / "new", "ed25519")),
            "key_is_authorized": True,
        },
        "needs an account that is well": {"sftp_address": "127.0.0.77"},
    }
    for words, variables in bad.items():
        output = fails(lab.play(ROTATE, rotate="ssh_key", **variables))
        assert words in output
        assert "Nothing was changed" in output or "Nothing has been changed" in output
    assert state_of(lab) == before


def test_a_key_that_somebody_uses_is_refused(lab: Lab, tmp_path: Path) -> None:
    other = keygen(tmp_path / "other", "ed25519")
    container = str(lab.variables["lab_sftp_container"])
    line = f"restrict {other.with_suffix('.pub').read_text().strip()}"
    docker("exec", container, "sh", "-c", f"echo '{line}' >>{_KEYS}")
    before = state_of(lab)
    output = fails(lab.play(ROTATE, rotate="ssh_key", rotate_private_key_file=str(other)))
    assert "accepts the new key" in output
    assert "Nothing has been changed" in output
    assert state_of(lab) == before


def test_check_mode_changes_nothing(lab: Lab) -> None:
    before = state_of(lab)
    output = passes(lab.play(ROTATE, "--check", "--diff", rotate="ssh_key"))
    assert "is to be replaced by a new one" in output
    assert "A real run would now give the services the new key" in output
    assert state_of(lab) == before


def test_a_new_key_on_an_owned_server_while_a_client_logs(lab: Lab, tmp_path: Path) -> None:
    old, containers = copy_of_key(lab, tmp_path), lab.containers()
    with client(lab) as said:
        outcome = lab.play(ROTATE, "-vvv", "--diff", rotate="ssh_key")
    output = require_rotated(lab, outcome, old)
    assert [line for line in said if line.startswith("failed")] == []
    assert len(said) > 5
    assert "experiment-service, mlflow, notebook, train" in output
    # Neither the rotation nor the next deployment starts a service anew.
    assert lab.containers() == containers
    passes(lab.play("site.yml", "--tags", "sftp,stack"))
    assert lab.containers() == containers
    assert login(lab, old) == "auth_refused"


@pytest.mark.parametrize(
    "states",
    [pytest.param(("begun",), marks=pytest.mark.sweep), ("begun", "installed")],
    ids=["begun", "installed"],
)
def test_an_interrupted_rotation_goes_on(lab: Lab, tmp_path: Path, states: tuple[str, ...]) -> None:
    old = copy_of_key(lab, tmp_path)
    for state in states:
        done = run_module("mlflow_ssh_key_rotation", {"directory": str(lab.stack), "state": state})
        assert done.result["changed"]
    if "installed" in states:
        # By then the new key is authorized, beside the old one.
        public = (key_of(lab).with_suffix(".pub")).read_text().strip()
        container = str(lab.variables["lab_sftp_container"])
        docker("exec", container, "sh", "-c", f"echo 'restrict {public}' >>{_KEYS}")
    output = require_rotated(lab, lab.play(ROTATE, rotate="ssh_key"), old)
    assert "has begun and goes on" in output


@pytest.mark.sweep
def test_an_account_that_goes_on_accepting_the_old_key(lab: Lab, tmp_path: Path) -> None:
    """Another file authorizes it as well, which only its operator can change."""
    old = copy_of_key(lab, tmp_path)
    container = str(lab.variables["lab_sftp_container"])
    config = "/etc/ssh/sshd_config.d/00-sftp-freegee.conf"
    docker("exec", container, "sh", "-ec", f"cp {_KEYS} /etc/ssh/other_keys; cp {config} /root/config")
    docker("exec", container, "sh", "-ec", f"sed -i 's#{_KEYS}#& /etc/ssh/other_keys#' {config}; kill -HUP 1")
    time.sleep(1)
    output = fails(lab.play(ROTATE, rotate="ssh_key"))
    assert "still accepts the old one" in output
    assert login(lab, key_of(lab)) == ""
    docker("exec", container, "sh", "-ec", f"cp /root/config {config}; kill -HUP 1")
    time.sleep(1)
    require_rotated(lab, lab.play(ROTATE, rotate="ssh_key"), old)


def test_a_new_key_on_a_hosted_account_while_a_client_logs(
    lab: Lab, hosted: dict[str, object], tmp_path: Path
) -> None:
    old, containers = copy_of_key(lab, tmp_path), lab.containers()
    given = keygen(tmp_path / "given", "ed25519")
    with client(lab) as said:
        variables = {"rotate": "ssh_key", "rotate_private_key_file": str(given)}
        outcome = lab.play(ROTATE, "-vvv", "--diff", **(HOSTED | variables))
    require_rotated(lab, outcome, old)
    assert key_of(lab).read_text() == given.read_text()
    assert [line for line in said if line.startswith("failed")] == []
    assert lab.containers() == containers
    authorized = docker("exec", str(lab.variables["lab_sftp_container"]), "cat", _HOSTED_KEYS)
    assert json.dumps(given.with_suffix(".pub").read_text().split()[1])[1:-1] in authorized


def answer_to(lab: Lab, token: str) -> int:
    """The status with which the notebook answers whoever has a token."""
    url = f"http://127.0.0.1:{lab.port + 2}/api/kernels"
    try:
        return int(urlopen(Request(url, headers={"Authorization": f"token {token}"})).status)
    except HTTPError as error:
        return error.code


def password_accepted(lab: Lab, password: str) -> bool:
    code = (
        "import psycopg, sys; psycopg.connect(host='postgres', user='mlflow', dbname='mlflow',"
        "password=sys.stdin.read().strip())"
    )
    command = ["docker", "compose", "exec", "-T", "mlflow", "python", "-c", code]
    done = subprocess.run(command, cwd=lab.stack, input=password, capture_output=True, text=True)
    assert not done.returncode or "password authentication failed" in done.stderr
    return not done.returncode


def test_token_and_password_while_a_client_logs(lab: Lab) -> None:
    token, password = ((lab.stack / ".secrets" / name) for name in ("notebook_token", "postgres_password"))
    old = {path: path.read_text() for path in (token, password)}
    owner, containers = password.stat().st_uid, lab.containers()
    names = {"rotate": "notebook_token,database_password"}
    assert "would replace the notebook's token" in passes(lab.play(ROTATE, "--check", **names))
    assert {path: path.read_text() for path in old} == old
    with client(lab) as said:
        outcome = lab.play(ROTATE, "-vvv", "--diff", **names)
    passes(outcome)
    for path, before in old.items():
        assert path.read_text() != before
        assert before not in outcome.output
        assert path.read_text() not in outcome.output
    assert password.stat().st_uid == owner
    assert (answer_to(lab, old[token]), answer_to(lab, token.read_text())) == (403, 200)
    assert not password_accepted(lab, old[password])
    assert password_accepted(lab, password.read_text())
    # MLflow's own clients wait for a server that restarts.
    assert [line for line in said if line.startswith("failed")] == []
    assert lab.containers()["experiment-service"] == containers["experiment-service"]
    assert not (lab.stack / ".secrets/rotation").exists()
    now = lab.containers()
    passes(lab.play("site.yml", "--tags", "stack", **HOSTED))
    assert lab.containers() == now


@pytest.mark.sweep
def test_secret_that_was_replaced_by_half(lab: Lab) -> None:
    """The file has the new password, and nobody else has: the next run goes on from there."""
    file = lab.stack / ".secrets/postgres_password"
    old = file.read_text()
    place = lab.stack / ".secrets/rotation"
    place.mkdir(mode=0o700)
    (place / "postgres_password.before").write_text(old)
    file.write_text("n" * 40)
    passes(lab.play(ROTATE, rotate="database_password"))
    assert not password_accepted(lab, old)
    assert password_accepted(lab, "n" * 40)
    assert not place.exists()


def test_token_of_the_inventory_is_refused(lab: Lab) -> None:
    output = fails(lab.play(ROTATE, rotate="notebook_token", mlflow_stack_notebook_token="mine"))
    assert "mlflow_stack_notebook_token" in output
    assert "changed=0" in output


@pytest.mark.sweep
def test_a_certificate_in_place_of_an_authorized_key(
    lab: Lab, hosted: dict[str, object], tmp_path: Path
) -> None:
    """The account knows the authority alone; a certificate that has expired is refused before anything is changed."""
    authority, key = keygen(tmp_path / "authority", "ed25519"), keygen(tmp_path / "key", "ed25519")
    container = str(lab.variables["lab_sftp_container"])
    config = "/etc/ssh/sshd_config.d/00-sftp-freegee.conf"
    public = authority.with_suffix(".pub").read_text().strip()
    script = f"echo '{public}' >/etc/ssh/authority.pub; echo '    TrustedUserCAKeys /etc/ssh/authority.pub' >>{config}"
    docker("exec", container, "sh", "-ec", f"{script}; kill -HUP 1")
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", "freegee"]
    variables = {
        "sftp_client_generate_key": False,
        "sftp_private_key_file": str(key),
        "sftp_certificate_file": f"{key}-cert.pub",
        **HOSTED,
    }
    tags = ("--tags", "preflight,sftp,stack")
    subprocess.run([*sign, "-V", "20240101Z:20250101Z", f"{key}.pub"], check=True)
    before = state_of(lab)
    output = fails(lab.play("site.yml", *tags, **variables))
    assert "has expired at 2025-01-01" in output
    assert state_of(lab) == before
    subprocess.run([*sign, "-V", "-1h:+1h", f"{key}.pub"], check=True)
    passes(lab.play("site.yml", *tags, **variables))
    assert key.with_suffix(".pub").read_text().split()[1] not in docker(
        "exec", container, "cat", _HOSTED_KEYS
    )
    log = (
        "import mlflow as m; r = m.start_run(); m.log_text('it', 'it.txt'); m.end_run(); print(r.info.run_id)"
    )
    run = lab.compose("exec", "-T", "experiment-service", "python", "-c", log).splitlines()[-1]
    read = f"import mlflow; print(mlflow.artifacts.load_text('runs:/{run}/it.txt'))"
    assert lab.compose("exec", "-T", "notebook", "python", "-c", read).splitlines()[-1] == "it"
    assert "an authority vouches for" in fails(lab.play(ROTATE, rotate="ssh_key", **variables))
    assert lab.containers() == before["containers"]
