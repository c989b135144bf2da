# SPDX-License-Identifier: GPL-3.0-or-later
"""Another password for the database of a stack that a swarm serves, while its servers go on one by one.

Servers of before and after overlap, and a role of PostgreSQL has one password. So there is a second role for a while,
a member of the first one that acts as it: servers go over to that one, then the first one gets its new password, and
servers go back to it. PostgreSQL itself is started anew in between, since a swarm changes no secret of what runs.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.durable_file import read, write
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import PYTHON
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.on_swarm import (
    ServedSecrets,
    Server,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.secrets import (
    ALPHABET,
    LENGTH,
    SECRETS,
    digest,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm import passfile

ROLE, SECOND = "mlflow", "mlflow_rotation"
_URI = "MLFLOW_BACKEND_STORE_URI"
_SECONDS = 120
# What is neither accepted nor refused is an error. A role that pg_hba.conf does not name is refused as well; a database
# that has just started may not be found for a moment.
_TRY = """
import json, sys, time
import psycopg
def accepted(user, password, tries=10):
    try:
        psycopg.connect(host="postgres", user=user, dbname="mlflow", password=password, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error) or "no pg_hba.conf entry" in str(error):
            return False
        if not tries:
            raise
        time.sleep(1)
        return accepted(user, password, tries - 1)
    return True
print(json.dumps([accepted(*each) for each in json.load(sys.stdin)]))
"""
_BEGIN = """\
SET log_min_error_statement = panic;
SET log_statement = none;
DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{second}') THEN CREATE ROLE {second}; END IF; END $$;
ALTER ROLE {second} LOGIN PASSWORD '{password}';
GRANT {role} TO {second};
ALTER ROLE {second} SET role = '{role}';
"""
END = f"DROP ROLE IF EXISTS {SECOND};\n"


class PasswordRotation:
    """A rotation of the password, each step of which may be repeated; whoever calls it holds the lock of cutovers."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._served = ServedSecrets(stack)
        directory = stack.settings.directory
        self._environment = directory / ".env"
        self._password = directory / ".secrets" / "postgres_password"
        self._passfile = directory / ".secrets" / "pgpass"
        place = directory / ".secrets" / "rotation"
        self._before = place / "postgres_password.before"
        self._next = place / "postgres_password.next"

    @property
    def interrupted(self) -> bool:
        """Whether an earlier rotation has not come to its end."""
        return self._before.exists()

    def require_possible(self, asked: Sequence[str]) -> None:
        """Refuse what would fail on the way.

        Raises:
            RefusedError: Nothing was changed.
        """
        if "postgres" not in self._stack.project.services:
            seen, remedy = SECRETS["database_password"].missing
            raise RefusedError(f"{seen}. Nothing was changed", remedy)
        self._served.require_quiet(["postgres", "mlflow"], asked)
        present = self._password.read_text()
        if not self.interrupted and self._accepted((ROLE, present)) != [True]:
            raise RefusedError(
                f"The password in {self._password} is refused by the database. Nothing was changed",
                "Run site.yml first",
            )

    def begin(self) -> str:
        """Put the old and the new password aside; return the statements with which the second role logs in."""
        self._next.parent.mkdir(mode=0o700, exist_ok=True)
        if not self.interrupted:
            new = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
            write(self._next, new.encode(), (0, 0))
            write(self._before, read(self._password), (0, 0))
        return _BEGIN.format(role=ROLE, second=SECOND, password=self._next.read_text())

    def bridge(self) -> None:
        """Let the servers log in as the second role, one after the other.

        Raises:
            CutoverError: They do not; those that there were go on as the first one.
        """
        old, new = self._before.read_text(), self._next.read_text()
        if self._accepted((SECOND, new)) != [True]:
            raise CutoverError(
                f"PostgreSQL does not let the role {SECOND} in, as which servers log in meanwhile. The password is the "
                "old one",
                "Run site.yml, which starts PostgreSQL anew with a pg_hba.conf that does, and this playbook again",
            )
        self._write(new)
        try:
            self._served.give("mlflow", {_URI: self._stack.database.replace(f"//{ROLE}@", f"//{SECOND}@")})
        except CutoverError:
            if self._password_in_use(old):
                self._write(old)
            raise

    def replace(self) -> None:
        """Give PostgreSQL the new password, and let the servers log in as the first role again.

        Raises:
            CutoverError: Servers go on as the second role, or as the first one with the new password.
        """
        old, new = self._before.read_text(), self._next.read_text()
        self._served.give("postgres")
        if self._accepted((ROLE, new), (ROLE, old)) != [True, False]:
            raise CutoverError(
                "PostgreSQL was started anew, and does not have the new password; servers log in as another role",
                "Run this playbook again",
            )
        self._served.give("mlflow", {_URI: self._stack.database})

    def database(self) -> Server:
        """Return where PostgreSQL runs."""
        return self._served.servers("postgres")[0]

    def finish(self) -> None:
        """Forget the old password."""
        self._served.prune()
        for path in (self._before, self._next):
            path.unlink(missing_ok=True)
        if not any(self._next.parent.iterdir()):
            self._next.parent.rmdir()

    def _password_in_use(self, password: str) -> bool:
        return self._accepted((ROLE, password)) == [True]

    def _write(self, password: str) -> None:
        """Give the files of the home a password, as site.yml writes them."""
        uri = self._stack.database.partition("?")[0].replace(f"//{ROLE}@", f"//{ROLE}:{password}@")
        text = self._environment.read_text()
        for path, content in (
            (self._password, password),
            (self._passfile, passfile.apart(uri).passfile),
            (self._environment, text.replace(digest(self._password.read_text()), digest(password))),
        ):
            _replace(path, content)

    def _accepted(self, *tried: tuple[str, str]) -> list[bool]:
        """Return which roles with which passwords the database lets in."""
        name = self._stack.planner
        self._stack.start_tool(name, ())
        try:
            done = subprocess.run(
                ["docker", "exec", "--interactive", name, PYTHON, "-c", _TRY],
                input=json.dumps(tried),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CutoverError(f"the database did not say within {_SECONDS} s whom it lets in") from None
        finally:
            docker.remove(name)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            for _, password in tried:
                said = said.replace(password, "...")
            raise CutoverError(f"the database's password could not be tried: {said}")
        found: list[bool] = json.loads(done.stdout)
        return found


def _replace(path: Path, content: str) -> None:
    owner = path.stat()
    write(path, content.encode(), (owner.st_uid, owner.st_gid), owner.st_mode & 0o777)
