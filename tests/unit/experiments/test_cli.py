"""Arguments, their errors, and how fast `--help` answers."""

import subprocess
import sys
import time

import pytest

from experiments.image_scoring import cli, entrypoint


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_UI_URL", raising=False)
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)

    settings = cli.parse([])

    assert settings == cli.Settings(
        experiment="image_scoring",
        run_name=None,
        tracking_uri=None,
        ui_url=None,
        epochs=20,
        seed=0,
        register=None,
        json=False,
        engine="local",
        scheduler=None,
        trials=0,
        shards=4,
    )


@pytest.mark.parametrize(
    ("arguments", "trials"),
    [
        ([], 0),
        (["--trials", "3"], 3),
        (["--engine", "dask", "--scheduler", "tls://host:8786"], 9),
        (["--engine", "dask", "--scheduler", "tls://host:8786", "--trials", "1"], 1),
    ],
)
def test_a_sweep_is_asked_for_or_comes_with_dask(arguments: list[str], trials: int) -> None:
    assert cli.parse(arguments).trials == trials


def test_the_scheduler_comes_from_dasks_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tls://dask-scheduler:8786")

    assert cli.parse(["--engine", "dask"]).scheduler == "tls://dask-scheduler:8786"
    assert cli.parse(["--engine", "dask", "--scheduler", "tls://other:1"]).scheduler == "tls://other:1"


def test_ui_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_UI_URL", "http://ui.example:5000")

    assert cli.parse([]).ui_url == "http://ui.example:5000"
    assert cli.parse(["--ui-url", "http://other"]).ui_url == "http://other"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "argument --epochs: 0 is not 1 or more"),
        (["--epochs", "many"], "argument --epochs: invalid"),
        (["--seed", "-1"], "argument --seed: -1 is not in 0..4294967295"),
        (["--seed", "4294967296"], "argument --seed: 4294967296 is not in 0..4294967295"),
        (["--register", "a/b"], "argument --register: 'a/b' is empty or holds"),
        (["--register", ""], "argument --register: '' is empty or holds"),
        (["--trials", "0"], "argument --trials: 0 is not in 1..9"),
        (["--trials", "10"], "argument --trials: 10 is not in 1..9"),
        (["--shards", "0"], "argument --shards: 0 is not 1 or more"),
        (["--engine", "ray"], "argument --engine: invalid choice"),
        (["--engine", "dask"], "--engine dask needs a scheduler: name it with --scheduler"),
        (["--epoch", "3"], "unrecognized arguments: --epoch 3"),
    ],
)
def test_wrong_arguments_end_with_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    with pytest.raises(SystemExit) as end:
        entrypoint.main(arguments)

    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from experiments.image_scoring.entrypoint import main\n"
        "heavy = {'mlflow', 'sklearn', 'numpy', 'matplotlib', 'distributed'}\n"
        "try: main(['--help'])\n"
        "finally: print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    started = time.monotonic()
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "heavy: []" in shown.stdout
    assert "exit codes:" in shown.stdout
    assert time.monotonic() - started < 2
