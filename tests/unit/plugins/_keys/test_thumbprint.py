"""Thumbprints are those that RFC 7638 describes, whatever leading zeros a coordinate has."""

import base64
import hashlib
import json
import re

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.freegee.mlflow_sftp.plugins.filter.acme_thumbprint import acme_thumbprint
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.thumbprint import elliptic_thumbprint
from cryptography.hazmat.primitives.asymmetric import ec


@pytest.mark.parametrize(("curve", "kind"), [("secp256r1", ec.SECP256R1()), ("secp384r1", ec.SECP384R1())])
@pytest.mark.parametrize("private", [1, 2, 7, 2**200 + 1])
def test_thumbprint_is_that_of_another_implementation(
    curve: str, kind: ec.EllipticCurve, private: int
) -> None:
    jwk = pytest.importorskip(
        "joserfc.jwk", reason="comes with oidc-provider-mock, which Python 3.11 has not"
    )
    key = ec.derive_private_key(private, kind).public_key()
    numbers = key.public_numbers()
    assert elliptic_thumbprint(curve, numbers.x, numbers.y) == jwk.ECKey.import_key(key).thumbprint()


def test_a_coordinate_keeps_its_zeros() -> None:
    members = f'{{"crv":"P-256","kty":"EC","x":"{"A" * 42}E","y":"{"A" * 42}I"}}'
    assert [len(base64.urlsafe_b64decode(json.loads(members)[name] + "=")) for name in "xy"] == [32, 32]
    expected = base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).decode().rstrip("=")
    found = acme_thumbprint({"curve": "secp256r1", "x": 1, "y": 2, "exponent_size": 256})
    assert found == expected
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", found)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"curve": "secp521r1", "x": 1, "y": 2}, "on the curve 'secp521r1'"),
        ({"modulus": 1}, "has no 'curve'"),
    ],
)
def test_another_key_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=words):
        acme_thumbprint(given)
