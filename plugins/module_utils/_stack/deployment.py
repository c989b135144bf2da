# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployed stack keeps its artifacts in, read from the files that the deployment left."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.addresses import bracketed

PROXIED_ROOT = "mlflow-artifacts:/"

_IMAGE = re.compile(r"^\s+image: (\S+)$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"^(\w+)='(.*)'$", re.MULTILINE)


@dataclass(frozen=True)
class Store:
    """Where artifacts are, and how clients reach them.

    Attributes:
        storage: ``local`` or ``sftp``.
        access: ``direct`` or ``proxied``.
        uri: The store itself, a directory in the containers or an ``sftp:`` URI.
        root: What experiments record: the store, or the server that stands before it.
    """

    storage: str
    access: str
    uri: str
    root: str

    @classmethod
    def at(cls, storage: str, access: str, uri: str) -> Store:
        """Return the store at a place, reached as `access` says."""
        return cls(storage, access, uri, PROXIED_ROOT if access == "proxied" else uri)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Store:
        """Return the store that a stack's ``.env`` names; `uri` is empty where that names none."""
        uri = environment.get("MLFLOW_ARTIFACT_URI", "")
        root = environment.get("MLFLOW_ARTIFACT_ROOT", "")
        storage = "local" if uri.startswith("/") or not uri else "sftp"
        return cls(storage, "proxied" if root.startswith("mlflow-artifacts:") else "direct", uri, root)

    @property
    def account(self) -> str:
        """User, host and port of an SFTP account; empty for local storage."""
        return urlsplit(self.uri).netloc

    def as_dict(self) -> dict[str, str]:
        """Return the store as the record holds it."""
        return dict(vars(self))

    def __str__(self) -> str:
        return f"{self.uri} ({self.access} access)"


def environment_of(text: str) -> dict[str, str]:
    """Return the variables of a stack's ``.env``, which the role mlflow_stack writes in this form."""
    return dict(_ASSIGNMENT.findall(text))


def with_environment(text: str, changes: Mapping[str, str]) -> str:
    """Return that text with other values of variables that it has, and nothing else changed."""
    return _ASSIGNMENT.sub(lambda found: f"{found[1]}='{changes.get(found[1], found[2])}'", text)


def images_of(text: str) -> list[str]:
    """Return the images that a stack's ``compose.yml`` names, as the role mlflow_stack writes it."""
    return sorted(set(_IMAGE.findall(text)))


def with_images(text: str, images: Mapping[str, str]) -> str:
    """Return a ``compose.yml`` with other images in the place of some, and nothing else changed."""
    return _IMAGE.sub(
        lambda found: found[0].removesuffix(found[1]) + images.get(found[1], found[1]),
        text,
    )


def needed_accounts(places: Iterable[str], store: Store) -> list[str]:
    """Return the SFTP places, of all that rows lead to, that a stack on `store` has to be told of besides it.

    A Docker host has one local store and one proxy, which every configuration knows.
    """
    return sorted(
        place for place in places if place.startswith("sftp:") and place != f"sftp://{store.account}"
    )


# Services that hold no artifacts and go on while MLflow is closed.
_BESIDE = ("postgres", "gateway", "monitor", "dask-scheduler")


@dataclass(frozen=True)
class Project:
    """What a cutover needs of a Compose project, or of what a swarm serves in its place.

    Attributes:
        image: The MLflow server's image.
        postgres_image: PostgreSQL's image; empty without that service.
        networks: Names of the networks that it is on.
        network: Name of the network on which the services find each other.
        ports: What it publishes, as ``docker run --publish`` takes it.
        services: All services.
        images: Of all services.
        hosts: Names that no DNS knows, as ``docker run --add-host`` takes them.
        on_swarm: Whether a swarm serves it, on whichever of its nodes.
    """

    name: str
    image: str
    postgres_image: str
    networks: tuple[str, ...]
    network: str
    ports: tuple[str, ...]
    services: tuple[str, ...]
    images: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    on_swarm: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Project:
        """Return what ``docker compose config --format json`` tells."""
        server = config["services"]["mlflow"]
        networks = config.get("networks", {})
        names = [networks.get(key, {}).get("name", key) for key in server.get("networks", {"default": None})]
        return cls(
            name=config["name"],
            image=server["image"],
            postgres_image=config["services"].get("postgres", {}).get("image", ""),
            networks=tuple(names),
            network=networks.get("default", {}).get("name", names[0]),
            ports=tuple(_published(port) for port in server.get("ports", ())),
            services=tuple(config["services"]),
            images=tuple(sorted({each["image"] for each in config["services"].values() if "image" in each})),
            hosts=tuple(_hosts(server.get("extra_hosts") or ())),
        )

    @classmethod
    def from_services(
        cls, name: str, services: Iterable[Mapping[str, Any]], networks: Mapping[str, str]
    ) -> Project:
        """Return what ``docker service inspect`` tells of a project's services.

        Args:
            name: Of the project, with which the names of its services begin.
            services: What is told of them; the server's is among them.
            networks: Names by id.
        """
        templates = {
            str(each["Spec"]["Name"]).removeprefix(f"{name}_"): each["Spec"]["TaskTemplate"]
            for each in services
        }
        images = {each: str(template["ContainerSpec"]["Image"]) for each, template in templates.items()}
        server = templates["mlflow"]
        names = tuple(networks[each["Target"]] for each in server["Networks"])
        return cls(
            name=name,
            image=images["mlflow"],
            postgres_image=images.get("postgres", ""),
            networks=names,
            network=next(each for each in names if not each.endswith("_database")),
            ports=(),
            services=tuple(sorted(templates)),
            images=tuple(sorted(set(images.values()))),
            hosts=tuple(_added(line) for line in server["ContainerSpec"].get("Hosts") or ()),
            on_swarm=True,
        )

    @property
    def stopped(self) -> list[str]:
        """The services that do not run while MLflow is closed, the server aside."""
        return [name for name in self.services if name not in ("mlflow", "train", *_BESIDE)]

    @property
    def gateways(self) -> list[str]:
        """The service that answers for the others, if there is one; it runs on, unless Compose makes it anew."""
        return [name for name in self.services if name == "gateway"]

    @property
    def clients(self) -> list[str]:
        """The services that read and write artifacts."""
        return [name for name in self.services if name not in _BESIDE]


def _hosts(told: Mapping[str, Any] | Iterable[str]) -> Iterator[str]:
    """Return what Compose tells of ``extra_hosts`` as options; earlier releases of it part them with a colon."""
    if isinstance(told, Mapping):
        yield from (f"{name}:{address}" for name, address in told.items())
        return
    for each in told:
        name, _, address = each.partition("=" if "=" in each else ":")
        yield f"{name}:{address}"


def _added(line: str) -> str:
    """Return a line of a container's ``/etc/hosts`` as an option."""
    address, name = line.split()[:2]
    return f"{name}:{address}"


def _published(port: Mapping[str, Any]) -> str:
    address = bracketed(str(port.get("host_ip", "")))
    return ":".join(filter(None, (address, str(port.get("published", "")), str(port["target"]))))
