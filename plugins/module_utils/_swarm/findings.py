# SPDX-License-Identifier: GPL-3.0-or-later
"""Why nothing may be done to a swarm, every reason at once, each with what to do; and what is warned about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import LABEL, Host
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.ports import Reach, of_reach
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.serving_findings import of_serving
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.sight import MANAGERS, WORKERS, Sight

# The oldest release of any supported distribution.
OLDEST = (20, 10)
AVAILABILITIES = ("active", "pause", "drain")
# What an overlay network takes unless told otherwise; its own header comes off it.
_OVERLAY_MTU = 1500
_LOCKED = (
    "{name} is in a swarm that is locked. `docker swarm unlock` there, with the key that `docker swarm unlock-key` of "
    "another manager shows, and run this again."
)


def every_finding(sight: Sight, reach: Mapping[str, Reach]) -> Iterator[str]:
    """Yield a sentence or two for each reason why nothing may be done."""
    yield from _of_groups(sight)
    yield from _of_engines(sight)
    yield from _of_states(sight)
    yield from _of_others(sight)
    yield from _of_ownership(sight)
    if sight.wanted.state == "absent":
        yield from _of_removal(sight)
        return
    yield from _of_unasked(sight)
    yield from _of_wishes(sight)
    yield from _of_same(sight)
    yield from _of_architectures(sight)
    yield from _of_versions(sight)
    yield from _of_addresses(sight)
    yield from _of_mtu(sight)
    yield from of_serving(sight)
    yield from of_reach(sight, reach)


def every_warning(sight: Sight) -> Iterator[str]:
    """Yield a sentence or two for what stops nothing."""
    wanted, count = sight.wanted, len(sight.wanted.managers)
    if wanted.state == "absent":
        for node in sight.strangers:
            if node.state == "down":
                yield f"The node {node.hostname} ({node.id}) is down, of no host of the inventory, and is forgotten."
        return
    if count and count % 2 == 0:
        yield (
            f"{MANAGERS} holds {count} hosts. An even number bears the loss of no more managers than one fewer would, "
            "and has one more to lose: take 1, 3 or 5."
        )
    if sight.leader and sight.unasked:
        yield f"{_named(sight.unasked)} could not be asked, and nothing is done there."
    for name, node in sight.members.items():
        if node.state != "ready":
            yield (
                f"{name} answers here, but is {node.state} in the eyes of {sight.manager}: it does not reach 2377/tcp "
                "of a manager, or has just come."
            )
    for node in sight.strangers:
        yield (
            f"The node {node.hostname} ({node.id}, {node.state}) of the swarm is no host of {MANAGERS} or {WORKERS}, "
            f"and is left as it is. If it is gone for good, `docker node rm --force {node.id}` on {sight.manager} "
            "forgets it."
        )
    majors = _majors(sight)
    if len(set(majors.values())) > 1 and not _joining_others(sight, majors):
        yield f"Engines of the swarm's nodes differ: {_versions(sight, majors)}. Bring them to one version soon."
    small = {name: host.mtu for name, host in sight.asked.items() if host.mtu and host.mtu < _OVERLAY_MTU}
    if small:
        least = min(small.values())
        yield (
            f"The network between the nodes takes {least} bytes at a time ({_named(list(small))}): overlay networks "
            f"need the option com.docker.network.driver.mtu={least}, or large packets are lost."
        )


def _of_groups(sight: Sight) -> Iterator[str]:
    wanted = sight.wanted
    if not wanted.managers:
        yield f"{MANAGERS} holds no host. Name the host that is to make the swarm."
    if both := [name for name in wanted.managers if name in wanted.workers]:
        yield (
            f"{_named(both)} is in both {MANAGERS} and {WORKERS}. A manager runs services as a worker does, unless "
            f"docker_swarm_availability is drain; take it out of {WORKERS}."
        )


def _of_engines(sight: Sight) -> Iterator[str]:
    # Where there is no Docker, nothing has to leave.
    harmless = ("answers", "absent") if sight.wanted.state == "absent" else ("answers",)
    for name, host in sight.asked.items():
        if host.engine not in harmless and sight.wanted.engine_required:
            seen = (
                "has no Docker"
                if host.engine == "absent"
                else f"has a Docker that does not answer ({host.said})"
            )
            yield f"{name} {seen}. playbooks/swarm.yml installs and starts the distribution's."
        if not host.sdk and not host.python.startswith("/usr/bin/"):
            yield (
                f"{host.python} on {name} lacks the Docker SDK for Python, which the modules of community.docker need "
                "for a swarm. Install it there (pip install docker), or set ansible_python_interpreter to "
                "/usr/bin/python3."
            )


def _of_states(sight: Sight) -> Iterator[str]:
    unsettled = {
        name: host for name, host in sight.asked.items() if host.is_node and name not in sight.members
    }
    for name, host in unsettled.items():
        if host.swarm.state == "locked":
            yield _LOCKED.format(name=name)
    leaderless = {name: host for name, host in unsettled.items() if _lacks_quorum(host)}
    # With consent, a swarm that nobody can ask may still be left.
    if leaderless and not (sight.wanted.state == "absent" and sight.wanted.adopt):
        yield _lost_quorum(sight, leaderless)


def _lacks_quorum(host: Host) -> bool:
    # A manager that was started anew without the others stays pending.
    return host.swarm.state != "locked" and host.swarm.manager and not host.swarm.cluster


def _lost_quorum(sight: Sight, leaderless: Mapping[str, Host]) -> str:
    first = next(iter(leaderless))
    off = [name for name in sight.unasked if name in sight.wanted.managers]
    known = sorted({each for host in leaderless.values() for each in host.swarm.managers})
    error = next(filter(None, (host.swarm.error for host in leaderless.values())), "no leader")
    missing = f" {_named(off)} could not be asked." if off else ""
    return (
        f"The swarm has lost its quorum: {_named(list(leaderless))} manages it and finds no leader ({error}); its "
        f"managers are {', '.join(known) or 'unknown'}.{missing} What runs goes on running, and nothing can be "
        "changed. Start the engines of the managers that are off: with more than half of them, the swarm is back by "
        "itself. Only if they are lost for good: `docker swarm init --force-new-cluster --advertise-addr "
        f"{leaderless[first].swarm.address}` on {first} makes it the only manager of the same swarm, with all "
        "services; take the lost hosts out of the inventory, and run this again."
    )


def _of_others(sight: Sight) -> Iterator[str]:
    off = [name for name in sight.unasked if name in sight.wanted.managers]
    nodes = [name for name, host in sight.asked.items() if host.is_node]
    leaderless = any(_lacks_quorum(sight.asked[name]) for name in nodes)
    # Whose a worker is, only a manager can say.
    if not sight.manager and (off or leaderless):
        if nodes and not leaderless:
            yield (
                f"{_named(nodes)} is in a swarm, and {_named(off)}, which may manage it, could not be asked. Let a "
                "manager be reachable and within --limit."
            )
        return
    for name, host in sight.asked.items():
        strange = host.is_node and name not in sight.members and host.swarm.state != "locked"
        if strange and host.swarm.state in ("pending", "error"):
            yield _unready(name, host)
        elif strange and not _lacks_quorum(host):
            yield f"{name} is a node of another swarm ({_swarm_of(host)}){_unlike(sight)}. {_take_out(name, host)}"


def _unready(name: str, host: Host) -> str:
    return (
        f"{name} is in a swarm (managers {', '.join(host.swarm.managers) or 'unknown'}) whose managers do not know "
        f"it, or that it does not reach: {host.swarm.state}, {host.swarm.error or 'no reason given'}. An engine that "
        "has just started takes a moment; then its log says why."
    )


def _swarm_of(host: Host) -> str:
    if host.swarm.cluster:
        return f"{host.swarm.cluster}, which it manages"
    return f"managers {', '.join(host.swarm.managers) or 'unknown'}"


def _unlike(sight: Sight) -> str:
    if not sight.manager:
        return f", which no host of {MANAGERS} manages"
    return f" than {sight.manager} ({sight.asked[sight.manager].swarm.cluster})"


def _take_out(name: str, host: Host) -> str:
    force = " --force" if host.swarm.manager else ""
    return (
        f"It is left alone: what runs there would be lost. If nothing needs it, `docker swarm leave{force}` on "
        f"{name}, and `docker node rm {host.swarm.node}` on a manager of that swarm; otherwise take {name} out of the "
        "inventory."
    )


def _of_ownership(sight: Sight) -> Iterator[str]:
    if not sight.manager or sight.is_ours or sight.wanted.adopt:
        return
    host = sight.asked[sight.manager]
    owner = host.swarm.labels.get(LABEL)
    made = f"the inventory's of the name {owner}" if owner else "not made by this collection"
    services = f", services {', '.join(host.services)}" if host.services else ""
    yield (
        f"{sight.manager} manages a swarm ({host.swarm.cluster}, {len(host.nodes or ())} nodes{services}) that is "
        f"{made}; here it is {sight.wanted.name} (docker_swarm_name). It is left alone. docker_swarm_adopt=true takes "
        "it over: from then on it is changed as the inventory says, and left with docker_swarm_state=absent."
    )


def _of_removal(sight: Sight) -> Iterator[str]:
    if sight.unasked and (sight.manager or any(host.is_node for host in sight.asked.values())):
        yield (
            f"{_named(sight.unasked)} could not be asked, and would stay a node of a swarm that is gone. Let all "
            "hosts be reachable and within --limit, or take those that are lost out of the inventory."
        )
    if ready := [node for node in sight.strangers if node.state != "down"]:
        yield (
            "The swarm has nodes that are no hosts of the inventory: "
            f"{', '.join(f'{n.hostname} ({n.id})' for n in ready)}. They would stay behind without a manager. Name "
            "them in the inventory, or let them leave first: `docker swarm leave` on each."
        )
    services = (sight.asked[sight.manager].services or ()) if sight.manager else ()
    if services and not sight.wanted.remove_services:
        yield (
            f"The swarm has services: {', '.join(services)}. With the swarm they are gone, and its secrets and "
            "configs as well; volumes stay on their hosts. docker_swarm_remove_services=true says that nothing of it "
            "is needed."
        )


def _of_unasked(sight: Sight) -> Iterator[str]:
    off = [name for name in sight.unasked if name in sight.wanted.managers]
    # They may have the swarm, and there must not be a second one.
    if off and not sight.manager and not any(host.is_node for host in sight.asked.values()):
        yield (
            f"No host that could be asked is in a swarm, and {_named(off)} could not be asked: the swarm may be "
            "there. A new one is made only where all managers say that they are in none. Let them be reachable and "
            "within --limit, or take those that are lost out of the inventory."
        )


def _of_wishes(sight: Sight) -> Iterator[str]:
    for name in sight.wanted.hosts:
        wish = sight.wanted.wishes[name]
        strange = {key: value for key, value in wish.labels.items() if not isinstance(value, str)}
        if strange:
            key, value = next(iter(strange.items()))
            yield (
                f"docker_swarm_labels of {name} has values that are no text: {', '.join(strange)}. Labels are text; "
                f"""write {key}: "{str(value).lower()}"."""
            )
        if wish.availability not in ("", *AVAILABILITIES):
            yield (
                f"docker_swarm_availability of {name} is {wish.availability}; expected {', '.join(AVAILABILITIES)}, or "
                "nothing to leave it as it is."
            )


def _of_same(sight: Sight) -> Iterator[str]:
    engines = Counter(host.engine_id for host in sight.asked.values() if host.engine_id)
    for engine in [each for each, count in engines.items() if count > 1]:
        names = [name for name, host in sight.asked.items() if host.engine_id == engine]
        yield (
            f"{_named(names)} are one engine ({engine}): the same host under several names, or machines copied with "
            "/etc/docker or /var/lib/docker. Leave one name, or give each its own engine."
        )
    addresses = Counter(host.address for host in sight.asked.values() if host.address)
    for address in [each for each, count in addresses.items() if count > 1]:
        names = [name for name, host in sight.asked.items() if host.address == address]
        if len({sight.asked[name].engine_id for name in names}) > 1:
            yield (
                f"{_named(names)} would all advertise {address}. Set docker_swarm_address to an address that the host "
                "alone has."
            )


def _of_architectures(sight: Sight) -> Iterator[str]:
    known = {name: host.architecture for name, host in sight.asked.items() if host.architecture}
    reference = known.get(sight.leader, "")
    for name, architecture in known.items():
        if reference and architecture != reference:
            yield (
                f"{name} is {architecture}, {sight.leader} is {reference}: an image that is built for the one does "
                f"not run on the other, and the swarm would start it there. Take {name} out of the swarm's groups."
            )


def _of_versions(sight: Sight) -> Iterator[str]:
    for name, host in sight.asked.items():
        release = _release(host.version)
        if release and release < OLDEST:
            yield f"The engine of {name} is {host.version}; expected {OLDEST[0]}.{OLDEST[1]} or later. Upgrade it."
    majors = _majors(sight)
    if others := _joining_others(sight, majors):
        yield (
            f"The engines of {_named(others)} and {sight.leader} differ in the first number: "
            f"{_versions(sight, majors)}. What a manager of one release writes, one of another may not read, so a "
            "host joins only with the release that is there; a difference behind the first point is taken. Upgrade "
            "the older ones, or leave them out. (Nodes that are upgraded one after the other are only warned about.)"
        )


def _joining_others(sight: Sight, majors: Mapping[str, int]) -> list[str]:
    own = majors.get(sight.leader)
    return [name for name in sight.fresh if own is not None and majors.get(name, own) != own]


def _majors(sight: Sight) -> dict[str, int]:
    releases = {name: _release(host.version) for name, host in sight.asked.items()}
    return {name: release[0] for name, release in releases.items() if release}


def _versions(sight: Sight, majors: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {sight.asked[name].version}" for name in majors)


def _release(version: str) -> tuple[int, int] | None:
    """Return the first two numbers of a version, ``20.10.24+dfsg1``; None for what has none."""
    numbers = version.split(".")[:2]
    if len(numbers) < 2 or not all(each.isdigit() for each in numbers):
        return None
    return int(numbers[0]), int(numbers[1])


def _of_addresses(sight: Sight) -> Iterator[str]:
    for name, host in sight.asked.items():
        wish = sight.wanted.wishes[name].address
        if not host.answers:
            continue
        if wish and wish not in host.addresses:
            yield (
                f"docker_swarm_address of {name} is {wish}, which is no address of the host; it has "
                f"{', '.join(host.addresses) or 'none'}. Others reach a node only where it is."
            )
        elif not host.address:
            yield (
                f"{name} has no default route that would tell its address; it has "
                f"{', '.join(host.addresses) or 'none'}. Set docker_swarm_address to the one that the other nodes "
                "reach."
            )
        elif wish and name in sight.members and host.swarm.address != wish:
            yield (
                f"{name} advertises {host.swarm.address}; docker_swarm_address says {wish}. A node keeps its address: "
                f"let it leave (docker swarm leave on {name}, a manager after `docker node demote`), forget it "
                f"(`docker node rm {host.swarm.node}` on {sight.manager}), and run this again; or set "
                "docker_swarm_address back."
            )


def _of_mtu(sight: Sight) -> Iterator[str]:
    known = {name: host.mtu for name, host in sight.asked.items() if host.mtu}
    if len(set(known.values())) > 1:
        seen = ", ".join(f"{name} {mtu}" for name, mtu in known.items())
        yield (
            f"The nodes' interfaces differ in the MTU: {seen}. What the one sends in one piece the other drops, so "
            "that large answers hang while small ones pass. Set one MTU on all."
        )


def _named(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names)
