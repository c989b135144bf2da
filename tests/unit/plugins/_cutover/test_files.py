"""The stack's files, kept and replaced."""

import os
import shutil
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import holder, locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users import login

KEYS = ".secrets/mlflow_sftp_key"
_DEPLOYED = ("gateway", ".secrets/gateway", "dask", ".secrets/dask")


def stack(directory: Path, word: str, key: str = "id_ed25519") -> Path:
    (directory / "mlflow").mkdir(parents=True)
    (directory / KEYS).mkdir(parents=True, mode=0o700)
    (directory / "mlflow" / "ssh_config").write_text(f"IdentityFile /run/key_next/{key}\n# {word}\n")
    (directory / KEYS / key).write_text(word)
    (directory / KEYS / key).chmod(0o600)
    for name in files.FILES:
        (directory / name).write_text(word)
    (directory / ".env").chmod(0o600)
    return directory


def content(directory: Path) -> dict[str, tuple[str, int]]:
    paths = (path for path in directory.rglob("*") if path.is_file())
    return {
        str(path.relative_to(directory)): (path.read_text(), path.stat().st_mode & 0o777) for path in paths
    }


def test_the_next_files_and_back(tmp_path: Path) -> None:
    present, following = stack(tmp_path / "stack", "old"), stack(tmp_path / "next", "new", "id_rsa")
    (present / "switches").mkdir()
    (present / ".secrets" / "notebook_token").write_text("token")
    before = content(present)
    files.save(present, tmp_path / "before.tar")
    files.install(following, present)
    assert content(present) == {**content(following), ".secrets/notebook_token": ("token", 0o644)}
    files.restore(tmp_path / "before.tar", present)
    assert content(present) == before
    assert (tmp_path / "before.tar").stat().st_mode & 0o777 == 0o600


def test_what_was_not_there_before_is_not_there_again(tmp_path: Path) -> None:
    present, following = stack(tmp_path / "stack", "old"), stack(tmp_path / "next", "new")
    (present / ".other_stores.json").unlink()
    before = content(present)
    files.save(present, tmp_path / "before.tar")
    files.install(following, present)
    files.restore(tmp_path / "before.tar", present)
    assert content(present) == before


def test_a_directory_without_a_stack_changes_nothing(tmp_path: Path) -> None:
    present, following = stack(tmp_path / "stack", "old"), stack(tmp_path / "next", "new")
    (following / "compose.yml").unlink()
    before = content(present)
    with pytest.raises(FileNotFoundError, match=r"holds no compose\.yml"):
        files.install(following, present)
    assert content(present) == before


def test_the_next_files_have_the_passwords_of_a_deployment_since(tmp_path: Path) -> None:
    present, following = stack(tmp_path / "stack", "old"), tmp_path / "next"
    for name in (f"{login.DIRECTORY}/server.json", "postgres/start.sh"):
        (present / name).parent.mkdir(parents=True)
        (present / name).write_text("before")
    files.complete(following, present, None, {})
    (present / f"{login.DIRECTORY}/server.json").write_text("after")
    shutil.rmtree(present / "postgres")
    (present / "mlflow" / "ssh_config").write_text("not of a switch to another account")
    files.renew(following, present)
    assert (following / f"{login.DIRECTORY}/server.json").read_text() == "after"
    assert not (following / "postgres").exists()
    assert "IdentityFile" in (following / "mlflow" / "ssh_config").read_text()


def test_on_a_swarm_no_file_describes_the_services(tmp_path: Path) -> None:
    present, following = stack(tmp_path / "stack", "old"), stack(tmp_path / "next", "new")
    for directory in (present, following):
        (directory / "compose.yml").unlink()
    before = content(present)
    files.save(present, tmp_path / "before.tar")
    files.install(following, present, needed=files.OF_SWARM)
    assert content(present) == content(following)
    files.restore(tmp_path / "before.tar", present, needed=files.OF_SWARM)
    assert content(present) == before
    (following / ".env").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no \.env"):
        files.install(following, present, needed=files.OF_SWARM)


def log_in(stack: Path, password: str) -> None:
    made = login.login_files("secret", password, ["mlflow", "train"], [], "READ", 60)
    (stack / files.LOGIN).mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        (stack / files.LOGIN / name).write_text(text)


@pytest.mark.parametrize("before", ["password before", ""])
@pytest.mark.parametrize("after", ["password after", ""])
def test_the_login_is_that_of_the_files_there_and_back(tmp_path: Path, before: str, after: str) -> None:
    """Where there is none, the stack has none; where there is one, its passwords all come from the same files."""
    present, following = stack(tmp_path / "stack", "old"), stack(tmp_path / "next", "new")
    for directory, password in ((present, before), (following, after)):
        if password:
            log_in(directory, password)
    kept = content(present)
    files.save(present, tmp_path / "before.tar")
    files.install(following, present)
    assert content(present) == content(following)
    assert login.authorization(present) == (login.basic("admin", after) if after else {})
    files.restore(tmp_path / "before.tar", present)
    assert content(present) == kept
    assert login.authorization(present) == (login.basic("admin", before) if before else {})


@pytest.mark.parametrize("name", [*files.DIRECTORIES, ".other_stores.json"])
@pytest.mark.parametrize("credentials", [True, False])
def test_what_is_installed_is_what_the_source_has(tmp_path: Path, name: str, credentials: bool) -> None:
    present, following = tmp_path / "stack", tmp_path / "next"
    for directory in (stack(present, "old"), stack(following, "new")):
        log_in(directory, "password of both")
        (directory / "postgres").mkdir()
        (directory / "postgres" / "start.sh").write_text("start")
    lacking = following / name
    if lacking.is_dir():
        shutil.rmtree(lacking)
    else:
        lacking.unlink()
    files.install(following, present, credentials=credentials)
    assert (present / name).exists() == (name in files.CREDENTIALS and not credentials)
    others = {each for each in (*files.DIRECTORIES, *files.FILES) if each != name}
    assert {each for each in others if (present / each).exists()} == others


@pytest.mark.parametrize("name", [".env", "compose.yml"])
def test_what_is_no_stack_is_not_installed(tmp_path: Path, name: str) -> None:
    present, following = stack(tmp_path / "stack", "old"), stack(tmp_path / "next", "new")
    before = content(present)
    (following / name).unlink()
    with pytest.raises(OSError, match=f"holds no {name}"):
        files.install(following, present)
    assert content(present) == before


def deployed(stack: Path, word: str) -> None:
    for name in _DEPLOYED:
        (stack / name).mkdir(parents=True, exist_ok=True)
        (stack / name / "file").write_text(word)
    (stack / _DEPLOYED[1]).chmod(0o700)


@pytest.mark.parametrize("before", ["old", ""])
@pytest.mark.parametrize("after", ["new", ""])
def test_a_deployment_s_archive_gives_back_what_a_cutover_leaves(
    tmp_path: Path, before: str, after: str
) -> None:
    present = stack(tmp_path / "stack", "old")
    if before:
        deployed(present, before)
    kept = content(present)
    files.save(present, tmp_path / "before.tar", deployment=True)
    for name in _DEPLOYED:
        shutil.rmtree(present / name, ignore_errors=True)
    if after:
        deployed(present, after)
        (present / _DEPLOYED[0] / "more").write_text(after)
        (present / _DEPLOYED[1]).chmod(0o755)
    files.restore(tmp_path / "before.tar", present, deployment=True)
    assert content(present) == kept
    assert [(present / name).exists() for name in _DEPLOYED] == [bool(before)] * len(_DEPLOYED)
    assert not before or (present / _DEPLOYED[1]).stat().st_mode & 0o777 == 0o700


def test_undoing_a_cutover_leaves_gateway_and_dask_as_they_are(tmp_path: Path) -> None:
    present = stack(tmp_path / "stack", "old")
    deployed(present, "old")
    files.save(present, tmp_path / "before.tar")
    deployed(present, "new")
    files.restore(tmp_path / "before.tar", present)
    assert [(present / name / "file").read_text() for name in _DEPLOYED] == ["new"] * len(_DEPLOYED)


def test_an_archive_that_is_cut_short_is_an_error_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "before.tar").write_bytes(b"no archive")
    with pytest.raises(OSError, match=r"before\.tar cannot be read"):
        files.restore(tmp_path / "before.tar", stack(tmp_path / "stack", "old"))


def test_a_mounted_directory_stays_the_same_one(tmp_path: Path) -> None:
    present, following = stack(tmp_path / "stack", "old"), stack(tmp_path / "next", "new")
    inodes = [os.stat(present / name).st_ino for name in files.CREDENTIALS]
    files.install(following, present)
    assert [os.stat(present / name).st_ino for name in files.CREDENTIALS] == inodes


def test_compose_yml_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    present, following = stack(tmp_path / "stack", "old"), stack(tmp_path / "next", "new")
    order = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, to: (order.append(Path(to).name), replace(path, to)))
    files.install(following, present)
    assert order[-1] == "compose.yml"


@pytest.mark.parametrize("second", [False, True])
def test_the_next_credentials_are_the_second_account_s_or_the_stack_s(tmp_path: Path, second: bool) -> None:
    present, client = stack(tmp_path / "stack", "old"), stack(tmp_path / "client", "new", "id_rsa")
    (tmp_path / "next").mkdir()
    files.complete(tmp_path / "next", present, client if second else None, {"/run/key_next": "/run/key"})
    made = content(tmp_path / "next")
    if second:
        assert made["mlflow/ssh_config"][0] == "IdentityFile /run/key/id_rsa\n# new\n"
        assert made[f"{KEYS}/id_rsa"] == ("new", 0o600)
        assert f"{KEYS}/id_ed25519" not in made
    else:
        assert made[f"{KEYS}/id_ed25519"] == ("old", 0o600)
        assert made["mlflow/ssh_config"] == content(present)["mlflow/ssh_config"]
    assert (tmp_path / "next" / KEYS).stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "next" / ".env").exists()


@pytest.mark.parametrize("second", [False, True])
def test_a_second_account_brings_nothing_but_credentials(tmp_path: Path, second: bool) -> None:
    present, client = stack(tmp_path / "stack", "old"), stack(tmp_path / "client", "new")
    log_in(present, "password of it")
    (tmp_path / "next").mkdir()
    files.complete(tmp_path / "next", present, client if second else None, {})
    assert login.authorization(tmp_path / "next") == login.basic("admin", "password of it")


def test_a_stack_without_credentials_has_none_next(tmp_path: Path) -> None:
    (tmp_path / "stack").mkdir()
    (tmp_path / "next").mkdir()
    files.complete(tmp_path / "next", tmp_path / "stack", None, {})
    assert list((tmp_path / "next").iterdir()) == []


def test_a_second_run_is_told_who_holds_the_lock_and_since_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 50000 192.0.2.1 22")
    with locked(tmp_path):
        told = rf"user alice from 192\.0\.2\.7, process {os.getpid()}, since \d{{4}}-.* UTC\. Nothing was changed"
        with pytest.raises(RefusedError, match=told), locked(tmp_path):
            pass
        assert "user alice from 192.0.2.7" in holder(tmp_path)
    with locked(tmp_path):
        pass
    assert holder(tmp_path) == ""
    assert holder(tmp_path / "nowhere") == ""


def test_credentials_may_stay_as_they_are(tmp_path: Path) -> None:
    present, before = stack(tmp_path / "stack", "new"), stack(tmp_path / "before", "old")
    files.save(before, tmp_path / "before.tar")
    credentials = {
        name: text for name, text in content(present).items() if name.startswith(files.CREDENTIALS)
    }
    files.restore(tmp_path / "before.tar", present, credentials=False)
    now = content(present)
    assert {name: now[name] for name in credentials} == credentials
    assert now["compose.yml"] == content(before)["compose.yml"]
    assert files.text_of(tmp_path / "before.tar", "compose.yml") == now["compose.yml"][0]


def test_the_digest_tells_other_files(tmp_path: Path) -> None:
    one = stack(tmp_path / "one", "old")
    digest = files.digest(one)
    (one / "mlflow" / "ssh_config").write_text("credentials aside")
    assert files.digest(one) == digest
    (one / ".env").write_text("A='b'")
    assert files.digest(one) != digest
