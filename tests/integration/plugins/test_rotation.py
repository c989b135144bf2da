"""The steps of a rotation of the SSH key on each kind of server, as role mlflow_rotate makes them there."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.plugins.conftest import account, run
from tests.support.container import ContainerServer
from tests.support.server import keygen

pytestmark = pytest.mark.docker


def test_the_old_key_is_refused_and_the_new_one_is_not(
    server: ContainerServer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    old, new = keygen(tmp_path / "old", "ed25519"), keygen(tmp_path / "new", "ed25519")
    file = f"/home/freegee/{server.keys}"

    def change(login: Path, key: Path, state: str) -> dict[str, Any]:
        options = {"key": key.with_suffix(".pub").read_text(), "key_options": "restrict", "path": file}
        login_options = {**account(server), "private_key_file": str(login)}
        return run("sftp_authorized_key", {**login_options, **options, "state": state})

    def check(key: Path) -> dict[str, Any]:
        options = {"private_key_file": str(key), "path": str(server.root), "fail_on_error": False}
        return run("sftp_check", {**account(server), **options})

    before = server.authorized_keys.read_bytes()
    assert change(server.client_key, old, "present")["changed"]
    # Before it is there, the server tells that nobody uses the new key.
    given = {**account(server), "private_key_file": None, "private_key": new.read_text()}
    told = run("sftp_check", {**given, "fail_on_error": False})
    assert told.get("cause") == "auth_refused", told
    # Without a proof, ProFTPD says yes to every key.
    asked = {"private_key_file": str(tmp_path / "none"), "fail_on_error": False}
    public = new.with_suffix(".pub").read_text()
    told = run("sftp_check", {**account(server), **asked, "public_keys": [public]})
    expected = None if request.node.callspec.params["server"] == "proftpd" else "auth_refused"
    assert told.get("cause") == expected, told
    assert change(old, new, "present")["changed"]
    assert run("sftp_check", given)["logged_in"]
    assert check(new)["ok"]
    assert check(old)["ok"]
    assert change(new, old, "absent")["changed"]
    assert check(old)["cause"] == "auth_refused"
    assert check(new)["ok"]
    assert change(server.client_key, new, "absent")["changed"]
    assert server.authorized_keys.read_bytes() == before
