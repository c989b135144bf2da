# SPDX-License-Identifier: Apache-2.0
"""Names that MLflow's own local store cannot read, though a file system, and an SFTP server, can hold them.

It takes an artifact's path for a URL: decodes it, and refuses or drops what a URL gives a meaning (MLflow 3.17,
`mlflow.utils.uri.validate_path_is_safe`). A file `50%25.txt` is asked for as `50%.txt`, and `a#b` is refused.
"""

import re
from urllib.parse import unquote, urlparse, urlunparse

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ABSOLUTE_ON_WINDOWS = re.compile(r"[A-Za-z]:[/\\]|[/\\]{2}")
_ARTIFACTS = "/artifacts/"


def is_readable_locally(path: str) -> bool:
    """Tell whether the local store finds the artifact with this path, relative to the artifact root of all runs.

    The directories above a run's, a model's or a trace's `artifacts` are not asked for by name.
    """
    _, _, below = path.partition(_ARTIFACTS)
    return not below or _is_kept(below)


def _is_kept(artifact_path: str) -> bool:
    """Whether MLflow makes of an artifact's path what it is."""
    if "#" in artifact_path or _CONTROL.search(artifact_path) or _ABSOLUTE_ON_WINDOWS.match(artifact_path):
        return False
    try:
        return urlunparse(urlparse(unquote(artifact_path))) == artifact_path
    except ValueError:
        return False
