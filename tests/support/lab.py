"""A lab of its own, beside whatever lab runs on this machine: other names, ports and directory."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.ansible import REPOSITORY, Outcome, run_playbook


@dataclass(frozen=True)
class Lab:
    """A lab of inventories/lab; `name` prefixes what Docker sees, `port` is the first of three ports."""

    name: str
    directory: Path
    port: int

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
        }

    @property
    def stack(self) -> Path:
        return self.directory / "stack"

    def play(self, playbook: str, *options: str, **variables: object) -> Outcome:
        """Run a playbook on the lab; `variables` are added to its own."""
        extra = json.dumps(self.variables | variables)
        return run_playbook(REPOSITORY / playbook, *options, "--extra-vars", extra, timeout=900)

    def compose(self, *arguments: str) -> str:
        """Run docker compose in the stack's directory and return what it prints."""
        done = subprocess.run(
            ["docker", "compose", *arguments], cwd=self.stack, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def containers(self) -> dict[str, str]:
        """Return the id of the container of each running service."""
        lines = self.compose("ps", "--format", "{{.Service}} {{.ID}}").splitlines()
        return dict(line.split() for line in lines)
