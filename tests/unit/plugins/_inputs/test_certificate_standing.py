"""When a certificate still serves, and when the next one has to be ordered."""

from datetime import timedelta

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.filter.certificate_standing import (
    certificate_standing as by_file,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.certificate_standing import (
    certificate_standing,
)

from tests.unit.plugins._inputs.test_gateway import KEY, NAME, NOW, OTHER, certificate, pem

CHAIN = certificate((), subject="authority", issuer="root")
# Certificate, key, whether a server starts with both, whether clients take the first, and words of why the next is due.
CASES = {
    "fresh": (certificate(days=(-1, 89)), pem(KEY), True, True, ""),
    "fresh, with a chain": (certificate() + CHAIN, pem(KEY), True, True, ""),
    "90 days, a third left": (certificate(days=(-59, 31)), pem(KEY), True, True, ""),
    "90 days, less left": (
        certificate(days=(-61, 29)),
        pem(KEY),
        True,
        True,
        "expires at 2026-12-26 00:00 UTC",
    ),
    "47 days, a third left": (certificate(days=(-31, 16)), pem(KEY), True, True, ""),
    "47 days, less left": (certificate(days=(-32, 15)), pem(KEY), True, True, "expires at 2026-12-12"),
    "6 days, a third left": (certificate(days=(-4, 2)), pem(KEY), True, True, ""),
    "6 days, less left": (certificate(days=(-5, 1)), pem(KEY), True, True, "expires at 2026-11-28"),
    "expired": (certificate(days=(-90, -1)), pem(KEY), True, False, "has expired at"),
    "other names": (certificate(("a.example.org",)), pem(KEY), True, False, "is for a.example.org, not for"),
    "of nobody": (
        certificate(issuer="server"),
        pem(KEY),
        True,
        False,
        "is its own, for the moment",
    ),
    "of nobody, expired": (certificate(issuer="server", days=(-2, -1)), pem(KEY), True, False, "has expired"),
    "other key": (certificate(), pem(OTHER), False, False, "its key is not the certificate's"),
    "other key, expired": (
        certificate(days=(-9, -1)),
        pem(OTHER),
        False,
        False,
        "has expired at 2026-11-26 00:00 UTC, and its",
    ),
    "no key": (certificate(), "", False, False, "its key is no private key"),
    "none": ("", pem(KEY), False, False, "is not there yet"),
    "damaged": (certificate()[:90], pem(KEY), False, False, "is damaged"),
    "nothing of the kind": ("text", pem(KEY), False, False, "is no certificate"),
}


@pytest.mark.parametrize("case", CASES)
def test_standing(case: str) -> None:
    text, key, loads, serves, words = CASES[case]
    found = certificate_standing(text, key, [NAME], NOW)
    assert (found.loads, found.serves) == (loads, serves)
    assert words in found.due
    assert bool(found.due) == bool(words)


def test_the_last_third_begins_at_a_moment() -> None:
    text = certificate(days=(-60, 30))
    second = timedelta(seconds=1)
    due = [bool(certificate_standing(text, pem(KEY), [NAME], NOW + each).due) for each in (-second, second)]
    assert due == [False, True]


def test_all_names_are_needed() -> None:
    found = certificate_standing(certificate(), pem(KEY), [NAME, "lab.example.org"], NOW)
    assert (found.loads, found.serves) == (True, False)
    assert "not for lab.example.org" in found.due


def test_files_need_not_be_there(tmp_path: object) -> None:
    files = {"certificate": f"{tmp_path}/none.crt", "key": f"{tmp_path}/none.key", "request": "unread"}
    assert by_file(files, [NAME]) == {"loads": False, "serves": False, "due": "is not there yet"}
