"""A gateway whose certificate is ordered of an ACME server, which comes, goes, and comes again.

The tests of this file are steps of one story, on one stack.
"""

import http.client
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.acme import AcmeServer
from tests.support.front import SEARCH, Front
from tests.support.lab import Lab
from tests.support.stack import fails, passes

pytestmark = [pytest.mark.lab, pytest.mark.sweep, pytest.mark.timeout(1200)]

NAME = "mlflow.acme.example"
CHALLENGE = "/.well-known/acme-challenge/"
HTTP = 15304


@dataclass(frozen=True)
class Site:
    """A lab with a gateway, the ACME server that its inventory names, and whom clients trust meanwhile."""

    lab: Lab
    server: AcmeServer

    @property
    def issued(self) -> Path:
        """The directory of what the server has issued, and of the account's key."""
        (found,) = (self.lab.directory / "gateway").iterdir()
        return found

    def front(self, authority: Path | None) -> Front:
        return Front(self.lab, NAME, authority)

    def get(self, path: str) -> tuple[int, str]:
        """Ask at the port of HTTP, and return status, and body or where it leads to."""
        connection = http.client.HTTPConnection("127.0.0.1", HTTP, timeout=10)
        connection.request("GET", path, headers={"Host": NAME})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location") or answer.read().decode()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("acme")
    server = AcmeServer(directory, 15305, HTTP)
    settings = {
        "artifact_storage": "local",
        "mlflow_stack_access": "proxied",
        "mlflow_gateway_hostname": NAME,
        "mlflow_gateway_bind": "127.0.0.1",
        "mlflow_gateway_https_port": 15303,
        "mlflow_gateway_http_port": HTTP,
        "mlflow_gateway_tls": "acme",
        "mlflow_gateway_acme_directory": server.directory,
        "mlflow_gateway_acme_terms_agreed": True,
        "mlflow_gateway_acme_email": "ops@acme.example",
        "mlflow_gateway_acme_ca_file": str(server.ca_file),
    }
    lab = Lab("mlflow-acme", directory / "lab", 15300, settings)
    with lab.cleared():
        yield Site(lab, server)


def test_bad_input_is_refused_all_at_once(site: Site) -> None:
    wrong = {
        "mlflow_gateway_acme_terms_agreed": False,
        "mlflow_gateway_http_port": 0,
        "mlflow_gateway_acme_directory": "https://acme-v02.api.letsencrypt.org/directory",
    }
    # The server, which writes the file of its own authority, has not run yet.
    flat = " ".join(fails(site.lab.play("site.yml", **wrong)).split())
    assert "mlflow_gateway_acme_terms_agreed is not true" in flat
    assert "mlflow_gateway_http_port is 0" in flat
    assert f"No public authority issues a certificate for '{NAME}'" in flat
    assert (
        f"mlflow_gateway_acme_ca_file is {site.server.ca_file}, and the controller has no such file" in flat
    )
    assert not site.lab.stack.exists()


def test_a_first_order_that_fails_leaves_a_stack_that_runs(site: Site) -> None:
    with site.server.running():
        output = passes(site.lab.play("site.yml", "--check", "--skip-tags", "verify"))
        assert f"Would make an account at {site.server.directory}" in output
        assert not site.lab.stack.exists()
        assert not (site.lab.directory / "gateway").exists()
    flat = " ".join(fails(site.lab.play("site.yml")).split())
    assert f"Reach the ACME server, at {site.server.directory}, for {NAME}: " in flat
    assert "Connection refused" in flat
    assert "The gateway's certificate is not there yet. The stack runs" in flat
    assert "port 80 is open to the world" in flat
    # A name that nobody but the gateway vouches for, and MLflow behind it.
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    assert site.front(None).ask(SEARCH, context=blind).status == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        site.front(None).ask(SEARCH, context=ssl.create_default_context())


def test_the_gateway_shows_what_the_acme_server_has_issued(site: Site) -> None:
    containers = site.lab.containers()
    with site.server.running() as root:
        output = passes(site.lab.play("site.yml", "--diff"))
        answer = site.front(root).ask(SEARCH)
    assert answer.status == 200
    assert ("DNS", NAME) in answer.certificate["subjectAltName"]
    # By a reload.
    assert site.lab.containers() == containers
    keys = [site.issued / name for name in ("account.key", f"{NAME}.key")]
    assert {each.stat().st_mode & 0o777 for each in [*keys, site.issued / f"{NAME}.crt"]} == {0o600}
    assert [each for each in keys if each.read_text().splitlines()[1] in output] == []
    assert "PRIVATE KEY" not in output
    pem = (site.lab.stack / ".secrets/gateway/certificate.pem").read_text()
    assert keys[0].read_text().splitlines()[1] not in pem


def test_nothing_but_a_token_comes_back(site: Site) -> None:
    status, body = site.get(f"{CHALLENGE}evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA")
    token, _, thumbprint = body.partition(".")
    assert (status, token, len(thumbprint)) == (200, "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA", 43)
    for other in ("%3Cscript%3E", "a/b", "a.b", ""):
        assert site.get(CHALLENGE + other) == (308, f"https://{NAME}:15303{CHALLENGE}{other}")


@pytest.mark.parametrize("options", [(), ("--check", "--diff")])
def test_second_run_changes_nothing_and_asks_nobody(site: Site, options: tuple[str, ...]) -> None:
    output = passes(site.lab.play("site.yml", *options))
    assert "changed=0" in output.rpartition("docker-host ")[2], output[-3000:]


def test_a_renewal_that_fails_is_a_warning(site: Site) -> None:
    aged = age(site)
    assert "Would order a certificate" in passes(site.lab.play("site.yml", "--check", "--tags", "stack"))
    flat = " ".join(passes(site.lab.play("site.yml", "--tags", "stack")).split())
    assert f"Warning: docker-host: Reach the ACME server, at {site.server.directory}" in flat
    assert "Connection refused" in flat
    assert "The gateway's certificate expires at" in flat
    assert site.front(aged).ask(SEARCH).status == 200


def test_a_renewal_fails_no_request(site: Site, tmp_path: Path) -> None:
    # That of the step before.
    aged = site.lab.directory / "aged.crt"
    containers = site.lab.containers()
    before = site.front(aged).ask(SEARCH).certificate["serialNumber"]
    with site.server.running() as root:
        both = tmp_path / "both.crt"
        both.write_text(aged.read_text() + root.read_text())
        with site.front(both).asking() as asking:
            passes(site.lab.play("site.yml", "--skip-tags", "verify"))
        after = site.front(root).ask(SEARCH)
    assert asking.errors == []
    assert [answer for answer in asking.answers if answer.status != 200] == []
    assert asking.answers[0].certificate["serialNumber"] == before
    assert after.certificate["serialNumber"] != before
    assert site.lab.containers() == containers


def age(site: Site) -> Path:
    """Put a certificate of another authority, in the last third of its life, in the place of the issued one.

    Returns whom to trust for it.
    """
    now = datetime.now(UTC)
    authority = ec.generate_private_key(ec.SECP256R1())
    key = serialization.load_pem_private_key((site.issued / f"{NAME}.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    whose = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "An authority of the test")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())

    def signed(builder: x509.CertificateBuilder, *extensions: tuple[x509.ExtensionType, bool]) -> bytes:
        builder = builder.issuer_name(whose).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(61)).not_valid_after(now + timedelta(29))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    trusted = site.lab.directory / "aged.crt"
    trusted.write_bytes(
        signed(
            x509.CertificateBuilder().subject_name(whose).public_key(authority.public_key()),
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (usage, True),
            (identifier, False),
        )
    )
    (site.issued / f"{NAME}.crt").write_bytes(
        signed(
            x509.CertificateBuilder().subject_name(x509.Name([])).public_key(key.public_key()),
            (x509.SubjectAlternativeName([x509.DNSName(NAME)]), True),
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False),
        )
    )
    return trusted
