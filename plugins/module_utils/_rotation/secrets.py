# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation of a secret that the collection generated: the notebook's token, or the password of the stack's database.

The secret's file is what counts: whatever is interrupted, the next rotation, or site.yml, gives the services what it
holds. The old secret lies aside until the new one is proved and the old one refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import string
import subprocess
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import translated
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.durable_file import read, write
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import PYTHON
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack

# As the role mlflow_stack makes secrets.
ALPHABET = string.ascii_letters + string.digits
LENGTH = 40
_TRY_SECONDS = 60
# Both read secrets by name, and print which of them are accepted; what is neither accepted nor refused is an error.
_TRY_TOKENS = """
import json, os, sys
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener
path = os.environ.get("NOTEBOOK_PATH", "")
def accepted(token):
    question = Request(f"http://localhost:8888{path}/api/kernels", headers={"Authorization": f"token {token}"})
    try:
        return build_opener(ProxyHandler({})).open(question, timeout=10).status == 200
    except HTTPError as error:
        if error.code != 403:
            raise
        return False
print(json.dumps({name: accepted(token) for name, token in json.load(sys.stdin).items()}))
"""
_TRY_PASSWORDS = """
import json, sys
import psycopg
def accepted(password):
    try:
        psycopg.connect(host="postgres", user="mlflow", dbname="mlflow", password=password, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise
        return False
    return True
print(json.dumps({name: accepted(password) for name, password in json.load(sys.stdin).items()}))
"""


@dataclass(frozen=True)
class Secret:
    """A secret of a stack.

    Attributes:
        title: What it is called.
        file: Its name in ``.secrets``.
        services: Which are started anew with another one, in this order.
        tried_in: The service in whose container it is tried.
        script: The Python program that tries it there.
        missing: Why a stack has none, and what to do.
    """

    title: str
    file: str
    services: tuple[str, ...]
    tried_in: str
    script: str
    missing: tuple[str, str]


SECRETS: Mapping[str, Secret] = {
    "notebook_token": Secret(
        "the notebook's token",
        "notebook_token",
        ("notebook",),
        "notebook",
        _TRY_TOKENS,
        ("This stack has no service notebook", "Leave notebook_token out"),
    ),
    "database_password": Secret(
        "the database's password",
        "postgres_password",
        ("postgres", "mlflow"),
        "mlflow",
        _TRY_PASSWORDS,
        (
            "This stack has no PostgreSQL of its own, whose password could be replaced",
            "SQLite has none; for a database of your own, change the password there, put it into "
            "mlflow_stack_backend_store and run site.yml",
        ),
    ),
}


def exchanged(environment: str, secret: str, old: str, new: str) -> str:
    """Return the text of a stack's ``.env`` with another secret.

    Raises:
        CutoverError: It does not hold the old one.
    """
    if secret == "notebook_token":  # noqa: S105  # A name.
        changes = {f"JUPYTER_TOKEN='{old}'": f"JUPYTER_TOKEN='{new}'"}
    else:
        changes = {
            f"://mlflow:{old}@postgres:": f"://mlflow:{new}@postgres:",
            f"POSTGRES_PASSWORD_DIGEST='{digest(old)}'": f"POSTGRES_PASSWORD_DIGEST='{digest(new)}'",
        }
    for before, after in changes.items():
        if before not in environment:
            raise CutoverError(f".env does not hold what {SECRETS[secret].title} is", "Run site.yml first")
        environment = environment.replace(before, after)
    return environment


def digest(password: str) -> str:
    """Return by what Compose sees that PostgreSQL has another password; role mlflow_stack writes it into ``.env``."""
    return hashlib.sha256(password.encode()).hexdigest()[:16]


class SecretRotation:
    """A rotation of one secret of a deployed stack; whoever calls it holds the lock of the stack's cutovers."""

    def __init__(self, stack: Stack, name: str) -> None:
        self._stack = stack
        self._name = name
        self._secret = SECRETS[name]
        directory = stack.settings.directory
        self._file = directory / ".secrets" / self._secret.file
        self._place = directory / ".secrets" / "rotation"
        self._before = self._place / f"{self._secret.file}.before"
        self._environment = directory / ".env"

    @property
    def interrupted(self) -> bool:
        """Whether an earlier rotation has not come to its end."""
        return self._before.exists()

    def require_possible(self) -> None:
        """Require a secret that can be replaced, and that is accepted now.

        Raises:
            RefusedError: There is none, or it is not the one in use.
        """
        if not set(self._secret.services) <= set(self._stack.project.services) or not self._file.exists():
            seen, remedy = self._secret.missing
            raise RefusedError(f"{seen}. Nothing was changed", remedy)
        if self.interrupted:
            return
        present = self._present
        try:
            exchanged(self._environment.read_text(), self._name, present, present)
            if not self._try({"present": present})["present"]:
                raise CutoverError(f"{self._secret.title} in {self._file} is refused", "Run site.yml first")
        except CutoverError as error:
            raise RefusedError(f"{error.seen}. Nothing was changed", error.remedy) from error

    def rotate(self) -> None:
        """Replace the secret, and require that the new one is accepted and the old one refused.

        Raises:
            CutoverError: What went wrong, and whether the old secret is in use again.
        """
        self._forget_what_is_over()
        old = self._put_aside()
        new = self._present
        if new == old:
            new = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
        try:
            self._use(new)
            self._require_replaced(old, new)
        except CutoverError as error:
            raise self._gone_back(error, old) from error
        self._forget()

    @property
    def _observers(self) -> tuple[str, ...]:
        """Services that hold secrets of others; one that does not hold this one is left alone."""
        return tuple({"monitor"} & set(self._stack.project.services))

    def _forget_what_is_over(self) -> None:
        """Forget what an earlier rotation has left aside, where the present secret is in use and that one refused."""
        if not self.interrupted:
            return
        try:
            found = self._try({"before": self._before.read_text().strip(), "present": self._present})
        except CutoverError:
            # It was interrupted while the services were down.
            return
        if found["present"] and not found["before"]:
            self._forget()

    def _put_aside(self) -> str:
        self._place.mkdir(mode=0o700, exist_ok=True)
        if not self.interrupted:
            write(self._before, read(self._file), (0, 0))
        return self._before.read_text().strip()

    def _forget(self) -> None:
        self._before.unlink()
        if not any(self._place.iterdir()):
            self._place.rmdir()

    def _use(self, secret: str) -> None:
        """Give the file and ``.env`` a secret, and start the services with it that had another one."""
        text = self._environment.read_text()
        present = _secret_in(text, self._name)
        owner = self._file.stat()
        with translated(f"{self._secret.title} cannot be written"):
            write(self._file, secret.encode(), (owner.st_uid, owner.st_gid))
            write(self._environment, exchanged(text, self._name, present, secret).encode(), (0, 0))
        limit = f"--wait-timeout={self._stack.settings.wait_timeout}"
        containers = [f"{self._stack.project.name}-{name}-1" for name in self._secret.services]
        closes = "mlflow" in self._secret.services
        up = ("up", "--detach", "--no-build", "--wait", limit)
        with docker.complaining(*containers):
            with self._stack.requests_waiting() if closes else nullcontext():
                # A request that is being answered ends first, instead of losing its transaction and perhaps its answer.
                for service in reversed(self._secret.services[1:]):
                    self._stack.compose.run("stop", service)
                # Each after those that it needs. With --no-deps, Compose would take them for others than in its file.
                for service in self._secret.services:
                    self._stack.compose.run(*up, service)
            for service in self._observers:
                self._stack.compose.run(*up, service)

    def _require_replaced(self, old: str, new: str) -> None:
        found = self._try({"old": old, "new": new})
        if not found["new"]:
            raise CutoverError(f"the new secret is refused, which is {self._secret.title} now")
        if found["old"]:
            raise CutoverError(f"the old secret is still accepted as {self._secret.title}")

    def _gone_back(self, error: CutoverError, old: str) -> CutoverError:
        """Use the old secret again, and return what to say."""
        try:
            self._use(old)
        except CutoverError as second:
            return CutoverError(
                f"{error} | Going back to the old secret failed as well: {second}",
                "Mend what failed, and run this playbook again",
            )
        self._forget()
        return CutoverError(f"{error} | {self._secret.title.capitalize()} is the old one again")

    def _try(self, tried: Mapping[str, str]) -> Mapping[str, bool]:
        """Return which of these secrets are accepted."""
        container = f"{self._stack.project.name}-{self._secret.tried_in}-1"
        try:
            done = subprocess.run(
                ["docker", "exec", "--interactive", container, PYTHON, "-c", self._secret.script],
                input=json.dumps(tried),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TRY_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CutoverError(f"{container} did not say within {_TRY_SECONDS} s whether it works") from None
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            for each in tried.values():
                said = said.replace(each, "...")
            raise CutoverError(f"{self._secret.title} could not be tried in {container}: {said}")
        found: Mapping[str, bool] = json.loads(done.stdout)
        return found

    @property
    def _present(self) -> str:
        return self._file.read_text().strip()


def _secret_in(environment: str, name: str) -> str:
    """Return the secret that a stack's ``.env`` holds; raises CutoverError where it holds none."""
    pattern = r"JUPYTER_TOKEN='([^']*)'" if name == "notebook_token" else r"://mlflow:([^@]*)@postgres:"
    found = re.search(pattern, environment)
    if found is None:
        raise CutoverError(f".env does not hold {SECRETS[name].title}", "Run site.yml first")
    return found[1]
