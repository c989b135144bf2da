"""MLflow without pandas, in a process of its own: what is imported stays imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ansible import REPOSITORY

_STUBS = {
    "pandas/__init__.py": "",
    "mlflow/__init__.py": "from mlflow import data\nfrom mlflow.data import HAS_PANDAS\n",
    "mlflow/data.py": "try:\n    import pandas\n    HAS_PANDAS = True\nexcept ImportError:\n    HAS_PANDAS = False\n",
}
_FILE = REPOSITORY / "src/mlflow_sftp/light_import.py"


@pytest.mark.parametrize(
    ("changed", "program", "printed"),
    [
        pytest.param(
            {},
            "import mlflow, pandas; print(mlflow.HAS_PANDAS, pandas.__name__)",
            "False pandas",
            id="without",
        ),
        pytest.param(
            {"mlflow/data.py": "import pandas\nHAS_PANDAS = True\n"},
            "import mlflow; print(mlflow.HAS_PANDAS)",
            "True",
            id="an MLflow that needs pandas",
        ),
        pytest.param(
            {"mlflow/__init__.py": "import missing\n"},
            "import sys\nprint('mlflow' in sys.modules, 'pandas' in sys.modules)",
            "False False",
            id="an MLflow that does not import",
        ),
    ],
)
def test_import(tmp_path: Path, changed: dict[str, str], program: str, printed: str) -> None:
    for name, text in (_STUBS | changed).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    setup = f"import runpy, sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
    setup += f"runpy.run_path({str(_FILE)!r})['import_mlflow']()\n"
    done = subprocess.run(
        [sys.executable, "-c", setup + program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == printed.split(), done.stderr
