"""Figures for Prometheus, read from the rows at each scrape, so that every web process tells the same."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Count
from django.utils import timezone
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.models import Job, JobState, Worker
from jobs.queue import queue_figures


class RowCollector(Collector):
    """Three queries a scrape."""

    def collect(self) -> Iterable[Metric]:
        figures = queue_figures()
        yield GaugeMetricFamily("modelshop_queue_depth", "Jobs that wait for a worker.", value=figures.queued)
        oldest = "Age of the job that waits longest; 0 when none waits."
        yield GaugeMetricFamily("modelshop_queue_oldest_seconds", oldest, value=figures.oldest_waiting_seconds)
        by_state = dict.fromkeys(JobState.values, 0)
        by_state |= dict(Job.objects.order_by().values_list("state").annotate(Count("pk")))
        jobs = GaugeMetricFamily("modelshop_jobs", "Jobs by state.", labels=["state"])
        for state, count in by_state.items():
            jobs.add_metric([state], count)
        yield jobs
        now = timezone.now()
        age = GaugeMetricFamily("modelshop_worker_heartbeat_age_seconds", "Seconds since a worker's last heartbeat.", labels=["worker"])
        memory = GaugeMetricFamily("modelshop_worker_memory_bytes", "Resident memory a worker reported.", labels=["worker"])
        draining = GaugeMetricFamily("modelshop_worker_draining", "1 while a worker takes nothing new.", labels=["worker"])
        for worker in Worker.objects.all():
            age.add_metric([worker.name], max(0.0, (now - worker.seen).total_seconds()))
            memory.add_metric([worker.name], worker.memory_bytes)
            draining.add_metric([worker.name], int(worker.draining))
        yield from (age, memory, draining)


def metrics_text() -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RowCollector())
    return generate_latest(registry)
