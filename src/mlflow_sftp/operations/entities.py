# SPDX-License-Identifier: Apache-2.0
"""Runs, models and traces as MLflow tells of them, to compare before and after its database was changed.

Counting rows proves nothing: migrations move rows into columns.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from mlflow_sftp.operations.round_trip_tag import TAG

# By kind and identifier; what is told of each by name.
Entities = dict[str, dict[str, dict[str, Any]]]

# Ids of experiments in one question.
_MOST_EXPERIMENTS = 500
# What MLflow writes itself may change its place with a version.
_OWN = "mlflow."


@dataclass(frozen=True)
class _Kind:
    """How entities of a kind are chosen, named, asked for by that name, and told."""

    choose: Callable[[MlflowClient, list[str], int], Iterable[Any]]
    name: Callable[[Any], str]
    get: Callable[[MlflowClient, str], Any]
    tell: Callable[[MlflowClient, Any], dict[str, Any]]


def entities(tracking_uri: str, most: int = 20) -> Entities:
    """Ask a server, or the store behind a URI, for experiments, runs, models and traces: of each kind `most` at most.

    Runs and traces are the oldest and the newest that have ended; what round trips made is left out.
    Raises MlflowException where it does not answer.
    """
    client = MlflowClient(tracking_uri, registry_uri=tracking_uri)
    experiments = [each.experiment_id for each in _experiments(client)][:_MOST_EXPERIMENTS]
    return {
        word: {
            kind.name(entity): kind.tell(client, entity) for entity in kind.choose(client, experiments, most)
        }
        for word, kind in _KINDS.items()
    }


def differences(before: Entities, tracking_uri: str) -> list[str]:
    """What was told before and is not told any more, or otherwise; what is new is no difference."""
    client = MlflowClient(tracking_uri, registry_uri=tracking_uri)
    return [
        difference
        for word, known in before.items()
        for name, fields in known.items()
        for difference in _differences(client, word, name, fields)
    ]


def _differences(client: MlflowClient, word: str, name: str, before: Mapping[str, Any]) -> Iterator[str]:
    kind = _KINDS[word]
    try:
        now = kind.tell(client, kind.get(client, name))
    except MlflowException as error:
        yield f"the {word} {name} is not told any more: {_short(str(error))}"
        return
    for field, value in before.items():
        # What an earlier server did not tell is no difference.
        if value is not None and now[field] != value:
            yield f"the {word} {name} has {field} {_short(repr(now[field]))}, and had {_short(repr(value))}"


def _experiments(client: MlflowClient) -> list[Any]:
    return [each for each in client.search_experiments(view_type=ViewType.ALL) if TAG not in each.tags]


def _tell_experiment(_: MlflowClient, each: Any) -> dict[str, Any]:
    return {
        "name": each.name,
        "location": each.artifact_location,
        "stage": each.lifecycle_stage,
        "tags": _of_users(each.tags),
    }


def _runs(client: MlflowClient, experiments: list[str], most: int) -> Iterator[Any]:
    for order in ("ASC", "DESC") if experiments else ():
        yield from client.search_runs(
            experiments,
            "attributes.status = 'FINISHED'",
            run_view_type=ViewType.ALL,
            max_results=max(1, most // 2),
            order_by=[f"attributes.start_time {order}"],
        )


def _tell_run(_: MlflowClient, run: Any) -> dict[str, Any]:
    inputs = run.inputs.dataset_inputs if run.inputs else ()
    return {
        "name": run.info.run_name,
        "experiment": run.info.experiment_id,
        "stage": run.info.lifecycle_stage,
        "times": [run.info.start_time, run.info.end_time],
        "artifacts": run.info.artifact_uri,
        "params": dict(run.data.params),
        # NaN is not equal to itself.
        "metrics": {name: repr(value) for name, value in run.data.metrics.items()},
        "tags": _of_users(run.data.tags),
        "datasets": sorted(f"{each.dataset.name} {each.dataset.digest}" for each in inputs),
    }


def _logged_models(client: MlflowClient, experiments: list[str], most: int) -> Iterable[Any]:
    return client.search_logged_models(experiments, max_results=most) if experiments else ()


def _tell_logged_model(_: MlflowClient, model: Any) -> dict[str, Any]:
    return {
        "name": model.name,
        "run": model.source_run_id,
        "artifacts": model.artifact_location,
        "params": dict(model.params or {}),
        "tags": _of_users(model.tags or {}),
    }


def _tell_registered_model(_: MlflowClient, model: Any) -> dict[str, Any]:
    aliases = {alias: str(version) for alias, version in model.aliases.items()}
    return {"description": model.description or "", "tags": _of_users(model.tags), "aliases": aliases}


def _get_version(client: MlflowClient, name: str) -> Any:
    return client.get_model_version(*name.rsplit("/", 1))


def _tell_version(_: MlflowClient, version: Any) -> dict[str, Any]:
    return {"run": version.run_id or "", "source": version.source, "tags": _of_users(version.tags)}


def _traces(client: MlflowClient, experiments: list[str], most: int) -> Iterator[Any]:
    for order in ("ASC", "DESC") if experiments else ():
        found = client.search_traces(
            locations=experiments,
            max_results=max(1, most // 2),
            order_by=[f"timestamp_ms {order}"],
            include_spans=False,
        )
        # One whose spans nobody gets, as where its client died, tells nothing afterwards either.
        ended = (trace for trace in found if str(trace.info.state) != "IN_PROGRESS")
        yield from (trace for trace in ended if _spans(client, trace) is not None)


def _get_trace(client: MlflowClient, trace_id: str) -> Any:
    return client.get_trace(trace_id, display=False)


def _tell_trace(client: MlflowClient, trace: Any) -> dict[str, Any]:
    return {
        "state": str(trace.info.state),
        "tags": _of_users(trace.info.tags),
        "assessments": sorted(f"{each.name} {each.value}" for each in trace.info.assessments or ()),
        "spans": _spans(client, trace),
    }


def _spans(client: MlflowClient, trace: Any) -> list[str] | None:
    # An earlier server may not answer a later client that asks for spans, and a store may be out of reach.
    with contextlib.suppress(Exception):
        spans = trace.data.spans or _get_trace(client, trace.info.trace_id).data.spans
        return sorted(span.name for span in spans)
    return None


def _of_users(tags: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tags.items() if not name.startswith(_OWN)}


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}..."


_KINDS = {
    "experiment": _Kind(
        lambda client, _, most: _experiments(client)[:most],
        lambda each: str(each.experiment_id),
        lambda client, name: client.get_experiment(name),
        _tell_experiment,
    ),
    "run": _Kind(_runs, lambda run: run.info.run_id, lambda client, name: client.get_run(name), _tell_run),
    "logged model": _Kind(
        _logged_models,
        lambda model: model.model_id,
        lambda client, name: client.get_logged_model(name),
        _tell_logged_model,
    ),
    "registered model": _Kind(
        lambda client, _, most: client.search_registered_models(max_results=most),
        lambda model: model.name,
        lambda client, name: client.get_registered_model(name),
        _tell_registered_model,
    ),
    "model version": _Kind(
        lambda client, _, most: client.search_model_versions(max_results=most),
        lambda version: f"{version.name}/{version.version}",
        _get_version,
        _tell_version,
    ),
    "trace": _Kind(_traces, lambda trace: trace.info.trace_id, _get_trace, _tell_trace),
}
