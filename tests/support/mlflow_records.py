"""One of everything that MLflow keeps as rows, made and read back by MLflow itself."""

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import (
    AssessmentSource,
    BudgetAction,
    BudgetDuration,
    BudgetDurationUnit,
    BudgetTargetScope,
    BudgetUnit,
    Dataset,
    DatasetInput,
    GatewayEndpointModelConfig,
    GatewayEndpointTag,
    GatewayModelLinkageType,
    InputTag,
    Metric,
    Param,
    RunTag,
    ViewType,
)
from mlflow.store.jobs.sqlalchemy_store import SqlAlchemyJobStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

# Text that a careless copy changes.
TEXT = "ünïcödé 🙂 'quote' \"double\" \\back\\slash\ttab\nline\r\n  spaces  \x7f"
ODD_NUMBERS = {
    "nan": math.nan,
    "inf": math.inf,
    "minus_inf": -math.inf,
    "tiny": 5e-324,
    "third": 1 / 3,
    "huge": 1.7976931348623157e308,
    "integer": 2.0**53,
}


def create_records(uri: str, root: str) -> None:
    """Fill a new database; `root` is where artifacts would be, none are written."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    client = MlflowClient(uri, uri)
    experiment = client.create_experiment("main", f"{root}/main", tags={"note": TEXT, "empty": ""})
    client.create_experiment("gone", f"{root}/gone")
    _runs(client, experiment)
    _models(client, experiment)
    _traces(client, experiment)
    _gateway(uri, root, experiment)
    client.delete_experiment(client.get_experiment_by_name("gone").experiment_id)


def _runs(client: MlflowClient, experiment: str) -> None:
    parent = client.create_run(experiment, run_name=TEXT[:20]).info.run_id
    child = client.create_run(experiment, tags={"mlflow.parentRunId": parent}).info.run_id
    deleted = client.create_run(experiment).info.run_id
    metrics = [
        Metric(key, value, 1_700_000_000_000, step) for step, (key, value) in enumerate(ODD_NUMBERS.items())
    ]
    metrics += [Metric("history", step / 7, step, step - 5) for step in range(50)]
    client.log_batch(
        parent,
        metrics,
        [Param("long", "x" * 6000), Param("text", TEXT), Param("Text", ""), Param("t_", "")],
        [RunTag("text", TEXT), RunTag("big", "y" * 8000)],
    )
    dataset = Dataset("data", "digest", "local", json.dumps({"uri": "/data"}), schema="{}", profile=None)
    client.log_inputs(child, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
    client.set_terminated(child, "FAILED")
    client.delete_run(deleted)


def _models(client: MlflowClient, experiment: str) -> None:
    run = client.search_runs([experiment], max_results=1)[0].info.run_id
    model = client.create_logged_model(
        experiment, "model", source_run_id=run, tags={"text": TEXT}, params={"p": "1"}
    )
    client.log_model_params(model.model_id, {"more": TEXT})
    client.log_metric(run, "accuracy", 0.25, model_id=model.model_id, step=3)
    client.finalize_logged_model(model.model_id, "READY")
    client.create_registered_model("registered", tags={"text": TEXT}, description=TEXT)
    for _ in range(2):
        client.create_model_version(
            "registered", f"models:/{model.model_id}", tags={"t": TEXT}, model_id=model.model_id
        )
    client.set_registered_model_alias("registered", "champion", "2")
    client.register_prompt("prompt", template="Answer {{question}}", tags={"text": TEXT})
    client.create_webhook("hook", "https://9.9.9.9/hook", ["registered_model.created"], secret="s" * 20)


def _traces(client: MlflowClient, experiment: str) -> None:
    mlflow.set_experiment(experiment_id=experiment)
    for number in range(3):
        with mlflow.start_span(f"outer {number}") as outer:
            outer.set_inputs({"text": TEXT, "number": number})
            outer.set_attribute("attribute", [1, 2.5, None])
            outer.set_attribute(
                "mlflow.chat.tokenUsage", {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
            )
            outer.set_attribute(
                "mlflow.llm.cost", {"input_cost": 0.1, "output_cost": 0.2, "total_cost": 0.1 + 0.2}
            )
            with mlflow.start_span("inner") as inner:
                inner.set_outputs({"answer": "z" * 10_000})
        mlflow.flush_trace_async_logging()
        mlflow.set_trace_tag(outer.trace_id, "text", TEXT)
        source = AssessmentSource(source_type="HUMAN", source_id="someone")
        mlflow.log_feedback(
            trace_id=outer.trace_id, name="good", value=number > 1, source=source, rationale=TEXT
        )
        mlflow.log_expectation(
            trace_id=outer.trace_id, name="expected", value={"a": [1, None]}, source=source
        )
    dataset = mlflow.genai.datasets.create_dataset(
        "evaluation", experiment_id=[experiment], tags={"text": TEXT}
    )
    dataset.merge_records(
        [
            {"inputs": {"q": TEXT}, "expectations": {"a": None}, "tags": {"t": "1"}},
            {"inputs": {"q": "no more"}},
        ]
    )


def _gateway(uri: str, root: str, experiment: str) -> None:
    store = SqlAlchemyStore(uri, root)
    secret = store.create_gateway_secret("secret", {"api_key": "sk-not-a-key"}, provider="openai")
    model = store.create_gateway_model_definition("definition", secret.secret_id, "openai", "gpt")
    config = GatewayEndpointModelConfig(
        model.model_definition_id, GatewayModelLinkageType.PRIMARY, weight=0.5
    )
    endpoint = store.create_gateway_endpoint("endpoint", [config], experiment_id=experiment)
    store.set_gateway_endpoint_tag(endpoint.endpoint_id, GatewayEndpointTag("text", TEXT))
    store.create_budget_policy(
        BudgetUnit.USD,
        12.5,
        BudgetDuration(BudgetDurationUnit.DAYS, 1),
        BudgetTargetScope.GLOBAL,
        BudgetAction.ALERT,
    )
    store.register_scorer(experiment, "scorer", json.dumps({"name": "scorer"}))
    store.create_issue(experiment, "issue", TEXT, root_causes=["a", TEXT], categories=["b"])
    store.create_mcp_server("io.example/server", description=TEXT)
    store.create_mcp_server_version({"name": "io.example/server", "version": "1.0.0", "description": TEXT})
    jobs = SqlAlchemyJobStore(uri)
    jobs.create_job("job", json.dumps({"a": 1}), timeout=1.5)
    job = jobs.create_job("job", "{}")
    jobs.update_status_details(job.job_id, {"text": TEXT, "none": None})


def read_records(uri: str, root: str) -> list[str]:
    """Everything that MLflow's interfaces show of it, each thing as one line of JSON, in a stable order."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return sorted(
        json.dumps([kind, _plain(entity)], sort_keys=True, ensure_ascii=False)
        for kind, entity in _entities(
            MlflowClient(uri, uri), SqlAlchemyStore(uri, root), SqlAlchemyJobStore(uri)
        )
    )


def _entities(
    client: MlflowClient, store: SqlAlchemyStore, jobs: SqlAlchemyJobStore
) -> Iterator[tuple[str, Any]]:
    experiments = [each.experiment_id for each in _all(client.search_experiments, view_type=ViewType.ALL)]
    for experiment in _all(client.search_experiments, view_type=ViewType.ALL):
        yield "experiment", experiment
    for run in _all(client.search_runs, experiment_ids=experiments, run_view_type=ViewType.ALL):
        yield "run", run.to_dictionary()
        yield "inputs", run.inputs
        if run.info.lifecycle_stage == "active":
            for key in run.data.metrics:
                yield "history", [run.info.run_id, client.get_metric_history(run.info.run_id, key)]
    for model in _all(client.search_logged_models, experiment_ids=experiments):
        yield "logged model", model.to_dictionary()
    for trace in _all(client.search_traces, locations=experiments):
        yield "trace", trace.to_dict()
    for registered in _all(client.search_registered_models):
        yield "registered model", registered
    for version in _all(client.search_model_versions):
        yield "version", version
    yield "prompt", client.get_prompt_version("prompt", "1")
    for hook in client.list_webhooks():
        yield "webhook", hook
    for dataset in mlflow.genai.datasets.search_datasets(experiment_ids=experiments):
        yield "dataset", [dataset.name, dataset.tags, sorted(map(str, dataset.to_df().to_dict("records")))]
    yield "gateway", [store.list_secret_infos(), store.list_gateway_endpoints(), store.list_budget_policies()]
    yield "scorers", [store.list_scorers(each.experiment_id) for each in _all(client.search_experiments)]
    yield "mcp", list(store.search_mcp_servers())
    yield "jobs", sorted((_plain(job) for job in jobs.list_jobs()), key=str)


def _all(search: Callable[..., Any], **arguments: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(page_token=token, **arguments)
        yield from page
        token = page.token
        if not token:
            return


def _plain(value: Any) -> Any:
    """Entities as JSON; a number as its exact text, for NaN equals nothing."""
    if isinstance(value, float):
        return repr(value)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(each) for each in value]
    if hasattr(value, "__dict__"):
        return {key: _plain(each) for key, each in vars(value).items()}
    return repr(value)
