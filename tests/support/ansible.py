"""Running the collection's modules for real, as Ansible does."""

import importlib
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.testing import patch_module_args

REPOSITORY = Path(__file__).parents[2]
COLLECTION = "freegee.mlflow_sftp"
_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Outcome:
    """What a module returned, whether it failed, and all that was printed."""

    result: dict[str, Any]
    failed: bool
    output: str


def run_task(
    module: str,
    options: dict[str, Any],
    *,
    check: bool = False,
    environment: dict[str, str] | None = None,
) -> Outcome:
    """Run a module of the collection through ``ansible localhost -m``, most verbose and with diff."""
    command = [_BIN / "ansible", "localhost", "-vvv", "--diff", "-m", f"{COLLECTION}.{module}"]
    command += ["-a", json.dumps(options)] + ["--check"] * check
    done = _run(command, environment)
    # The callback prints one JSON document after "localhost | STATUS =>".
    _, _, text = done.stdout.partition("=> {")
    result, _ = json.JSONDecoder().raw_decode("{" + text) if text else ({}, 0)
    return Outcome(result, done.returncode != 0, done.stdout + done.stderr)


def run_module(
    module: str,
    options: dict[str, Any],
    *,
    check: bool = False,
    environment: dict[str, str] | None = None,
    python: str = sys.executable,
) -> Outcome:
    """Run a module of the collection without Ansible.

    It is a program of its own, as there; one that only logs in runs in this process, which spares half a second.
    """
    name = f"ansible_collections.{COLLECTION}.plugins.modules.{module}"
    arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": True}
    if module.startswith("sftp_") and environment is None and python == sys.executable:
        return _run_here(name, arguments)
    done = _run([python, "-m", name], environment, json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    lines = done.stdout.splitlines()
    result = json.loads(lines[-1]) if lines else {}
    return Outcome(result, bool(result.get("failed", done.returncode)), done.stdout + done.stderr)


def _run_here(name: str, arguments: dict[str, Any]) -> Outcome:
    program = importlib.import_module(name)
    with (
        redirect_stdout(io.StringIO()) as output,
        redirect_stderr(io.StringIO()) as errors,
        patch_module_args(arguments),
        suppress(SystemExit),
    ):
        program.main()
    result = json.loads(output.getvalue().splitlines()[-1])
    return Outcome(result, bool(result.get("failed")), output.getvalue() + errors.getvalue())


def run_playbook(
    playbook: Path, *arguments: str, environment: dict[str, str] | None = None, timeout: float = 120
) -> Outcome:
    """Run a playbook with the repository's ansible.cfg, for `timeout` seconds at most."""
    done = _run([_BIN / "ansible-playbook", playbook, *arguments], environment, timeout=timeout)
    return Outcome({}, done.returncode != 0, done.stdout + done.stderr)


def _run(
    command: list[Any], environment: dict[str, str] | None, text: str = "", timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    own = {
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_NOCOLOR": "true",
        "PYTHONPATH": str(REPOSITORY / ".ansible/collections"),
    }
    return subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **own, **(environment or {})},
        timeout=timeout,
    )
