"""The report that verify.yml writes, from results."""

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.freegee.mlflow_sftp.plugins.filter.verify_report import verify_report


def stage(name: str, status: str = "ok", cause: str | None = None, detail: str = "") -> dict[str, Any]:
    """A stage as sftp_check returns it."""
    return {
        "name": name,
        "status": status,
        "seconds": 0.5,
        "detail": detail,
        "cause": cause,
        "meaning": cause and f"meaning of {cause}",
        "remedy": cause and f"remedy of {cause}",
    }


def check(*stages: dict[str, Any]) -> dict[str, Any]:
    """A result of sftp_check."""
    return {"stages": list(stages)}


def test_healthy() -> None:
    results = [
        {"vantage": "a", "result": check(stage("resolve"), stage("link"))},
        {"vantage": "a", "result": {"times": {"log": 1.0}, "files": [{}], "read_back": True}},
    ]
    report = verify_report(results)
    assert report["ok"]
    assert report["problems"] == []
    (row,) = report["rows"]
    assert row["seconds"] == 2.0
    shown = dict(zip(report["columns"], row["cells"], strict=True))
    assert shown["mlflow"]["status"] == "ok"
    assert "read back over SFTP" in shown["mlflow"]["detail"]
    assert shown["connect"]["status"] == "skipped"


def test_same_cause_in_several_places_is_one_problem() -> None:
    broken = [check(stage("connect", "failed", "connection_refused", detail)) for detail in ("x", "x", "y")]
    report = verify_report([{"vantage": str(i), "result": result} for i, result in enumerate(broken)])
    assert not report["ok"]
    (problem,) = report["problems"]
    assert problem["where"] == ["0", "1", "2"]
    assert problem["seen"] == [{"detail": "x", "where": ["0", "1"]}, {"detail": "y", "where": ["2"]}]


@pytest.mark.parametrize(
    ("detail", "other"),
    [
        ("upload of /tmp/tmp9p8omcgz/hello.txt", "upload of /tmp/tmpsty_7lm2/hello.txt"),
        ("sftp://h/a/12/0a53fa89abcdef01/artifacts", "sftp://h/a/13/ffee0123456789aa/artifacts"),
        ("/a: 8192 bytes free", "/a: 4096 bytes free"),
        ("round trip 201.5 ms, 0.4 MB/s", "round trip 203.1 ms, 0.5 MB/s"),
    ],
)
def test_the_same_with_other_ids_and_amounts_is_told_once(detail: str, other: str) -> None:
    failed = [check(stage("write", "failed", "write_failed", seen)) for seen in (detail, other)]
    report = verify_report([{"vantage": str(i), "result": result} for i, result in enumerate(failed)])
    assert report["problems"][0]["seen"] == [{"detail": detail, "where": ["0", "1"]}]


@pytest.mark.parametrize(
    ("detail", "other"),
    [
        ("127.0.0.1 port 2121: refused", "172.18.0.2 port 2121: refused"),
        ("the key SHA256:abcdefghij0123456789", "the key SHA256:bcdefghijk0123456789"),
        ("/agent/artifacts: denied", "/agent/artefacts: denied"),
    ],
)
def test_what_differs_in_substance_is_told_apart(detail: str, other: str) -> None:
    failed = [check(stage("write", "failed", "write_failed", seen)) for seen in (detail, other)]
    report = verify_report([{"vantage": str(i), "result": result} for i, result in enumerate(failed)])
    assert [seen["detail"] for seen in report["problems"][0]["seen"]] == [detail, other]


def test_warning_is_no_failure_and_comes_last() -> None:
    warned = check(stage("rename", "warning", "rename_not_atomic"))
    assert verify_report([{"vantage": "a", "result": warned}])["ok"]
    failed = check(stage("connect", "failed", "connection_refused"))
    report = verify_report([{"vantage": "a", "result": warned}, {"vantage": "b", "result": failed}])
    assert [problem["code"] for problem in report["problems"]] == ["connection_refused", "rename_not_atomic"]


def test_failed_round_trip() -> None:
    result = {
        "failed": True,
        "msg": "all of it",
        "cause": "mlflow_unreachable",
        "seen": "503",
        "remedy": "do",
    }
    report = verify_report([{"vantage": "a", "result": result}])
    assert not report["ok"]
    (problem,) = report["problems"]
    assert problem["seen"] == [{"detail": "503", "where": ["a"]}]
    assert problem["remedy"] == "do"


def test_later_success_does_not_hide_a_failure() -> None:
    outdated = {"failed": True, "msg": "seen", "cause": "container_key_outdated"}
    stored = {"times": {"log": 1.0}, "files": [{}], "read_back": True}
    report = verify_report([{"vantage": "a", "result": outdated}, {"vantage": "a", "result": stored}])
    assert not report["ok"]
    assert report["rows"][0]["cells"][-1]["cause"] == "container_key_outdated"


def test_two_failures_of_one_stage_are_two_problems() -> None:
    codes = ["container_key_outdated", "artifact_store_failed"]
    failures = [{"failed": True, "msg": "seen", "cause": code} for code in codes]
    report = verify_report([{"vantage": "a", "result": failure} for failure in failures])
    assert [problem["code"] for problem in report["problems"]] == codes
    assert report["rows"][0]["cells"][-1]["cause"] == "container_key_outdated"


def test_module_that_broke_without_a_cause() -> None:
    report = verify_report([{"vantage": "a", "result": {"failed": True, "msg": "boom"}}])
    assert report["problems"][0]["code"] == "artifact_store_failed"
    assert report["problems"][0]["seen"] == [{"detail": "boom", "where": ["a"]}]


def test_nonsense() -> None:
    with pytest.raises(AnsibleFilterError):
        verify_report([{"vantage": "a"}])
