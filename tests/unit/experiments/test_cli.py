"""Arguments, their errors, and how fast `--help` answers."""

import subprocess
import sys
import time

import pytest

from experiments.image_scoring import cli, entrypoint


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_UI_URL", raising=False)

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
    )


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
        (["--epoch", "3"], "unrecognized arguments: --epoch 3"),
    ],
)
def test_wrong_arguments_end_with_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        entrypoint.main(arguments)

    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from experiments.image_scoring.entrypoint import main\n"
        "try: main(['--help'])\n"
        "finally: print('heavy:', sorted({'mlflow', 'sklearn', 'numpy', 'matplotlib'} & set(sys.modules)))\n"
    )
    started = time.monotonic()
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "heavy: []" in shown.stdout
    assert "exit codes:" in shown.stdout
    assert time.monotonic() - started < 2
