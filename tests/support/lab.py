"""A lab of its own, beside whatever lab runs on this machine: other names, ports and directory."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ansible import REPOSITORY, Outcome, run_playbook
from tests.support.docker import remove_leftovers


@dataclass(frozen=True)
class Lab:
    """A lab of inventories/lab; `name` prefixes what Docker sees, `port` is the first of three ports.

    `settings` are further variables of its inventory.
    """

    name: str
    directory: Path
    port: int
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, object]:
        return {
            "lab_dir": str(self.directory),
            "lab_network": self.name,
            "lab_sftp_container": f"{self.name}-sftp",
            "sftp_port": self.port,
            "mlflow_stack_port": self.port + 1,
            "mlflow_stack_notebook_port": self.port + 2,
            "mlflow_stack_project": self.name,
            # Each costs two seconds of a core at every start.
            "mlflow_stack_workers": 1,
            **self.settings,
        }

    @property
    def stack(self) -> Path:
        return self.directory / "stack"

    def play(
        self,
        playbook: str,
        *options: str,
        environment: dict[str, str] | None = None,
        **variables: object,
    ) -> Outcome:
        """Run a playbook on the lab; `variables` are added to its own."""
        extra = json.dumps(self.variables | variables)
        return run_playbook(
            REPOSITORY / playbook, *options, "--extra-vars", extra, environment=environment, timeout=900
        )

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Have nothing of this lab on the machine before, whatever an interrupted run left, and nothing after."""
        remove_leftovers(self.name)
        try:
            yield
        finally:
            self.play("playbooks/teardown.yml", keep_data=False)

    def play_until(
        self,
        step: str,
        playbook: str,
        act: Callable[[], None] | None = None,
        after: float = 0,
        **variables: object,
    ) -> Outcome:
        """Run a playbook; `after` seconds in a `step` of its cutover, call `act`, or kill (-9) all that it started."""
        for left in self.stack.glob("switches/*/step"):
            left.unlink()
        command = [Path(sys.executable).parent / "ansible-playbook", REPOSITORY / playbook]
        with (
            tempfile.TemporaryFile("w+") as output,
            subprocess.Popen(
                [*command, "--extra-vars", json.dumps(self.variables | variables)],
                cwd=REPOSITORY,
                env={**os.environ, "ANSIBLE_NOCOLOR": "true"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            reached = self._wait_for(step, process)
            if reached:
                time.sleep(after)
                act() if act else self._kill(process)
            process.wait()
            output.seek(0)
            text = output.read()
        assert reached, f"it never came to the step {step}:\n{text[-5000:]}"
        return Outcome({}, process.returncode != 0, text)

    def _wait_for(self, step: str, process: subprocess.Popen[bytes]) -> bool:
        while process.poll() is None:
            if any(path.read_text().strip() == step for path in self.stack.glob("switches/*/step")):
                return True
            time.sleep(0.002)
        return False

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the playbook, and the engine, which would go on without."""
        os.killpg(process.pid, signal.SIGKILL)
        holder = (self.stack / "switches/.lock").read_text()
        engine = int(holder.partition("process ")[2].partition(",")[0])
        with suppress(ProcessLookupError):
            os.kill(engine, signal.SIGKILL)

    def compose(self, *arguments: str, text: str | None = None) -> str:
        """Run docker compose in the stack's directory, with `text` as its input, and return what it prints."""
        done = subprocess.run(
            ["docker", "compose", *arguments],
            cwd=self.stack,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def containers(self) -> dict[str, str]:
        """Return the id of the container of each running service."""
        lines = self.compose("ps", "--format", "{{.Service}} {{.ID}}").splitlines()
        return dict(line.split() for line in lines)
