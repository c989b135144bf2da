# SPDX-License-Identifier: Apache-2.0
"""Prometheus metrics of what is known. What is not known is not there."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mlflow_sftp.monitor.alerts import SPACE, Limits
from mlflow_sftp.monitor.board import Snapshot
from mlflow_sftp.monitor.outcome import Outcome
from mlflow_sftp.monitor.space import Space
from mlflow_sftp.monitor.status import UNFINISHED, Status, age

VANTAGE = "monitor"
_DAY = 86400.0
_UP = {"ok": 1.0, "warning": 1.0, "failed": 0.0}
# By name: what it is, and its labels.
METRICS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "mlflow_stack_up": ("Whether every stage of a check succeeded", ("vantage", "check")),
    "mlflow_stack_check_seconds": ("Duration of the last check", ("vantage", "check")),
    "mlflow_stack_check_age_seconds": ("Age of what a check found last", ("vantage", "check")),
    "mlflow_stack_check_running_seconds": ("For how long a check has been running", ("vantage", "check")),
    "mlflow_stack_failing_seconds": ("For how long a check has been failing", ("vantage", "check")),
    "mlflow_stack_stage_up": ("Whether a stage succeeded", ("vantage", "check", "stage")),
    "mlflow_stack_stage_seconds": ("Duration of a stage", ("vantage", "check", "stage")),
    "mlflow_stack_stage_cause": (
        "1 for the cause of a failure or warning",
        ("vantage", "check", "stage", "cause"),
    ),
    "mlflow_stack_free_bytes": ("Free bytes of a place", ("place",)),
    "mlflow_stack_total_bytes": ("All bytes of a place", ("place",)),
    "mlflow_stack_database_bytes": ("Size of MLflow's database", ()),
    "mlflow_stack_entities": ("Rows of MLflow's database", ("kind", "stage")),
    "mlflow_stack_schema_info": (
        "1 for the revision of the database's schema",
        ("revision", "state", "mlflow"),
    ),
    "mlflow_stack_backup_age_seconds": ("Age of the last good backup", ()),
    "mlflow_stack_backup_failed": ("Whether a backup failed since the last good one", ()),
    "mlflow_stack_expiry_days": ("Days until a certificate ends", ("certificate",)),
    "mlflow_stack_cutover_state": ("1 for kind and state of the last cutover", ("kind", "state")),
    "mlflow_stack_cutover_unfinished_seconds": ("For how long a cutover has been unfinished, or 0", ()),
    "mlflow_stack_alerts_untold": ("Changes of state that nobody could be told of yet", ()),
    "mlflow_stack_alerts_readable": ("Whether the file that says whom to tell can be read", ()),
}


class StackCollector(Collector):
    """Makes the metrics when they are asked for, of what is known then: it waits for no check.

    Args:
        snapshot: Returns what the checks have found.
        status: Returns what the Docker host tells.
        untold: Returns how many changes nobody could be told of.
        readable: Returns whether what says whom to tell can be read; None where nobody is to be told.
        limits: Of what is known, a quota counts.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        status: Callable[[], Status],
        untold: Callable[[], int],
        readable: Callable[[], bool | None],
        limits: Limits,
    ) -> None:
        self._snapshot = snapshot
        self._status = status
        self._untold = untold
        self._readable = readable
        self._limits = limits

    def describe(self) -> Iterable[Metric]:
        """Nothing is known by the time of the registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics that have a value."""
        now = time.time()
        values = [*_of_checks(self._snapshot(), self._limits, now), *_of_status(self._status(), now)]
        values.append(("mlflow_stack_alerts_untold", (), float(self._untold())))
        if (readable := self._readable()) is not None:
            values.append(("mlflow_stack_alerts_readable", (), float(readable)))
        families = {
            name: GaugeMetricFamily(name, meaning, labels=labels)
            for name, (meaning, labels) in METRICS.items()
        }
        for name, labels, value in values:
            families[name].add_metric(labels, value)
        return (family for family in families.values() if family.samples)


_Value = tuple[str, tuple[str, ...], float]


def _of_checks(found: Snapshot, limits: Limits, now: float) -> Iterator[_Value]:
    for name, since in found.running_since.items():
        yield "mlflow_stack_check_running_seconds", (VANTAGE, name), max(0.0, now - since)
    for name, since in found.failing_since.items():
        # One that is well again may not have recovered yet.
        if found.outcomes[name].cause:
            yield "mlflow_stack_failing_seconds", (VANTAGE, name), max(0.0, now - since)
    for name, outcome in found.outcomes.items():
        yield "mlflow_stack_up", (VANTAGE, name), 0.0 if outcome.cause else 1.0
        yield "mlflow_stack_check_seconds", (VANTAGE, name), outcome.seconds
        yield "mlflow_stack_check_age_seconds", (VANTAGE, name), max(0.0, now - outcome.finished)
        yield from _of_stages(outcome)
        yield from _of_space(name, outcome, limits)
        yield from _of_facts(outcome.facts)


def _of_stages(outcome: Outcome) -> Iterator[_Value]:
    for stage in outcome.stages:
        labels = (VANTAGE, outcome.check, stage.name)
        yield "mlflow_stack_stage_up", labels, _UP[stage.status]
        if stage.seconds is not None:
            yield "mlflow_stack_stage_seconds", labels, stage.seconds
        if stage.cause:
            yield "mlflow_stack_stage_cause", (*labels, stage.cause), 1.0


def _of_space(check: str, outcome: Outcome, limits: Limits) -> Iterator[_Value]:
    space, place = Space.told(outcome.facts, limits.quota_of(check)), check.removeprefix(SPACE)
    if space.free is not None:
        yield "mlflow_stack_free_bytes", (place,), float(space.free)
    if space.total is not None:
        yield "mlflow_stack_total_bytes", (place,), float(space.total)


def _of_facts(facts: Mapping[str, Any]) -> Iterator[_Value]:
    """What `mlflow-sftp info` and `mlflow-sftp schema` tell of a database."""
    database = facts.get("database", {})
    if isinstance(database, Mapping):
        yield from _of_database(database)
    if "heads" in facts:
        for revision in facts["database"]:
            yield "mlflow_stack_schema_info", (revision, facts["state"], facts["mlflow"]), 1.0


def _of_database(told: Mapping[str, Any]) -> Iterator[_Value]:
    if told.get("bytes") is not None:
        yield "mlflow_stack_database_bytes", (), float(told["bytes"])
    for kind, stages in told.get("counts", {}).items():
        for stage, count in stages.items():
            yield "mlflow_stack_entities", (kind, stage), float(count)


def _of_status(status: Status, now: float) -> Iterator[_Value]:
    old = age(status.backup_at, now)
    if old is not None:
        yield "mlflow_stack_backup_age_seconds", (), old
    if old is not None or status.backup_error:
        yield "mlflow_stack_backup_failed", (), float(bool(status.backup_error))
    for name, end in status.expiries.items():
        if math.isfinite(end):
            yield "mlflow_stack_expiry_days", (name,), (end - now) / _DAY
    if status.cutover_state:
        yield "mlflow_stack_cutover_state", (status.cutover, status.cutover_state), 1.0
        unfinished = status.unfinished_for(now)
        if unfinished is not None or status.cutover_state not in UNFINISHED:
            yield "mlflow_stack_cutover_unfinished_seconds", (), unfinished or 0.0
