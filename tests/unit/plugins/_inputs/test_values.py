"""What is wrong with an inventory's values is said in one sentence each, all at once."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.filter.input_findings import (
    _key_file,
    _specs,
    input_findings,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.values import (
    KeyFile,
    value_problems,
)

PIN = "SHA256:" + "A" * 43
GOOD: dict[str, Any] = {
    "sftp_host": "tajo.host.ch",
    "sftp_port": 2121,
    "sftp_user": "freegee",
    "sftp_path": "/agent.freegee.ch/artifacts",
    "sftp_host_key_fingerprints": [PIN],
    "sftp_client_generate_key": True,
    "artifact_storage": "sftp",
}
GATEWAY = {
    "mlflow_gateway_hostname": "mlflow.example",
    "mlflow_gateway_tls": "self",
    "mlflow_gateway_authority_dir": "/srv/authority",
}
DASK = {"mlflow_stack_dask": True, "mlflow_stack_dask_authority_dir": "/srv/dask"}
DASHBOARD = DASK | GATEWAY | {"mlflow_gateway_bind": "127.0.0.1", "mlflow_stack_dask_dashboard": True}
# What is given, and words of the one sentence.
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "choice misspelt": (
        {"mlflow_stack_access": "proxyed"},
        ["mlflow_stack_access must be one of", "Did you mean proxied?"],
    ),
    "choice unknown": (
        {"artifact_storage": "s3"},
        ["value of artifact_storage must be one of: local, sftp, got: s3"],
    ),
    "choice in a list": (
        {"mlflow_stack_services": ["mlflow", "notebok"]},
        ["mlflow_stack_services", "got: notebok", "mean notebook?"],
    ),
    "no boolean": (
        {"mlflow_stack_telemetry": "maybe"},
        ["mlflow_stack_telemetry is 'maybe'; expected true or false"],
    ),
    "no amount": (
        {"mlflow_stack_capacity_warn": "ten"},
        ["mlflow_stack_capacity_warn is 'ten'; expected a percentage as 10%"],
    ),
    "more than all": ({"mlflow_stack_capacity_refuse": "101%"}, ["mlflow_stack_capacity_refuse is '101%'"]),
    "no version": (
        {"mlflow_stack_package_version": "1.0 --index-url=x"},
        ["mlflow_stack_package_version is '1.0 --index-url=x'; expected a version"],
    ),
    "version that lost a digit": (
        {"mlflow_stack_package_version": 1.1},
        ["mlflow_stack_package_version is the number 1.1", "into quotes"],
    ),
    "negative quota": ({"sftp_target_quota_bytes": -1}, ["sftp_target_quota_bytes is -1; expected"]),
    "negative days": ({"mlflow_tidy_upload_days": "-1"}, ["mlflow_tidy_upload_days is -1; expected"]),
    "no time to tidy": (
        {"mlflow_tidy_limit_hours": 0},
        ["mlflow_tidy_limit_hours is 0; expected a number of hours"],
    ),
    "interval of nothing": (
        {"mlflow_stack_monitor_interval": 0},
        ["mlflow_stack_monitor_interval is 0; expected a number of minutes, 1 or more"],
    ),
    "negative age": ({"mlflow_stack_monitor_backup_hours": -1}, ["mlflow_stack_monitor_backup_hours is -1;"]),
    "no webhook": (
        {"mlflow_stack_alert_url": "chat.example.com/s3cret"},
        ["mlflow_stack_alert_url is no address of the form https://host/path."],
    ),
    "webhook of a wrong port": (
        {"mlflow_stack_alert_url": "https://host:s3cret/"},
        ["mlflow_stack_alert_url is no"],
    ),
    "mail to nobody": (
        {"mlflow_stack_alert_smtp_url": "smtp://user:s3cret@host", "mlflow_stack_alert_mail_from": "a@b.c"},
        ["Mail needs all of", "mlflow_stack_alert_mail_to is empty"],
    ),
    "mail over HTTP": (
        {
            "mlflow_stack_alert_smtp_url": "https://user:s3cret@host",
            "mlflow_stack_alert_mail_from": "a@b.c",
            "mlflow_stack_alert_mail_to": ["a@b.c"],
        },
        ["mlflow_stack_alert_smtp_url is no address of the form smtp://"],
    ),
    "monitor without a limit": (
        {"mlflow_stack_monitor": True, "mlflow_stack_memory_limits": {"mlflow": "2g"}},
        ["mlflow_stack_memory_limits has no entry for monitor"],
    ),
    "dask without an authority": (
        {"mlflow_stack_dask": True},
        ["mlflow_stack_dask is on, and mlflow_stack_dask_authority_dir is empty: name a directory"],
    ),
    "dask and gateway of one authority": (
        GATEWAY
        | {
            "mlflow_gateway_bind": "127.0.0.1",
            "mlflow_stack_dask": True,
            "mlflow_stack_dask_authority_dir": "/srv/authority",
        },
        ["mlflow_stack_dask_authority_dir is mlflow_gateway_authority_dir", "run code"],
    ),
    "dask without train": (
        DASK | {"mlflow_stack_services": ["mlflow", "notebook"]},
        ["mlflow_stack_services lacks train"],
    ),
    "dask without a limit": (
        DASK | {"mlflow_stack_memory_limits": {"mlflow": "2g", "dask-scheduler": "1g"}},
        ["mlflow_stack_memory_limits has no entry for dask-worker; add one, such as 2g"],
    ),
    "a dashboard of nothing": (
        DASHBOARD | {"mlflow_stack_dask": False},
        ["mlflow_stack_dask_dashboard is on, and mlflow_stack_dask is off", "switch mlflow_stack_dask on"],
    ),
    "a dashboard that nobody guards": (
        DASHBOARD | {"mlflow_gateway_hostname": ""},
        ["mlflow_stack_dask_dashboard is on, and mlflow_gateway_hostname is empty", "Name the gateway"],
    ),
    "a dashboard of a swarm": (
        DASHBOARD | {"mlflow_stack_engine": "swarm", "mlflow_stack_services": ["mlflow"]},
        ["mlflow_stack_dask_dashboard is on, and the gateways of a swarm do not show the dashboard yet"],
    ),
    "a password that is guessed": (
        {"mlflow_stack_dask_dashboard_password": "short"},
        ["mlflow_stack_dask_dashboard_password is no password", "expected 12 to 72 ASCII characters"],
    ),
    "a password that bcrypt does not hash": (
        {"mlflow_stack_dask_dashboard_password": "x" * 73},
        ["mlflow_stack_dask_dashboard_password is no password", "expected 12 to 72 ASCII characters"],
    ),
    "a password that browsers write in two ways": (
        {"mlflow_stack_dask_dashboard_password": "pässword-of-many"},
        ["mlflow_stack_dask_dashboard_password is no password"],
    ),
    "dask on a swarm without a limit of jobs": (
        DASK
        | {
            "mlflow_stack_engine": "swarm",
            "mlflow_stack_services": ["mlflow"],
            "mlflow_stack_memory_limits": {"mlflow": "2g", "dask-scheduler": "1g", "dask-worker": "2g"},
        },
        ["mlflow_stack_memory_limits has no entry for train; add one, such as 2g"],
    ),
    "fewer workers than none": (
        {"mlflow_stack_engine": "swarm", "mlflow_stack_dask_workers": -1},
        [
            "mlflow_stack_dask_workers is -1; expected a number of workers, 1 or more, or 0 for one on each node"
        ],
    ),
    "no workers": (
        {"mlflow_stack_dask_workers": 0},
        ["mlflow_stack_dask_workers is 0; expected a number of workers"],
    ),
    "no number": ({"sftp_port": "ssh"}, ["sftp_port is 'ssh'; expected a number"]),
    "no value": ({"mlflow_stack_dir": None}, ["mlflow_stack_dir has no value"]),
    "list as text": (
        {"sftp_host_key_fingerprints": PIN},
        [f"sftp_host_key_fingerprints is text; expected a list: [{PIN}]"],
    ),
    "no pin": ({"sftp_host_key_fingerprints": []}, ["No pin for the host key of [tajo.host.ch]:2121"]),
    "pin without its prefix": (
        {"sftp_host_key_fingerprints": [PIN, "A" * 43]},
        ["'AAA", "no SHA256 fingerprint"],
    ),
    "pin with padding": ({"sftp_host_key_fingerprints": [PIN + "="]}, ["no SHA256 fingerprint"]),
    "relative directory": (
        {"mlflow_stack_dir": "stack"},
        ["mlflow_stack_dir is 'stack'; expected an absolute directory"],
    ),
    "root directory": (
        {"sftp_path": "/"},
        ["sftp_path is '/'; expected an absolute directory other than '/'"],
    ),
    "trailing slash": ({"sftp_path": "/a/b/"}, ["sftp_path is '/a/b/'; write it as '/a/b'"]),
    "doubled slash": ({"sftp_path": "/a//b/./c"}, ["write it as '/a/b/c'"]),
    "path that goes up": ({"sftp_path": "/a/../b"}, ["sftp_path is '/a/../b'; expected a path without '..'"]),
    "space": ({"sftp_path": "/a b"}, ["sftp_path is '/a b'; expected a path without spaces"]),
    "name for an address": (
        {"mlflow_stack_bind": "localhost"},
        ["mlflow_stack_bind is 'localhost'; expected an address"],
    ),
    "all addresses": (
        {"mlflow_stack_bind": "0.0.0.0"},
        [
            "0.0.0.0, where others reach MLflow without TLS",
            "and without a login",
            "mlflow_stack_insecure: true",
        ],
    ),
    "an address of others without TLS": (
        {"mlflow_stack_bind": "fd00::1", "mlflow_stack_auth": "basic"},
        ["without TLS. Leave it at 127.0.0.1"],
    ),
    "a gateway for others without a login": (
        GATEWAY,
        [
            "mlflow_gateway_bind is 0.0.0.0, where others reach MLflow without a login",
            "mlflow_stack_auth: basic",
        ],
    ),
    "users without a login": (
        {"mlflow_stack_users": [{"name": "alice", "password": "twelve chars"}]},
        ["MLflow's login is off"],
    ),
    "user without a password": (
        {"mlflow_stack_auth": "basic", "mlflow_stack_users": [{"name": "alice"}]},
        ["mlflow_stack_users: alice has no password"],
    ),
    "administrator's password too short": (
        {"mlflow_stack_auth": "basic", "mlflow_stack_auth_admin_password": "short"},
        ["mlflow_stack_auth_admin_password: the administrator has a password of 5 characters"],
    ),
    "passwords remembered for less than no time": (
        {"mlflow_stack_auth_cache_ttl": -1},
        ["mlflow_stack_auth_cache_ttl is -1; expected a number of seconds"],
    ),
    "permission of services unknown": (
        {"mlflow_stack_auth_service_permissions": [{"experiment": "*", "permission": "ALL"}]},
        ["mlflow_stack_auth_service_permissions: each service has the permission ALL on experiment *"],
    ),
    "nothing permitted to services": (
        {"mlflow_stack_auth_service_permissions": [{"experiment": "*", "permission": "NO_PERMISSIONS"}]},
        ["each service has the permission NO_PERMISSIONS, which grants nothing; leave the entry out"],
    ),
    "services on one experiment": (
        {"mlflow_stack_auth_service_permissions": [{"experiment": "churn", "permission": "EDIT"}]},
        ["each service has a permission on experiment churn; expected *"],
    ),
    "IPv6 in brackets": ({"mlflow_stack_bind": "[::1]"}, ["expected an address", "or ::1"]),
    "no key": (
        {"sftp_client_generate_key": "no"},
        ["No key for freegee@tajo.host.ch", "sftp_private_key_file"],
    ),
}
FINE: dict[str, dict[str, Any]] = {
    "nothing else": {},
    "text from the command line": {
        "sftp_port": "22",
        "mlflow_stack_telemetry": "True",
        "mlflow_stack_keep_data": "no",
    },
    "first key seen": {"sftp_host_key_policy": "accept_new", "sftp_host_key_fingerprints": []},
    "a version": {"mlflow_stack_package_version": "1.2.0rc1"},
    "a version of an index of its own": {"mlflow_stack_package_version": "1.2.0+site.1"},
    "amounts": {"mlflow_stack_capacity_warn": "5 GiB", "mlflow_stack_capacity_refuse": 0},
    "all addresses, insisted on": {"mlflow_stack_bind": "0.0.0.0", "mlflow_stack_insecure": True},
    "a gateway for others with a login": GATEWAY | {"mlflow_stack_auth": "basic"},
    "a gateway for others without a login, insisted on": GATEWAY | {"mlflow_stack_insecure": True},
    "a dashboard": DASHBOARD | {"mlflow_stack_dask_dashboard_password": "password-of-many"},
    "a gateway for the Docker host": GATEWAY | {"mlflow_gateway_bind": "127.0.0.1"},
    "IPv6": {"mlflow_stack_bind": "::1"},
    "no value where none is needed": {"sftp_address": None, "sftp_target_bootstrap_password": None},
}


@pytest.mark.parametrize("case", CASES)
def test_one_mistake(case: str) -> None:
    given, words = CASES[case]
    (found,) = value_problems(GOOD | given, _specs())
    assert [word for word in words if word not in found] == [], found


@pytest.mark.parametrize("case", FINE)
def test_no_mistake(case: str) -> None:
    assert value_problems(GOOD | FINE[case], _specs()) == []


def test_three_mistakes_are_three_sentences() -> None:
    given = {"mlflow_stack_access": "both", "sftp_path": "a", "mlflow_stack_bind": "host"}
    assert len(value_problems(GOOD | given, _specs())) == 3


def test_two_keys() -> None:
    found = value_problems(GOOD, _specs(), KeyFile("/k", text="x"))
    assert found[0].startswith("More than one key")


def make_key(path: Path, *options: str) -> str:
    subprocess.run(["ssh-keygen", "-q", "-f", str(path), "-N", "", *options], check=True)
    return path.read_text()


DSA = "-----BEGIN DSA PRIVATE KEY-----\nMIIBuwIBAAKBgQD\n-----END DSA PRIVATE KEY-----\n"


def test_key_files(tmp_path: Path) -> None:
    good = make_key(tmp_path / "good")
    texts = {
        "empty": ("", "is empty"),
        "cut": (good[: len(good) // 2], "is cut short"),
        "damaged": (good[:100] + good[160:], "is damaged"),
        "encrypted": (make_key(tmp_path / "locked", "-N", "secret"), "is protected by a passphrase"),
        "PuTTY": ("PuTTY-User-Key-File-3: ssh-ed25519\n", "is a PuTTY key; convert"),
        "public": (
            (tmp_path / "good.pub").read_text(),
            "is a public key; the private one has the same name without .pub",
        ),
        "other": ("hello\n", "is not a private key that OpenSSH can use"),
        "DSA": (DSA, "is a DSA key"),
    }
    for name, (text, words) in texts.items():
        path = tmp_path / f"{name}.key"
        path.write_text(text)
        path.chmod(0o600)
        (found,) = value_problems(GOOD | {"sftp_client_generate_key": False}, _specs(), _key_file(str(path)))
        assert found.startswith(f"The private key in {path} {words}"), (name, found)
        assert not text.strip() or text.strip().splitlines()[0] not in found


@pytest.mark.parametrize("convert", [str, lambda text: text.replace("\n", "\r\n"), str.rstrip])
@pytest.mark.parametrize("key_type", ["ed25519", "ecdsa", "rsa"])
def test_good_key_files(tmp_path: Path, key_type: str, convert: Any) -> None:
    path = tmp_path / "key.pem"
    path.write_text(convert(make_key(tmp_path / "key", "-t", key_type)))
    path.chmod(0o600)
    assert value_problems(GOOD | {"sftp_client_generate_key": False}, _specs(), _key_file(str(path))) == []


def test_what_the_path_of_the_key_leads_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    make_key(tmp_path / "key")
    assert _key_file("~/key").problem == ""
    (tmp_path / "key").chmod(0o644)
    given = GOOD | {"sftp_client_generate_key": False}
    for name, words in {"~/key": "has mode 0644", "~/none": "no such file", "~": "is a directory"}.items():
        (found,) = value_problems(given, _specs(), _key_file(name))
        assert words in found


def test_the_text_of_a_key_in_place_of_its_file_is_not_shown(tmp_path: Path) -> None:
    text = make_key(tmp_path / "key")
    given = GOOD | {"sftp_client_generate_key": False, "sftp_private_key_file": text}
    (found,) = value_problems(given, _specs(), _key_file(text))
    assert "belongs in sftp_private_key" in found
    assert not [line for line in text.splitlines() if line in found]


def test_new_key_and_certificate(tmp_path: Path) -> None:
    text = make_key(tmp_path / "key")
    given = GOOD | {"sftp_client_generate_key": False, "sftp_private_key": text}
    new = KeyFile("new", text="hello\n", mode=0o640)
    found = value_problems(given, _specs(), None, new, KeyFile("cert", text=text))
    assert len(found) == 3
    assert "new has mode 0640" in found[0]
    assert "The private key in new is not a private key" in found[1]
    assert "The certificate in cert is no certificate of OpenSSH" in found[2]
    (found,) = value_problems(GOOD, _specs(), certificate_file=KeyFile("cert", text=text))
    assert "is for a key that is given" in found


def test_a_file_that_may_not_be_reached_is_named(tmp_path: Path) -> None:
    given = GOOD | {"sftp_client_generate_key": False}
    (found,) = value_problems(given, _specs(), _key_file(f"/{'n' * 300}"))
    assert "the controller cannot read it: File name too long" in found


def test_what_may_hold_a_password_is_not_shown() -> None:
    secret = "https://user:s3cret@pypi.example/simple"
    options = {"mlflow_stack_pip_extra_index_urls": secret, "docker_engine_daemon_options": secret}
    found = value_problems(GOOD | options, _specs())
    assert len(found) == 2
    assert "s3cret" not in "".join(found)


def test_what_has_to_be_there_is_missed() -> None:
    (found,) = input_findings(GOOD, required=["sftp_host", "sftp_address"])
    assert found == "sftp_address is not set; the inventory has to say it."
