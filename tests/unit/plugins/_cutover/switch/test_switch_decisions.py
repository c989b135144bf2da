"""What a switch is to do, and what is refused before anything is changed."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import (
    STATES,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.decisions import (
    Decision,
    Options,
    copies,
    decide,
    require_no_workers,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import (
    SwitchRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import (
    Project,
    Store,
    environment_of,
    needed_accounts,
    with_environment,
)

URI = "sftp://me@host:22/a"
LOCAL = Store.at("local", "direct", "/mlruns")
SFTP = Store.at("sftp", "direct", URI)
PROXIED = Store.at("sftp", "proxied", URI)
OTHER = Store.at("sftp", "direct", "sftp://other@host:22/a")
ID, LATER = "20260101T000000Z", "20260102T000000Z"
TO_SFTP = Options("sftp", "direct", {"local": "/mlruns", "sftp": URI}, now=LATER)
TO_LOCAL = replace(TO_SFTP, storage="local")
UNDO = replace(TO_LOCAL, undo=True)
FINISH, BACK = replace(TO_SFTP, resume="finish"), replace(TO_SFTP, resume="undo")
PART = replace(TO_SFTP, migrate="none")
SOME = replace(TO_SFTP, experiments=(2, 1))


def made(state: str, source: Store = LOCAL, target: Store = SFTP, **changes: object) -> SwitchRecord:
    return SwitchRecord(id=ID, source=source, target=target, state=state, **changes)


@pytest.mark.parametrize(
    ("deployed", "records", "options", "words"),
    [
        (Store.from_environment({}), [], TO_SFTP, ["no deployed stack", "Run site.yml first"]),
        *(
            (
                LOCAL,
                [made(state)],
                TO_SFTP,
                [f"begun at {ID} and interrupted while {state}", "-e resume=undo"],
            )
            for state in ("cutting", "opening", "undoing")
        ),
        (
            LOCAL,
            [made("cutting", error="the disk is full")],
            TO_SFTP,
            ["What had gone wrong: the disk is full"],
        ),
        (LOCAL, [made("undoing")], FINISH, ["already being rolled back", "-e resume=undo"]),
        *(
            (LOCAL, [made(state)], FINISH, ["no interrupted switch to finish"])
            for state in ("copying", "done")
        ),
        (LOCAL, [], BACK, ["no interrupted switch to undo"]),
        *(
            (
                LOCAL,
                [made("cutting", version=1)],
                options,
                ["earlier version", "Finish or undo it with that version"],
            )
            for options in (FINISH, BACK)
        ),
        (SFTP, [], UNDO, ["No completed switch led to what is deployed", "there is none to undo"]),
        (LOCAL, [made("done")], UNDO, ["there is none to undo"]),
        (
            LOCAL,
            [made("cutting")],
            replace(FINISH, uris={"local": "/mlruns", "sftp": "sftp://me@host:22/b"}),
            [f"goes to {URI}, but the variables name sftp://me@host:22/b", "Give sftp_host, sftp_port"],
        ),
        (
            SFTP,
            [made("done")],
            replace(UNDO, uris={"local": "/elsewhere", "sftp": URI}),
            ["goes to /mlruns, but the variables name /elsewhere"],
        ),
        *(
            (PROXIED, [], options, ["all artifacts move together", "Leave migrate and experiments out"])
            for options in (replace(PART, storage="local"), replace(SOME, storage="local"))
        ),
        (LOCAL, [], replace(PART, access="proxied"), ["all artifacts move together"]),
        *((OTHER, [], options, ["credentials of one SFTP account"]) for options in (PART, SOME)),
        (
            SFTP,
            [],
            replace(TO_LOCAL, on_swarm=True),
            ["volume on one host", "Leave artifact_storage at sftp"],
        ),
    ],
)
def test_refusals(deployed: Store, records: list[SwitchRecord], options: Options, words: list[str]) -> None:
    with pytest.raises(RefusedError) as refused:
        decide(deployed, records, options)
    assert [word for word in words if word not in str(refused.value)] == []


@pytest.mark.parametrize(
    ("deployed", "records", "options", "action", "groups"),
    [
        (SFTP, [], TO_SFTP, "none", []),
        (SFTP, [made("done", left=3)], replace(TO_SFTP, migrate="none"), "none", []),
        (LOCAL, [], TO_SFTP, "start", ["move", "to_sftp"]),
        (SFTP, [], TO_LOCAL, "start", ["move"]),
        (SFTP, [], replace(TO_SFTP, access="proxied"), "start", ["move", "to_sftp"]),
        (OTHER, [], TO_SFTP, "start", ["move", "second_account"]),
        (OTHER, [], replace(TO_SFTP, on_swarm=True), "start", ["move", "second_account"]),
        (PROXIED, [], replace(TO_SFTP, on_swarm=True), "start", ["move", "to_sftp"]),
        (LOCAL, [], PART, "start", ["move", "to_sftp"]),
        (LOCAL, [made("undone")], TO_SFTP, "start", ["move", "to_sftp"]),
        (LOCAL, [made("cutting")], replace(TO_SFTP, check=True), "start", ["move", "to_sftp"]),
        (LOCAL, [made("cutting")], FINISH, "finish", ["move", "to_sftp"]),
        (SFTP, [made("opening")], BACK, "rollback", ["undo"]),
        (SFTP, [made("undoing")], BACK, "rollback", ["undo"]),
        (SFTP, [made("done")], UNDO, "start", ["move"]),
        (SFTP, [made("done", left=3)], TO_SFTP, "start", ["move", "to_sftp"]),
    ],
)
def test_actions(
    deployed: Store, records: list[SwitchRecord], options: Options, action: str, groups: list[str]
) -> None:
    decision = decide(deployed, records, options)
    assert (decision.action, decision.groups) == (action, groups)
    assert deployed.uri in str(decision)


@pytest.mark.parametrize(
    ("source", "target", "services", "refused"),
    [
        (SFTP, PROXIED, ["mlflow", "dask-worker"], True),
        (PROXIED, SFTP, ["mlflow", "dask-scheduler", "dask-worker"], True),
        (SFTP, OTHER, ["mlflow", "gateway"], False),
        # The servers write for them.
        (PROXIED, replace(PROXIED, uri="sftp://other@host:22/a"), ["mlflow", "dask-worker"], False),
    ],
)
def test_workers_of_a_swarm_that_reach_the_store_themselves(
    source: Store, target: Store, services: list[str], refused: bool
) -> None:
    with pytest.raises(RefusedError, match="mlflow_stack_dask: false") if refused else nullcontext():
        require_no_workers(made("copying", source, target), services)


def started(deployed: Store, records: list[SwitchRecord], options: Options) -> SwitchRecord:
    decision = decide(deployed, records, options)
    assert decision.action == "start"
    assert decision.record is not None
    return decision.record


def test_a_new_switch_has_an_id_of_its_own() -> None:
    record = started(LOCAL, [made("done", SFTP, LOCAL)], SOME)
    assert record == SwitchRecord(id=LATER, source=LOCAL, target=SFTP, experiments=(1, 2))


def test_a_copy_that_was_interrupted_goes_on_under_its_own_record() -> None:
    assert started(LOCAL, [made("copying")], TO_SFTP).id == ID
    assert started(LOCAL, [made("copying", experiments=(1, 2))], SOME).id == ID
    for other in (
        made("copying", experiments=(3,)),
        made("copying", migrate="none"),
        made("copying", undoes="x"),
    ):
        assert started(LOCAL, [other], TO_SFTP).id == LATER


def test_a_copy_of_an_earlier_version_goes_on_as_one_of_this() -> None:
    assert started(LOCAL, [made("copying", version=1)], TO_SFTP) == SwitchRecord(
        id=ID, source=LOCAL, target=SFTP
    )


def test_a_clock_that_was_set_back_gives_a_later_id_all_the_same() -> None:
    record = replace(made("done", SFTP, LOCAL), id="20991231T235959Z")
    assert started(LOCAL, [record], TO_SFTP).id == "21000101T000000Z"


def test_undoing_is_a_switch_to_where_the_last_one_came_from() -> None:
    decision = decide(SFTP, [made("done", experiments=(4,))], replace(UNDO, storage="sftp"))
    assert decision.goal == LOCAL
    assert decision.record == SwitchRecord(id=LATER, source=SFTP, target=LOCAL, experiments=(4,), undoes=ID)


def test_the_rest_comes_from_the_store_that_was_left() -> None:
    record = started(SFTP, [made("done", left=3, migrate="none")], TO_SFTP)
    assert (record.source, record.target, record.rest) == (LOCAL, SFTP, True)


def test_an_interrupted_switch_names_its_goal() -> None:
    for options in (FINISH, BACK):
        assert (
            decide(LOCAL, [made("cutting", target=PROXIED)], replace(options, storage="local")).goal
            == PROXIED
        )


def test_nothing_to_do_says_where_everything_is() -> None:
    assert str(Decision("none", None, SFTP)) == f"Nothing to do: artifacts are at {URI}, direct access."


@pytest.mark.parametrize("state", STATES)
def test_prune_wants_a_switch_that_is_complete(state: str) -> None:
    if state == "done":
        assert copies([made(state)], SFTP) == [made(state)]
        return
    with pytest.raises(RefusedError, match="half done" if made(state).interrupted else "no old copy"):
        copies([made(state)], SFTP)


def test_prune_takes_the_copies_from_the_store_that_was_left_last() -> None:
    first, second = made("done", OTHER, SFTP), replace(made("done"), id=LATER)
    third = replace(second, id="20260103T000000Z", experiments=(1,))
    only_access = made("done", SFTP, PROXIED)
    assert copies([first, second, third, only_access], PROXIED) == [second, third]
    for none in (only_access, made("done", migrate="none"), made("done", SFTP, LOCAL)):
        with pytest.raises(RefusedError, match="no old copy"):
            copies([none], SFTP)


@pytest.mark.parametrize(
    ("source", "target", "moves_files", "moves_rows", "second"),
    [
        (LOCAL, SFTP, True, True, False),
        (SFTP, PROXIED, False, True, False),
        (Store.at("local", "proxied", "/mlruns"), PROXIED, True, False, False),
        (OTHER, SFTP, True, True, True),
        (OTHER, Store.at("sftp", "direct", "sftp://other@host:22/b"), True, True, False),
    ],
)
def test_what_a_switch_moves(
    source: Store, target: Store, moves_files: bool, moves_rows: bool, second: bool
) -> None:
    record = made("copying", source, target)
    assert (record.moves_files, record.moves_rows, record.second_account) == (moves_files, moves_rows, second)


def test_the_deployed_store_is_what_env_says() -> None:
    text = (
        "# x\nMLFLOW_ARTIFACT_URI='sftp://me@host:22/a'\nMLFLOW_ARTIFACT_ROOT='mlflow-artifacts:/'\nA='b'c'\n"
    )
    assert Store.from_environment(environment_of(text)) == PROXIED
    assert environment_of(text)["A"] == "b'c"
    assert (
        Store.from_environment({"MLFLOW_ARTIFACT_URI": "/mlruns", "MLFLOW_ARTIFACT_ROOT": "/mlruns"}) == LOCAL
    )


def test_another_store_is_all_that_changes_in_env() -> None:
    text = "# x='1'\nMLFLOW_ARTIFACT_URI='sftp://me@host:22/a'\nMLFLOW_ARTIFACT_ROOT='mlflow-artifacts:/'\nA='b'c'\n"
    changed = with_environment(
        text, {"MLFLOW_ARTIFACT_URI": URI, "MLFLOW_ARTIFACT_ROOT": r"sftp://me@host:22/\1", "OTHER": "no"}
    )
    assert changed == text.replace("mlflow-artifacts:/", r"sftp://me@host:22/\1")
    assert with_environment(changed, {"MLFLOW_ARTIFACT_ROOT": "mlflow-artifacts:/"}) == text


def test_further_accounts_have_to_be_named() -> None:
    places = ["local", "mlflow-artifacts:", "sftp://me@host:22", "sftp://other@host:22", "s3://bucket"]
    assert needed_accounts(places, SFTP) == ["sftp://other@host:22"]
    assert needed_accounts(places, LOCAL) == ["sftp://me@host:22", "sftp://other@host:22"]


def test_a_compose_project() -> None:
    services = {
        "mlflow": {
            "image": "server:1",
            "networks": {"default": None, "database": None},
            "ports": [
                {"host_ip": "127.0.0.1", "published": "5000", "target": 5000},
                {"host_ip": "::1", "published": "5001", "target": 5000},
            ],
        },
        "notebook": {},
        "train": {},
        "postgres": {},
        "gateway": {},
    }
    networks = {"default": {"name": "shared"}, "database": {"name": "stack_database"}}
    project = Project.from_config({"name": "stack", "services": services, "networks": networks})
    assert project.networks == ("shared", "stack_database")
    assert (project.network, project.image) == ("shared", "server:1")
    assert project.ports == ("127.0.0.1:5000:5000", "[::1]:5001:5000")
    assert project.stopped == ["notebook"]
    assert project.images == ("server:1",)
    assert project.clients == ["mlflow", "notebook", "train"]
    assert project.gateways == ["gateway"]
