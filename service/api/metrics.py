"""Prometheus metrics of this process. What the whole deployment has done is in `exposition`."""

from typing import Final

from prometheus_client import Counter, Histogram

REQUESTS: Final = Counter("preceptor_http_requests_total", "HTTP requests", ["method", "route", "status"])
SECONDS: Final = Histogram(
    "preceptor_http_request_seconds",
    "Time to the first byte of an answer",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
