# SPDX-License-Identifier: Apache-2.0
"""Which columns of MLflow's database hold artifact locations."""

from dataclasses import dataclass

Key = dict[str, str | int]
TRACE_LOCATION_TAGS = ("mlflow.artifactLocation", "mlflow.trace.archiveLocation")


@dataclass(frozen=True)
class LocationColumn:
    """A column whose values are artifact locations; `tag_keys` restricts a key/value table to some keys."""

    table: str
    column: str
    new_runs: bool = False
    tag_keys: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"


# `new_runs`: MLflow derives the locations of what is created from now on from these.
LOCATION_COLUMNS = (
    LocationColumn("experiments", "artifact_location", new_runs=True),
    LocationColumn("runs", "artifact_uri"),
    LocationColumn("logged_models", "artifact_location"),
    LocationColumn("model_versions", "storage_location"),
    LocationColumn("model_versions", "source"),
    LocationColumn("trace_tags", "value", tag_keys=TRACE_LOCATION_TAGS),
    LocationColumn("workspaces", "default_artifact_root", new_runs=True),
    LocationColumn("workspaces", "trace_archival_location", new_runs=True),
)
