# SPDX-License-Identifier: Apache-2.0
"""What MLflow's entry point names.

MLflow loads its plugins while it is being imported, and one that cannot be loaded then is silently left out. So
this module imports nothing of MLflow: whoever imports the artifact repository first still gets it for sftp://, and
whoever imports MLflow does not pay for an SSH library before the first sftp:// location.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow_sftp.mlflow_plugin.artifact_repository import SftpArtifactRepository


def artifact_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> "SftpArtifactRepository":
    """Return the store for an sftp:// location."""
    from mlflow_sftp.mlflow_plugin.artifact_repository import SftpArtifactRepository

    return SftpArtifactRepository(artifact_uri, tracking_uri, registry_uri)
