"""What is wrong with a gateway's values and files is said in one sentence each, all at once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.filter.input_findings import _key_file, _specs
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.gateway import (
    gateway_problems,
    hostname_problem,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.key_file import KeyFile
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.server_certificate import (
    certificate_problems,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.values import value_warnings
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.unit.plugins._inputs.test_values import GOOD

NOW = datetime(2026, 11, 27, tzinfo=UTC)
NAME = "mlflow.example.org"
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def certificate(
    names: tuple[str, ...] = (NAME,),
    days: tuple[int, int] = (-1, 90),
    key: CertificateIssuerPrivateKeyTypes = KEY,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    subject: str = "server",
    issuer: str = "authority",
) -> str:
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM).decode()


def pem(key: Any, passphrase: bytes = b"", form: str = "PKCS8") -> str:
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), encryption
    ).decode()


SMALL = rsa.generate_private_key(65537, 1024)
LARGE = rsa.generate_private_key(65537, 2048)
EDWARDS = ed25519.Ed25519PrivateKey.generate()
# Certificate, key, and the words that are said.
FILES: dict[str, tuple[str, str, list[str]]] = {
    "good": (certificate(), pem(KEY), []),
    "good RSA": (certificate(key=LARGE), pem(LARGE, form="TraditionalOpenSSL"), []),
    "good wildcard": (certificate(("*.example.org",)), pem(KEY), []),
    "good, in other case": (certificate(("MLflow.Example.ORG",)), pem(KEY), []),
    "good with intermediate": (
        certificate() + certificate((), subject="authority", issuer="root"),
        pem(KEY),
        [],
    ),
    "key of another": (certificate(), pem(OTHER), ["key is not the certificate's"]),
    "expired": (certificate(days=(-90, -1)), pem(KEY), ["has expired at 2026-11-26"]),
    "not yet valid": (certificate(days=(1, 90)), pem(KEY), ["is valid only from 2026-11-28"]),
    "wrong name": (
        certificate(("other.example.org", "www.example.org")),
        pem(KEY),
        ["is for other.example.org, www.example.org, not for mlflow.example.org"],
    ),
    "wildcard of another level": (certificate(("*.org",)), pem(KEY), ["is for *.org, not for"]),
    "no name": (certificate(()), pem(KEY), ["is for no name, not for mlflow.example.org"]),
    "for clients": (
        certificate(usage=ExtendedKeyUsageOID.CLIENT_AUTH),
        pem(KEY),
        ["is not for servers"],
    ),
    "out of order": (
        certificate() + certificate((), subject="root", issuer="root"),
        pem(KEY),
        ["out of order: after CN=server comes CN=root, and not CN=authority"],
    ),
    "key with a passphrase": (certificate(), pem(KEY, b"secret"), ["has a passphrase"]),
    "old key with a passphrase": (
        certificate(),
        pem(KEY, b"secret", "TraditionalOpenSSL"),
        ["has a passphrase"],
    ),
    "key for SSH": (certificate(), pem(KEY, form="OpenSSH"), ["is a key for SSH"]),
    "small key": (certificate(key=SMALL), pem(SMALL), ["has 1024 bits"]),
    "key of a kind that browsers do not take": (certificate(key=EDWARDS), pem(EDWARDS), ["is of a kind"]),
    "damaged key": (certificate(), pem(KEY)[:60] + "\n", ["key is damaged"]),
    "damaged certificate": (certificate()[:90], pem(KEY), ["certificate is damaged"]),
    "exchanged": (pem(KEY), certificate(), ["certificate is no certificate", "key is no private key"]),
    "several": (
        certificate(("a.org",), days=(-9, -1)),
        pem(OTHER),
        ["has expired", "is for a.org", "key is not the certificate's"],
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_files(case: str) -> None:
    text, key, words = FILES[case]
    found = [f"{about} {problem}" for about, problem in certificate_problems(text, key, [NAME], NOW)]
    assert len(found) == len(words), found
    assert [word for word, sentence in zip(words, found, strict=True) if word not in sentence] == [], found


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mlflow.example.org", ""),
        ("mlflow", ""),
        ("a-b.1x", ""),
        ("https://mlflow", "without a scheme"),
        ("mlflow:8443", "mlflow_gateway_https_port has the port"),
        ("10.0.0.1", "not an address"),
        ("::1", "not an address"),
        ("ml_flow", "letters, digits and hyphens"),
        ("-a.org", "letters, digits"),
        ("a..org", "letters, digits"),
        ("a b", "letters, digits"),
        ("a" * 64, "letters, digits"),
        ("x} { bind", "letters, digits"),
        ("a.org\n", "letters, digits"),
    ],
)
def test_hostnames(name: str, words: str) -> None:
    found = hostname_problem(name)
    assert words in found
    assert bool(found) == bool(words)


SELF = {
    "mlflow_gateway_hostname": NAME,
    "mlflow_gateway_tls": "self",
    "mlflow_gateway_authority_dir": "/lab/gateway",
}
SHOWN: dict[str, Any] = {"mlflow_stack_dask_dashboard": True, "mlflow_gateway_dask": "/dask"}
VALUES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing else": ({}, []),
    "no gateway, whatever else is said": (
        {"mlflow_gateway_hostname": "", "mlflow_gateway_https_port": -1},
        [],
    ),
    "no HTTP": ({"mlflow_gateway_http_port": 0}, []),
    "notebook of its own name": ({"mlflow_gateway_notebook": "notebook.example.org"}, []),
    "no notebook": ({"mlflow_gateway_notebook": ""}, []),
    "MLflow on IPv6": ({"mlflow_stack_bind": "::1"}, []),
    "no name": (
        {"mlflow_gateway_hostname": "a b"},
        ["mlflow_gateway_hostname is 'a b'; expected a host name"],
    ),
    "no directory": ({"mlflow_gateway_authority_dir": ""}, ["mlflow_gateway_authority_dir is empty"]),
    "release with an old HAProxy": (
        {"base_image_suite": "bookworm"},
        ["base_image_suite is bookworm: its HAProxy is 2.6, and a gateway needs 3.0 or newer"],
    ),
    "image beside an old release": (
        {"base_image_suite": "bookworm", "mlflow_gateway_image": "docker.io/library/haproxy:3.2"},
        [],
    ),
    "address that is a name": ({"mlflow_gateway_bind": "eth0"}, ["mlflow_gateway_bind is 'eth0'; expected"]),
    "MLflow for everybody": (
        {"mlflow_stack_bind": "0.0.0.0"},
        ["mlflow_stack_bind is '0.0.0.0'; with a gateway"],
    ),
    "notebook at MLflow's name": ({"mlflow_gateway_notebook": NAME.upper()}, ["that is MLflow's own name"]),
    "notebook at MLflow's path": ({"mlflow_gateway_notebook": "/api"}, ["MLflow itself serves /api"]),
    "notebook everywhere": ({"mlflow_gateway_notebook": "/"}, ["expected a path such as /notebook"]),
    "notebook with what HAProxy reads": ({"mlflow_gateway_notebook": "/a }"}, ["expected a path such as"]),
    "no dashboard, wherever it would be": ({"mlflow_gateway_dask": "/api"}, []),
    "dashboard": (SHOWN, []),
    "dashboard of its own name": (SHOWN | {"mlflow_gateway_dask": "dask.example.org"}, []),
    "dashboard nowhere": (
        SHOWN | {"mlflow_gateway_dask": ""},
        ["mlflow_gateway_dask is ''; expected a path such as /dask"],
    ),
    "dashboard at MLflow's name": (SHOWN | {"mlflow_gateway_dask": NAME.upper()}, ["that name is taken"]),
    "dashboard at the notebook's name": (
        SHOWN | {"mlflow_gateway_dask": "lab.example.org", "mlflow_gateway_notebook": "lab.example.org"},
        ["mlflow_gateway_dask is 'lab.example.org'; that name is taken; expected a path such as /dask"],
    ),
    "dashboard at MLflow's path": (
        SHOWN | {"mlflow_gateway_dask": "/api/dask"},
        ["MLflow itself serves /api; expected another path, such as /dask"],
    ),
    "dashboard below the notebook": (
        SHOWN | {"mlflow_gateway_dask": "/notebook/dask"},
        ["mlflow_gateway_dask is '/notebook/dask'; JupyterLab is at /notebook"],
    ),
    "dashboard where a notebook would be": (
        SHOWN | {"mlflow_gateway_dask": "/notebook", "mlflow_stack_services": ["mlflow", "train"]},
        [],
    ),
    "dashboard with what HAProxy reads": (
        SHOWN | {"mlflow_gateway_dask": "/a }"},
        ["expected a path such as /dask"],
    ),
    "negative time": ({"mlflow_gateway_timeout": 0}, ["mlflow_gateway_timeout is 0; expected a number of 1"]),
    "three": (
        {"mlflow_gateway_bind": "x", "mlflow_gateway_notebook": "a_b", "mlflow_gateway_retry_after": 0},
        ["mlflow_gateway_notebook", "mlflow_gateway_bind", "mlflow_gateway_retry_after"],
    ),
}


PRIVATE = "https://ca.example.org:9000/acme/acme/directory"
ACME = SELF | {"mlflow_gateway_tls": "acme", "mlflow_gateway_acme_terms_agreed": "true"}
# What is given beside, what the file of the ACME server's authority holds, and the words that are said.
ORDERS: dict[str, tuple[dict[str, Any], KeyFile | None, list[str]]] = {
    "good": ({}, None, []),
    "good, with all": (
        {"mlflow_gateway_acme_email": "ops@example.org", "mlflow_gateway_acme_directory": PRIVATE},
        KeyFile("/ca.crt", text="-----BEGIN CERTIFICATE-----"),
        [],
    ),
    "no directory for it": (
        {"mlflow_gateway_authority_dir": ""},
        None,
        ["tls is acme, and mlflow_gateway_auth"],
    ),
    "terms not agreed to": (
        {"mlflow_gateway_acme_terms_agreed": False},
        None,
        ["acme_terms_agreed is not true"],
    ),
    "no HTTP": ({"mlflow_gateway_http_port": 0}, None, ["mlflow_gateway_http_port is 0, and"]),
    "no address": ({"mlflow_gateway_acme_directory": ""}, None, ["mlflow_gateway_acme_directory is ''"]),
    "address without TLS": (
        {"mlflow_gateway_acme_directory": "http://ca.example.org/directory"},
        None,
        ["expected the https:// address"],
    ),
    "address that is none": (
        {"mlflow_gateway_acme_directory": "https://[ca"},
        None,
        ["expected the https://"],
    ),
    "two addresses of e-mail": (
        {"mlflow_gateway_acme_email": "a@b.org, c@d.org"},
        None,
        ["expected one address"],
    ),
    "name without a dot": (
        {"mlflow_gateway_hostname": "mlflow"},
        None,
        ["issues a certificate for 'mlflow'"],
    ),
    "name of nobody": (
        {"mlflow_gateway_hostname": "mlflow.corp.INTERNAL"},
        None,
        ["for 'mlflow.corp.INTERNAL'"],
    ),
    "notebook's name of nobody": (
        {"mlflow_gateway_notebook": "lab.local"},
        None,
        ["issues a certificate for 'lab"],
    ),
    "the same at an authority of one's own": (
        {"mlflow_gateway_hostname": "mlflow", "mlflow_gateway_acme_directory": PRIVATE},
        None,
        [],
    ),
    "staging is as public": (
        {
            "mlflow_gateway_hostname": "mlflow",
            "mlflow_gateway_acme_directory": "https://acme-staging-v02.api.letsencrypt.org/directory",
        },
        None,
        ["issues a certificate for 'mlflow'"],
    ),
    "address instead of a name": ({"mlflow_gateway_hostname": "192.0.2.1"}, None, ["not an address"]),
    "no file of the authority": (
        {},
        KeyFile("/ca.crt", "the controller has no such file"),
        ["mlflow_gateway_acme_ca_file is /ca.crt, and the controller has no such file"],
    ),
    "file without a certificate": ({}, KeyFile("/ca.crt", text="no"), ["which holds no certificate"]),
    "four": (
        {
            "mlflow_gateway_acme_terms_agreed": False,
            "mlflow_gateway_http_port": 0,
            "mlflow_gateway_hostname": "mlflow",
        },
        KeyFile("/ca.crt", "the controller has no such file"),
        ["terms_agreed", "mlflow_gateway_http_port", "for 'mlflow'", "mlflow_gateway_acme_ca_file"],
    ),
}


@pytest.mark.parametrize("case", ORDERS)
def test_orders(case: str) -> None:
    given, ca_file, words = ORDERS[case]
    defaults = {name: option["default"] for name, option in _specs().items() if "default" in option}
    found = list(gateway_problems(defaults | GOOD | ACME | given, None, None, ca_file))
    assert len(found) == len(words), found
    assert [word for word, sentence in zip(words, found, strict=True) if word not in sentence] == [], found


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, []),
        ({"mlflow_gateway_http_port": "8080"}, ["something has to forward 80 to 8080"]),
        ({"mlflow_gateway_bind": "127.0.0.1"}, ["does not reach the gateway there"]),
        ({"mlflow_gateway_http_port": 8080, "mlflow_gateway_tls": "self"}, []),
        ({"mlflow_gateway_http_port": 8080, "mlflow_gateway_hostname": ""}, []),
        # Of these, other sentences tell.
        ({"mlflow_gateway_http_port": 0}, []),
        ({"mlflow_gateway_http_port": "http"}, []),
    ],
)
def test_what_may_be_right_is_warned_of(given: dict[str, Any], words: list[str]) -> None:
    found = value_warnings(GOOD | ACME | given, _specs())
    assert len(found) == len(words), found
    assert [word for word, sentence in zip(words, found, strict=True) if word not in sentence] == [], found


@pytest.mark.parametrize("case", VALUES)
def test_values(case: str) -> None:
    given, words = VALUES[case]
    defaults = {name: option["default"] for name, option in _specs().items() if "default" in option}
    found = list(gateway_problems(defaults | GOOD | SELF | given, None, None))
    assert len(found) == len(words), found
    assert [word for word, sentence in zip(words, found, strict=True) if word not in sentence] == [], found


def test_own_files(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(pem(OTHER))
    (tmp_path / "key.pem").chmod(0o644)
    (tmp_path / "certificate.pem").write_text(certificate(("a.org",)))
    own = SELF | {"mlflow_gateway_tls": "own"}
    files = [_key_file(str(tmp_path / name)) for name in ("certificate.pem", "key.pem")]
    found = list(gateway_problems(own, *files))
    assert [sentence for sentence in found if str(tmp_path) not in sentence] == []
    assert "has mode 0644: others can read" in found[0]
    assert f"is for a.org, not for {NAME}" in found[1]
    assert "is not the certificate's" in found[2]
    missing, none = _key_file(str(tmp_path / "nothing")), None
    assert [sentence.partition(":")[0] for sentence in gateway_problems(own, missing, none)] == [
        f"mlflow_gateway_certificate_file is {tmp_path}/nothing, and the controller has no such file.",
        "mlflow_gateway_tls is own, and mlflow_gateway_key_file is empty",
    ]
    assert (
        list(
            gateway_problems(
                own, KeyFile("c", text=certificate(days=(-1, 9999))), KeyFile("k", text=pem(KEY))
            )
        )
        == []
    )
