"""Figures for Prometheus: own registry per app, so that tests and processes do not share."""

from __future__ import annotations

from math import inf

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import Scope

from wallet.monitor import Vitals

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Figures:
    """What this process counts, and what it reads from the database when asked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._requests = Counter(
            "bifold_http_requests_total",
            "Requests by method, route template and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "bifold_http_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ["method", "route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._queue = Gauge("bifold_jobs", "Jobs by state.", ["status"], registry=self.registry)
        self._outbox = Gauge(
            "bifold_outbox_rows", "Promises not yet published.", registry=self.registry
        )
        self._tail = Gauge(
            "bifold_seal_tail_seconds",
            "Since the oldest entry without a seal was posted; above 1 the sealer is late.",
            registry=self.registry,
        )
        self._lag = Gauge(
            "bifold_scanner_lag_blocks",
            "Head of the network minus the last scanned block.",
            ["network"],
            registry=self.registry,
        )
        self._gaps = Gauge(
            "bifold_scanner_gaps",
            "Scanned blocks that do not follow the one before them; above 0 is an alarm.",
            ["network"],
            registry=self.registry,
        )
        self._head_age = Gauge(
            "bifold_network_head_age_seconds",
            "Since the observer last saw the network; infinite where it never did, where it shows"
            " another chain, or where its nodes contradict each other.",
            ["network"],
            registry=self.registry,
        )
        self._up = Gauge(
            "bifold_process_up",
            "1 while a process says it is well.",
            ["process"],
            registry=self.registry,
        )

        self._cases = Gauge(
            "bifold_open_cases",
            "Cases that wait for a person or for their cause to end; above 0 is an alarm.",
            ["kind"],
            registry=self.registry,
        )

        self._reconciled = Gauge(
            "bifold_reconcile_age_seconds",
            "Since a source of the newest reading (a network, the bank, the books) was last known"
            " to be read; infinite where it never was.",
            ["source"],
            registry=self.registry,
        )

    def request(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one request under its route template, never under its concrete path."""
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        figures = self._known.get((method, route, status))
        if figures is None:  # looked up once: the labels are few, the requests are many
            figures = self._known[method, route, status] = (
                self._requests.labels(method, route, str(status or 499)),
                self._seconds.labels(method, route),
            )
        figures[0].inc()
        figures[1].observe(seconds)

    def render(self, vitals: Vitals) -> bytes:
        """The exposition text, with the database's figures of this moment."""
        for gauge in (
            self._queue, self._lag, self._gaps, self._head_age, self._up, self._cases,
            self._reconciled,
        ):  # fmt: skip
            gauge.clear()
        for status, count in vitals.jobs.items():
            self._queue.labels(status).set(count)
        self._outbox.set(vitals.outbox_rows)
        self._tail.set(vitals.seal_tail_seconds)
        for kind, count in vitals.open_cases.items():
            self._cases.labels(kind).set(count)
        for source, age in vitals.reconciled.items():
            self._reconciled.labels(source).set(inf if age is None else age)
        for network in vitals.networks:
            self._gaps.labels(network.name).set(network.scanner_gaps)
            if network.scanner_lag_blocks is not None:
                self._lag.labels(network.name).set(network.scanner_lag_blocks)
            age = network.age_seconds  # infinite where it was never seen, or is another chain
            self._head_age.labels(network.name).set(inf if age is None else age)
        for process in vitals.processes:
            self._up.labels(process.name).set(1 if process.well else 0)
        return generate_latest(self.registry)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
