"""When the secrets of a swarm's services may be replaced."""

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation import on_swarm
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.rollout import Progress


@pytest.mark.parametrize("closed", [[], ["The home is drained."]])
def test_a_home_that_could_not_prove_a_secret_begins_nothing(
    closed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = SimpleNamespace(on_swarm=True, name="mlflow")
    stack: Any = SimpleNamespace(project=project, settings=SimpleNamespace(directory="/opt/mlflow-stack"))
    served = on_swarm.ServedSecrets(stack)
    monkeypatch.setattr(on_swarm, "closed", lambda: closed)
    monkeypatch.setattr(on_swarm, "nodes", lambda: [])
    monkeypatch.setattr(served, "_progress", lambda part: Progress(part, 2, 2))
    if closed:
        with pytest.raises(RefusedError, match=r"The home is drained\. Nothing was changed"):
            served.require_quiet(["mlflow"], ())
    else:
        served.require_quiet(["mlflow"], ())
