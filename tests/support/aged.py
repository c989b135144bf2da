"""What piles up in the life of a stack, made for real, and made older: no clock has to be set."""

import hashlib
import io
import json
import os
import secrets
import subprocess
import tarfile
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import ID_FORMAT, write
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import load_all
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import (
    UpgradeRecord,
    Version,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

from mlflow_sftp.operations.audit import QUARANTINE
from tests.support.docker import docker
from tests.support.stack import Stack

DAY = 86400
_DAY_MS = DAY * 1000


class AgedStack:
    """A stack of a lab in which days pass; its own user is root, who may look into volumes."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.lab = stack.lab
        self.server = f"{self.lab.name}-mlflow-1"

    @property
    def switches(self) -> Path:
        return self.lab.stack / "switches"

    @property
    def store(self) -> Path:
        """Where the artifacts are: on the SFTP server's volume, or on that of local storage."""
        uri = self.stack.stored()[0]
        if uri.startswith("/"):
            return _volume(f"{self.lab.name}_artifacts")
        (root,) = _volume(f"{self.lab.name}-sftp").glob("**/agent.freegee.ch/artifacts")
        return root

    def delete_run(self, run: str) -> None:
        self._client(f"delete_run('{run}')")

    def restore_run(self, run: str) -> None:
        self._client(f"restore_run('{run}')")

    def log_and_delete(self) -> None:
        self._client(
            "log_text((run := MlflowClient().create_run('0').info.run_id), 'since', 'since.txt');"
            "MlflowClient().delete_run(run)"
        )

    def view(self, run: str) -> None:
        """Look at an artifact as MLflow's pages do."""
        url = f"http://127.0.0.1:{self.lab.port + 1}/get-artifact?path=since.txt&run_uuid={run}"
        with urlopen(url) as answer:
            assert answer.read() == b"since"

    def downloads(self) -> list[str]:
        """What is in the server's temporary directory, in directories without a name of their own."""
        return docker("exec", self.server, "find", "/tmp", "-path", "/tmp/tmp*", "-type", "f").split()

    def leave_download(self) -> None:
        """Leave what a server leaves that is killed while somebody looks at an artifact."""
        name = f"/tmp/tmp{secrets.token_hex(4)}"
        docker("exec", self.server, "sh", "-c", f"mkdir {name} && echo artifact >{name}/data")

    def leave_upload(self) -> Path:
        """Leave what a client leaves that is killed while it uploads."""
        return self._put(self.store / f".mlflow-sftp-{secrets.token_hex(8)}.part")

    def leave_in_quarantine(self, days: float) -> Path:
        return self._put(self.store / QUARANTINE / stamp(days) / secrets.token_hex(4) / "orphan")

    def leave_cutover(self, days: float, state: str = "done") -> Path:
        """Leave the record and the backup of an upgrade."""
        images = Version(image="freegee/mlflow-server:none", mlflow="3.17.2")
        store = Store.at("sftp", "direct", self.stack.stored()[0])
        record = UpgradeRecord(id=stamp(days), source=images, target=images, store=store, state=state)
        directory = self.switches / record.id
        (directory / "work").mkdir(parents=True)
        (directory / "work/database.backup").write_bytes(bytes(100_000))
        write(record, directory)
        return directory

    def leave_image(self, days: float, name: str = "") -> str:
        """Leave an image of the stack, made so many days ago; returns its name."""
        name = name or f"freegee/{self.lab.name}-test:{secrets.token_hex(4)}"
        load_image(name, {"freegee.mlflow_sftp.owner": str(self.lab.stack)}, days)
        return name

    def pass_days(self, days: int) -> None:
        """Make everything older."""
        self._execute(
            f"UPDATE {table} SET {column} = {column} - {days * _DAY_MS} WHERE lifecycle_stage = 'deleted'"
            for table, column in (
                ("runs", "deleted_time"),
                ("experiments", "last_update_time"),
                ("logged_models", "last_updated_timestamp_ms"),
            )
        )
        for path in self.store.rglob(".mlflow-sftp-*.part"):
            _touch(path, days)
        for path in self.store.glob(f"{QUARANTINE}/*"):
            path.rename(path.with_name(_earlier(path.name, days)))
        for record in load_all(self.switches):
            directory = self.switches / record.id
            earlier = replace(record, id=_earlier(record.id, days))
            directory.rename(directory.with_name(earlier.id))
            write(earlier, directory.with_name(earlier.id))
        code = (
            "import os, pathlib\n"
            "for top in pathlib.Path('/tmp').glob('tmp*'):\n"
            "    for path in [*top.rglob('*'), top]:\n"
            f"        os.utime(path, (path.stat().st_mtime - {days * DAY},) * 2)\n"
        )
        docker("exec", self.server, "python", "-c", code)

    def measure(self) -> dict[str, object]:
        """Rows, files, bytes of the stack's directory, images and temporary files: what must not grow."""
        label = f"--filter=label=freegee.mlflow_sftp.owner={self.lab.stack}"
        images = set(docker("image", "ls", "--quiet", label).split())
        files = [path for path in self.lab.stack.rglob("*") if path.is_file()]
        return {
            "rows": self.rows(),
            "files in the store": sum(path.is_file() for path in self.store.rglob("*")),
            "directories in the store": sum(path.is_dir() for path in self.store.rglob("*")),
            "bytes of the stack's directory": sum(path.stat().st_size for path in files) // 1000,
            "images": len(images),
            # Of the whole host, `docker system df` would tell what other tests do as well.
            "bytes of images": sum(
                int(docker("image", "inspect", "--format={{.Size}}", each)) for each in images
            ),
            "downloads": len(self.downloads()),
        }

    def rows(self) -> int:
        """Rows of all tables."""
        code = (
            "import os, sqlalchemy as sa; e = sa.create_engine(os.environ['MLFLOW_BACKEND_STORE_URI']);"
            "m = sa.MetaData(); m.reflect(e); c = e.connect();"
            "print(sum(c.scalar(sa.select(sa.func.count()).select_from(t)) for t in m.tables.values()))"
        )
        return int(self.lab.compose("exec", "-T", "mlflow", "python", "-c", code).splitlines()[-1])

    def _execute(self, statements: Iterable[str]) -> None:
        code = (
            "import os, sqlalchemy as sa; e = sa.create_engine(os.environ['MLFLOW_BACKEND_STORE_URI']);"
            f"c = e.connect(); [c.execute(sa.text(each)) for each in {list(statements)!r}]; c.commit()"
        )
        self.lab.compose("exec", "-T", "mlflow", "python", "-c", code)

    def _client(self, call: str) -> None:
        code = f"from mlflow import MlflowClient; MlflowClient().{call}"
        self.lab.compose("exec", "-T", "experiment-service", "python", "-c", code)

    def _put(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left behind")
        owner = self.store.stat()
        top = self.store / path.relative_to(self.store).parts[0]
        for each in (path, *path.parents):
            os.chown(each, owner.st_uid, owner.st_gid)
            if each == top:
                break
        return path


def _volume(name: str) -> Path:
    return Path(docker("volume", "inspect", "--format={{.Mountpoint}}", name))


def stamp(days: float) -> str:
    """Return the time so many days ago, as cutovers and the quarantine write it."""
    return time.strftime(ID_FORMAT, time.gmtime(time.time() - days * DAY))


def _earlier(stamp: str, days: int) -> str:
    return (datetime.strptime(stamp, ID_FORMAT) - timedelta(days=days)).strftime(ID_FORMAT)


def _touch(path: Path, days: int) -> None:
    os.utime(path, (path.stat().st_mtime - days * DAY,) * 2)


def load_image(name: str, labels: dict[str, str], days: float) -> None:
    """Give this machine's engine an image of a megabyte that was made some days ago."""
    layer = _tar({"content": secrets.token_bytes(1_000_000)})
    created = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": created,
            "config": {"Labels": labels, "Cmd": ["true"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    archive = _tar({"config.json": config, "layer.tar": layer, "manifest.json": manifest})
    subprocess.run(["docker", "load", "--quiet"], input=archive, check=True, capture_output=True)


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
