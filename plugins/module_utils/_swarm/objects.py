# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets and configs of a swarm: which of the stack's files each is, how it is named, and where a service sees it.

A swarm changes neither, so that each has the digest of its content in its name: another content is another one, and
the service that is given it is started anew. Whoever may see a service sees the names; a password that somebody has
thought of could be guessed from a plain digest, so that its own is keyed with the SFTP account's private key, which the
same service sees.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, Literal

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users import login

Kind = Literal["config", "secret"]

# As in a file's name.
_DIGITS = 16
_STRANGE = re.compile(r"[^A-Za-z0-9_.-]")
# Of a key: the public half nobody but the home needs, a certificate whoever logs in.
_KEYS = "mlflow_sftp_key"
_PUBLIC_HALF, _CERTIFICATE = ".pub", "-cert.pub"
_DASK = ("dask-scheduler", "dask-worker")
# A task on a worker is part of a training job.
_WORKERS_LOGIN = "train"


@dataclass(frozen=True)
class Settings:
    """Where containers see the stack's files, and as whom they run.

    Attributes:
        project: With which names begin.
        directory: Of the stack on its home.
        config_dir: Of the SFTP client's configuration.
        key_dir: Of its key.
        gateway_config_dir: Of the gateway's configuration.
        gateway_tls_dir: Of its certificate.
        postgres_config_dir: Of PostgreSQL's start script.
        dask_config_dir: Of dask's configuration.
        dask_tls_dir: Of its certificates.
        server_ids: User and group of the server, and of dask's scheduler and workers.
        gateway_ids: Of the gateway.
        postgres_ids: Of PostgreSQL.
        storing: Services that talk to the SFTP account.
    """

    project: str
    directory: str
    config_dir: str
    key_dir: str
    gateway_config_dir: str
    gateway_tls_dir: str
    postgres_config_dir: str
    dask_config_dir: str
    dask_tls_dir: str
    server_ids: tuple[int, int]
    gateway_ids: tuple[int, int]
    postgres_ids: tuple[int, int]
    storing: tuple[str, ...]


@dataclass(frozen=True)
class Object:
    """A secret or a config, and the one service that sees it.

    Attributes:
        kind: ``config`` or ``secret``.
        name: In the swarm, with the digest of its content.
        path: The file on the stack's home that it is made of.
        service: Which service sees it.
        filename: Where in its containers.
        uid: Whose it is there.
        gid: Likewise.
        mode: Of the file there.
    """

    kind: Kind
    name: str
    path: str
    service: str
    filename: str
    uid: str
    gid: str
    mode: int


@dataclass(frozen=True)
class _Place:
    """Files of one directory of the stack that services see in another; or one file, perhaps by another name."""

    pattern: str
    kind: Kind
    services: tuple[str, ...]
    target: str
    ids: tuple[int, int]
    mode: int
    keyed: bool = False
    name: str = ""

    def holds(self, inside: PurePosixPath) -> bool:
        """Whether a file of the stack, named as in its directory, is one of them."""
        pattern = PurePosixPath(self.pattern)
        return inside.parent == pattern.parent and fnmatchcase(inside.name, pattern.name)


def _places(settings: Settings) -> tuple[_Place, ...]:
    root = (0, 0)
    server, gateway, postgres = settings.server_ids, settings.gateway_ids, settings.postgres_ids
    return (
        _Place("mlflow/init_ssh_keys.sh", "config", settings.storing, settings.config_dir, root, 0o555),
        _Place("mlflow/*", "config", settings.storing, settings.config_dir, root, 0o444),
        _Place(f".secrets/{_KEYS}/id_*", "secret", settings.storing, settings.key_dir, server, 0o600),
        _Place(".secrets/pgpass", "secret", ("mlflow",), "/run/secrets", server, 0o400, keyed=True),
        _Place("gateway/*", "config", ("gateway",), settings.gateway_config_dir, root, 0o444),
        _Place(".secrets/gateway/*", "secret", ("gateway",), settings.gateway_tls_dir, gateway, 0o400),
        _Place("postgres/start.sh", "config", ("postgres",), settings.postgres_config_dir, root, 0o555),
        _Place("postgres/*", "config", ("postgres",), settings.postgres_config_dir, root, 0o444),
        _Place(".secrets/postgres_password", "secret", ("postgres",), "/run/secrets", postgres, 0o400),
        _Place("dask/*", "config", _DASK, settings.dask_config_dir, root, 0o444),
        _Place(".secrets/dask/*", "secret", _DASK, settings.dask_tls_dir, server, 0o400),
        # From what is random in either, nobody can guess the administrator's password.
        _login(login.SERVER_FILE, "mlflow", login.SERVER, server),
        _login(_WORKERS_LOGIN, "dask-worker", login.CREDENTIALS, server),
    )


def _login(file: str, service: str, seen: str, ids: tuple[int, int]) -> _Place:
    path = PurePosixPath(seen)
    return _Place(
        f"{login.DIRECTORY}/{file}", "secret", (service,), str(path.parent), ids, 0o400, name=path.name
    )


def objects_of(
    files: Iterable[Mapping[str, Any]], services: Iterable[str], settings: Settings
) -> list[Object]:
    """Return the secrets and configs that services need, by name; what two services see comes for each of them.

    Args:
        files: The stack's files, each with `path` and the `checksum` of its content.
        services: Those that there are, such as ``mlflow``.
        settings: Where containers see them.
    """
    checksums = {str(each["path"]): str(each["checksum"]) for each in files}
    key = "".join(checksums[path] for path in sorted(checksums) if _is_private_key(path))
    wanted = set(services)
    found = [
        each
        for path, checksum in checksums.items()
        for each in _objects(path, checksum, key, settings)
        if each.service in wanted
    ]
    return sorted(found, key=lambda each: (each.kind, each.name, each.service))


def _is_private_key(path: str) -> bool:
    file = PurePosixPath(path)
    return file.parent.name == _KEYS and not file.name.endswith(_PUBLIC_HALF)


def _objects(path: str, checksum: str, key: str, settings: Settings) -> list[Object]:
    inside = PurePosixPath(path).relative_to(settings.directory)
    place = next((each for each in _places(settings) if each.holds(inside)), None)
    if place is None or (inside.suffix == _PUBLIC_HALF and not inside.name.endswith(_CERTIFICATE)):
        return []
    seen = place.name or inside.name
    short = _STRANGE.sub("_", seen)
    uid, gid = place.ids
    digest = _digest(checksum, key) if place.keyed else checksum[:_DIGITS]
    name, filename = f"{settings.project}_{short}_{digest}", f"{place.target}/{seen}"
    return [
        Object(place.kind, name, path, service, filename, str(uid), str(gid), place.mode)
        for service in place.services
    ]


def _digest(checksum: str, key: str) -> str:
    return hmac.new(key.encode(), checksum.encode(), "sha256").hexdigest()[:_DIGITS]


def mounts_of(
    objects: Iterable[Mapping[str, Any]], ids: Mapping[str, str]
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return by service its options ``secrets`` and ``configs``, as community.docker.docker_swarm_service takes them.

    Args:
        objects: Each as `Object` has it.
        ids: By name; what check mode has not made has none.
    """
    options: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for each in objects:
        own = options.setdefault(each["service"], {"secrets": [], "configs": []})
        kind = each["kind"]
        # With an id, nobody looks for what check mode has not made.
        named = {f"{kind}_id": ids.get(each["name"]) or "unknown", f"{kind}_name": each["name"]}
        own[f"{kind}s"].append({**named, **{key: each[key] for key in ("filename", "uid", "gid", "mode")}})
    return options


def ids_of(results: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return ids by name, from what a loop of docker_config has registered."""
    return dict(_ids(results))


def _ids(results: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for each in results:
        if each.get("config_id"):
            yield str(each["item"]["name"]), str(each["config_id"])
