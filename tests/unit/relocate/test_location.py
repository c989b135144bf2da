"""Reading, comparing and re-spelling artifact locations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.file_utils import local_file_uri_to_path

from mlflow_sftp.errors import LocationError
from mlflow_sftp.location import Location, parse_root
from mlflow_sftp.uri import redact

_URL = "http://mlflow:5000/api/2.0/mlflow-artifacts/artifacts"
SFTP = "sftp://freegee@tajo.host.ch:2121/agent.freegee.ch/artifacts"


def move(value: str, old: str, new: str, working_directory: str | None = None) -> str:
    location = Location.parse(value, working_directory)
    root = parse_root(old, working_directory)
    assert location.is_under(root)
    return location.spelled_below(root, parse_root(new))


@pytest.mark.parametrize(
    ("value", "old", "new", "expected"),
    [
        ("/mlruns/1/abc/artifacts", "/mlruns", SFTP, f"{SFTP}/1/abc/artifacts"),
        ("/mlruns/1", "/mlruns/", SFTP + "/", f"{SFTP}/1"),
        ("/mlruns", "/mlruns", SFTP, SFTP),
        ("/mlruns//1/./abc", "/mlruns", SFTP, f"{SFTP}/1/abc"),
        ("file:///mlruns/1", "/mlruns", SFTP, f"{SFTP}/1"),
        ("file:/mlruns/1", "file:///mlruns", SFTP, f"{SFTP}/1"),
        ("file://localhost/mlruns/1", "/mlruns", SFTP, f"{SFTP}/1"),
        (f"{SFTP}/1", SFTP, "/mlruns", "/mlruns/1"),
        (f"{SFTP}/1", SFTP, "file:///mlruns", "file:///mlruns/1"),
        (f"{SFTP}/1/abc", SFTP, "mlflow-artifacts:/", "mlflow-artifacts:/1/abc"),
        (f"{SFTP}/1/abc", SFTP, "mlflow-artifacts:/p", "mlflow-artifacts:/p/1/abc"),
        ("mlflow-artifacts:/1/abc", "mlflow-artifacts:/", SFTP, f"{SFTP}/1/abc"),
        ("mlflow-artifacts:/", "mlflow-artifacts:/", SFTP, SFTP),
        (SFTP, SFTP, "mlflow-artifacts:/", "mlflow-artifacts:/"),
        ("sftp://tajo.host.ch:2121/agent.freegee.ch/artifacts/1", SFTP, "/m", "/m/1"),
        ("sftp://freegee@TAJO.host.ch:2121/agent.freegee.ch/artifacts/1", SFTP, "/m", "/m/1"),
        ("sftp://h/p/1", "sftp://h:22/p", "sftp://h/", "sftp://h/1"),
        ("mlflow-artifacts://mlflow:5000/1/abc", "mlflow-artifacts://mlflow:5000/", "/m", "/m/1/abc"),
        (f"{_URL}/1/a%20b", _URL, SFTP, f"{SFTP}/1/a%20b"),
        (f"{_URL}/1/a%20b", f"{_URL}/", "/m", "/m/1/a b"),
        (_URL.replace(":5000", "/prefix"), "http://mlflow:80/api/2.0/mlflow-artifacts/artifacts", "/m", "/m"),
    ],
)
def test_spellings_of_one_place_move(value: str, old: str, new: str, expected: str) -> None:
    assert move(value, old, new) == expected


@pytest.mark.parametrize(
    ("value", "new", "expected"),
    [
        ("/m/with space#1?/x", "sftp://h/p", "sftp://h/p/with%20space%231%3F/x"),
        ("/m/ünï", "sftp://h/p", "sftp://h/p/%C3%BCn%C3%AF"),
        ("/m/a%20b%25c", "sftp://h/p", "sftp://h/p/a%20b%25c"),
        ("/m/a%20b%25c", "/n", "/n/a%20b%25c"),
        ("file:///m/%c3%bc%20x", "sftp://h/p", "sftp://h/p/%c3%bc%20x"),
        ("file:///m/%c3%bc%20x%2520", "/n", "/n/ü x%2520"),
        ("file:///m/%c3%bc x", "mlflow-artifacts:/", "mlflow-artifacts:/ü x"),
    ],
)
def test_special_names_keep_meaning_and_where_possible_spelling(value: str, new: str, expected: str) -> None:
    assert move(value, "/m", new) == expected


@pytest.mark.parametrize(
    ("value", "old"),
    [
        ("/mlruns2/1", "/mlruns"),
        ("/mlrun", "/mlruns"),
        ("/data/mlruns/1", "/mlruns"),
        ("/mlruns/../etc", "/mlruns"),
        ("mlruns/1", "/mlruns"),
        ("mlflow-artifacts:/mlruns/1", "/mlruns"),
        ("sftp://h/mlruns/1", "/mlruns"),
        ("sftp://h:2121/p/1", "sftp://h/p"),
        ("sftp://other@h/p/1", "sftp://me@h/p"),
        ("sftp://h2/p/1", "sftp://h/p"),
        ("mlflow-artifacts://h:5000/1", "mlflow-artifacts:/"),
    ],
)
def test_other_places_are_left_alone(value: str, old: str) -> None:
    assert not Location.parse(value).is_under(parse_root(old))


def test_relative_paths_start_in_the_servers_directory() -> None:
    assert move("./mlruns/1", "/srv/a%b/mlruns", "/n", "/srv/a%b") == "/n/1"
    assert move("./mlruns/1", "mlruns", "/n") == "/n/1"
    assert move("file:mlruns/1", "./mlruns", "/n") == "/n/1"


def test_another_user_or_port_is_only_a_doubt() -> None:
    root = parse_root("sftp://me@h:2121/p")
    assert Location.parse("sftp://h/p/1").may_be_under(root)
    assert Location.parse("sftp://you@h:2121/p/1").may_be_under(root)
    assert not Location.parse("sftp://me@h:2121/p2/1").may_be_under(root)
    assert not Location.parse("sftp://me@g:2121/p/1").may_be_under(root)


@pytest.mark.parametrize(
    ("value", "new", "reason"),
    [
        ("/m/1/../2", "/n", "'..'"),
        ("sftp://h/m/1?x=1", "/n", "query"),
        ("/m/a#b", "mlflow-artifacts:/", "'#'"),
        ("/m/a%25b", "mlflow-artifacts:/", "'%'"),
    ],
)
def test_what_has_no_safe_new_spelling_is_refused(value: str, new: str, reason: str) -> None:
    root = parse_root("sftp://h/m" if value.startswith("sftp") else "/m")
    with pytest.raises(LocationError, match=reason):
        Location.parse(value).spelled_below(root, parse_root(new))


@pytest.mark.parametrize(
    "text", ["", "s3://b/p", "sftp:///p", "sftp://h:x/p", "/", "/a/../b", "sftp://h/p?q", "file://h/p"]
)
def test_unusable_roots_are_refused(text: str) -> None:
    with pytest.raises(LocationError):
        parse_root(text)


def test_messages_hide_passwords() -> None:
    assert redact("sftp://me:s3cr@t@h:22/p") == "sftp://me:***@h:22/p"
    with pytest.raises(LocationError) as caught:
        parse_root("sftp://me:secret@h:99999/p")
    assert "secret" not in str(caught.value)


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1).filter(
    lambda name: name not in (".", "..")
)


@given(st.lists(names, min_size=1, max_size=4))
def test_local_to_sftp_and_back_is_the_same_directory_for_mlflow(parts: list[str]) -> None:
    plain = "/m/" + "/".join(parts).replace("%", "%25")
    there = move(plain, "/m", SFTP)
    assert Location.parse(there).parts[2:] == tuple(parts)
    back = move(there, SFTP, "/m")
    assert local_file_uri_to_path(back) == "/m/" + "/".join(parts)


@pytest.mark.parametrize(
    "value",
    ["mlflow-artifacts://mlflow:5000/p/1", "mlflow-artifacts://other/p", f"{_URL}/p/1", f"https{_URL[4:]}/p"],
)
def test_a_proxy_named_by_host_or_url_may_be_the_one_that_is_meant(value: str) -> None:
    location = Location.parse(value)
    assert not location.is_under(parse_root("mlflow-artifacts:/p"))
    assert location.may_be_under(parse_root("mlflow-artifacts:/p"))
    assert not location.may_be_under(parse_root("mlflow-artifacts:/q"))


@pytest.mark.parametrize("value", ["http://h/p", "https:///api/2.0/mlflow-artifacts/artifacts/1", "s3://b/k"])
def test_what_mlflow_does_not_serve_is_no_location_of_ours(value: str) -> None:
    with pytest.raises(LocationError):
        Location.parse(value)
