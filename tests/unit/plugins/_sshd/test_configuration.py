"""What sshd's effective configuration means for an account, and how it is told of a new one."""

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sshd.configuration import (
    Candidate,
    Listener,
    Reload,
    Unit,
    access_refusals,
    algorithm_refusal,
    lacking,
    parse,
    port_refusal,
    reload_for,
)

_ACCOUNT = Candidate("freegee", ("freegee", "staff"), ("ssh-ed25519",))


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", []),
        ("allowusers root\nallowusers operator", ["AllowUsers"]),
        ("allowusers root\nallowusers free*", []),
        ("allowusers root freegee", []),
        ("allowusers fre[e]gee", ["AllowUsers"]),
        # For some clients only, which a login from one of them proves.
        ("allowusers freegee@10.0.0.0/8", []),
        ("allowusers operator@10.0.0.0/8", ["AllowUsers"]),
        ("denyusers freege?", ["DenyUsers"]),
        ("denyusers freegee@*", ["DenyUsers"]),
        ("denyusers freegee@192.0.2.1", []),
        ("allowgroups ssh sudo", ["AllowGroups"]),
        ("allowgroups ssh\nallowgroups staff", []),
        ("denygroups sta*", ["DenyGroups"]),
        ("denyusers freegee\nallowusers freegee\nallowgroups sudo", ["DenyUsers", "AllowGroups"]),
    ],
)
def test_access(text: str, settings: list[str]) -> None:
    refusals = access_refusals(parse(text), _ACCOUNT)
    assert [refusal.facts["setting"] for refusal in refusals] == settings
    assert all(text.split()[1] in refusal.seen for refusal in refusals[:1])


@pytest.mark.parametrize(
    ("accepted", "types", "is_refused"),
    [
        ("ssh-ed25519,rsa-sha2-512", ("ssh-ed25519",), False),
        ("rsa-sha2-512,rsa-sha2-256", ("ssh-ed25519",), True),
        ("rsa-sha2-256", ("ssh-rsa",), False),
        ("ssh-ed25519", ("ssh-rsa",), True),
        ("ssh-*", ("ssh-ed25519",), False),
        ("rsa-sha2-512", ("ssh-ed25519", "ssh-rsa"), False),
        ("rsa-sha2-512", (), False),
    ],
)
@pytest.mark.parametrize("keyword", ["pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"])
def test_algorithms(accepted: str, types: tuple[str, ...], is_refused: bool, keyword: str) -> None:
    refusal = algorithm_refusal(parse(f"{keyword} {accepted}"), Candidate("freegee", (), types))
    assert (refusal is not None) == is_refused
    assert refusal is None or accepted in refusal.seen


@pytest.mark.parametrize(
    ("listener", "words"),
    [
        (Listener(frozenset({22, 2121})), None),
        (
            Listener(frozenset({22}), "ssh.socket"),
            "systemctl edit ssh.socket, with [Socket] and ListenStream=2121",
        ),
        (Listener(frozenset({22})), "restart sshd"),
    ],
)
def test_port_that_is_configured(listener: Listener, words: str | None) -> None:
    refusal = port_refusal(parse("port 22\nport 2121"), 2121, listener)
    assert (refusal and words in refusal.remedy) if words else refusal is None


def test_port_that_is_not_configured() -> None:
    refusal = port_refusal(parse("port 22"), 2121, Listener(frozenset({22})))
    assert refusal
    assert "Port 2121 to sshd_config" in refusal.remedy


def test_lacking_settings() -> None:
    effective = parse("forcecommand none\npermittty no\nauthorizedkeysfile .ssh/a .ssh/b")
    wanted = {"ForceCommand": "internal-sftp", "PermitTTY": "no", "AuthorizedKeysFile": ".ssh/a .ssh/b"}
    assert lacking(effective, wanted) == ["forcecommand internal-sftp"]


def unit(name: str, is_active: bool) -> Unit:
    return Unit(name, True, is_active)


_DEBIAN, _RHEL = unit("ssh.service", True), unit("sshd.service", True)
_SOCKET = [unit("ssh.service", False), unit("ssh.socket", True)]


@pytest.mark.parametrize(
    ("units", "pid", "is_stale", "is_changed", "expected"),
    [
        ([_DEBIAN], 7, True, True, Reload("service", unit="ssh.service")),
        ([_RHEL], 7, True, False, Reload("service", unit="sshd.service")),
        ([_RHEL], 7, False, False, Reload("none")),
        # sshd was started anew after the file was written.
        ([_DEBIAN], 7, False, True, Reload("none")),
        ([_DEBIAN], 0, None, True, Reload("service", unit="ssh.service")),
        ([_DEBIAN], 0, None, False, Reload("none")),
        (_SOCKET, 0, None, True, Reload("none")),
        (
            [unit("ssh.service", True), unit("ssh.socket", True)],
            7,
            True,
            True,
            Reload("service", unit="ssh.service"),
        ),
        ([], 7, True, True, Reload("signal", pid=7)),
        ([], 0, None, True, Reload("none")),
        ([unit("ssh.service", False)], 7, True, True, Reload("signal", pid=7)),
    ],
)
def test_reload(
    units: list[Unit], pid: int, is_stale: bool | None, is_changed: bool, expected: Reload
) -> None:
    assert reload_for(units, pid, is_stale, is_changed) == expected
