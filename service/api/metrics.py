"""Prometheus metrics of the service."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

REQUESTS: Final = Counter("preceptor_http_requests_total", "HTTP requests", ["method", "route", "status"])
SECONDS: Final = Histogram(
    "preceptor_http_request_seconds",
    "Time to the first byte of an answer",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
QUEUE_DEPTH: Final = Gauge("preceptor_lane_waiting_jobs", "Jobs that wait in a lane", ["lane"])
QUEUE_AGE: Final = Gauge("preceptor_lane_oldest_seconds", "Age of the oldest waiting job", ["lane"])
