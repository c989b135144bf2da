"""A real PostgreSQL server of Debian's package in a private directory, on a Unix socket."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

_START_SECONDS = "30"
# The server refuses to run as root; Debian's package brings this account.
_SERVER_USER = "postgres"


def server_programs() -> Path | None:
    """Return the directory of the newest installed server's programs, None without one."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    return versions[-1].parent if versions else None


class PostgresServer:
    """A cluster that listens on a Unix socket only; use as a context manager.

    It trusts everybody but the role `cautious`, which it asks for a password. It runs as the current user, or as
    `postgres` where that is root.
    """

    def __init__(self) -> None:
        programs = server_programs()
        if programs is None:
            raise FileNotFoundError("no PostgreSQL server is installed: apt-get install postgresql")
        self._programs = programs
        # A socket's path must stay below 108 bytes, which pytest's directories do not promise.
        self._directory = Path(tempfile.mkdtemp(prefix="pg-"))
        self._data = self._directory / "data"
        self.log = self._directory / "log"
        self._as_user: list[str] = []
        if os.getuid() == 0:
            account = pwd.getpwnam(_SERVER_USER)
            os.chown(self._directory, account.pw_uid, account.pw_gid)
            self._as_user = [
                "setpriv",
                f"--reuid={account.pw_uid}",
                f"--regid={account.pw_gid}",
                "--clear-groups",
            ]
        self.user = _SERVER_USER

    def __enter__(self) -> Self:
        try:
            self._run(
                "initdb", f"--pgdata={self._data}", "--auth=trust", f"--username={self.user}", "--no-sync"
            )
            rules = "local all cautious scram-sha-256\nlocal all all trust\n"
            (self._data / "pg_hba.conf").write_text(rules)
            self.start()
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run("pg_ctl", "stop", f"--pgdata={self._data}", "--mode=immediate", "--wait")
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-k {self._directory} -c listen_addresses= -c unix_socket_permissions=0777"
        self._run(
            "pg_ctl", "start", "--wait", f"--timeout={_START_SECONDS}",
            f"--pgdata={self._data}", f"--log={self.log}", f"--options={options}",
        )  # fmt: skip

    def restart(self) -> None:
        """Crash the server as a power cut would (no shutdown checkpoint) and start it again."""
        self._run("pg_ctl", "stop", f"--pgdata={self._data}", "--mode=immediate", "--wait")
        self.start()

    def uri(self, database: str) -> str:
        """Return the SQLAlchemy URI of `database`, as MLflow takes it."""
        return f"postgresql+psycopg://{self.user}@/{database}?host={self._directory}"

    def create(self, database: str, template: str = "template1") -> str:
        """Create `database` as a copy of `template`, whose users are thrown out, and return its URI."""
        self.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{template}'")
        self.sql(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        return self.uri(database)

    def sql(self, statement: str, database: str = "postgres") -> None:
        """Run one statement in `database`."""
        address = (f"--host={self._directory}", f"--username={self.user}", f"--dbname={database}")
        self._run("psql", *address, "--set=ON_ERROR_STOP=1", f"--command={statement}")

    def set_password(self, password: str) -> None:
        """Make the role `cautious` a superuser with a password, or give the one that is there another."""
        exists = "EXCEPTION WHEN duplicate_object THEN NULL"
        self.sql(f"DO $$ BEGIN CREATE ROLE cautious SUPERUSER LOGIN; {exists}; END $$")
        self.sql(f"ALTER ROLE cautious PASSWORD '{password}'")

    def restore(self, database: str, dump: Path) -> None:
        """Load a custom-format dump into `database`, which must be empty."""
        readable = self._directory / "restored"
        readable.write_bytes(dump.read_bytes())
        address = (f"--host={self._directory}", f"--username={self.user}", f"--dbname={database}")
        self._run("pg_restore", *address, "--exit-on-error", "--no-owner", str(readable))

    def _run(self, program: str, *arguments: str) -> None:
        # pg_ctl leaves the server its standard streams: a pipe would stay open for as long as it lives.
        with (self._directory / "command.log").open("ab") as log:
            subprocess.run(
                [*self._as_user, str(self._programs / program), *arguments],
                check=True, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(),
            )  # fmt: skip


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C.UTF-8"}
