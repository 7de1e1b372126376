"""Traces from the SDK's call through the lane to the worker: real processes, a collector on a socket, real protobuf."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from preceptor import Client
from service.cli.dev_stack import Stack
from service.core.settings import Settings

SECRET = "tulip of nobody's business"
KEY = "pk_which_only_a_header_may_hold"


@dataclass
class Collector:
    """What an OTLP/HTTP collector received."""

    url: str
    spans: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def take(self, body: bytes) -> None:
        """Read one export."""
        request = ExportTraceServiceRequest.FromString(body)
        with self.arrived:
            for resource in request.resource_spans:
                names = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self.spans.append(
                            {
                                "process": names["service.name"],
                                "scope": scope.scope.name,
                                "name": span.name,
                                "trace": span.trace_id.hex(),
                                "id": span.span_id.hex(),
                                "parent": span.parent_span_id.hex(),
                                "seconds": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                                "attributes": {
                                    pair.key: pair.value.string_value or pair.value.int_value
                                    for pair in span.attributes
                                },
                            }
                        )
            self.arrived.notify_all()

    def named(self, name: str, trace_id: str) -> dict[str, Any]:
        """The span of that name in that trace, once it is there."""

        def found() -> list[dict[str, Any]]:
            return [span for span in self.spans if span["name"] == name and span["trace"] == trace_id]

        with self.arrived:
            assert self.arrived.wait_for(found, 60), sorted({span["name"] for span in self.spans})
            (one,) = found()
            return one


@contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            self.send_response(200)
            self.end_headers()
            collector.take(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield collector
        server.shutdown()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        monkeypatch.setenv("PRECEPTOR_LOG_FORMAT", "json")
        yield found


def run_traced_program(url: str) -> str:
    """A program with a provider of its own asks for a job that is not there, and for all of a kind; its trace id."""
    code = (
        "import sys; from opentelemetry import trace; from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import BatchSpanProcessor\n"
        "from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter\n"
        "provider = TracerProvider(); provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))\n"
        "trace.set_tracer_provider(provider)\n"
        "from preceptor import Client, NotFoundError; from preceptor.contract.ids import RECOMMENDATION, new_id\n"
        "with Client(sys.argv[1], api_key=sys.argv[2]) as client:\n"
        "    with provider.get_tracer('p').start_as_current_span('outer') as outer:\n"
        "        try: client.jobs.get(new_id(RECOMMENDATION))\n"
        "        except NotFoundError: list(client.jobs.list(kind='recommendation'))\n"
        "print(format(outer.get_span_context().trace_id, '032x')); provider.shutdown()"
    )
    done = subprocess.run([sys.executable, "-c", code, url, KEY], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.timeout(300)
def test_one_recommendation_is_one_trace(collector: Collector, tmp_path: Path) -> None:
    tracer = TracerProvider().get_tracer("a pipeline")
    settings = Settings(data=tmp_path / "data", port=0, redis_url=None, threads=1)
    with Stack(settings, logs=tmp_path / "logs") as stack, Client(stack.url) as client:
        with tracer.start_as_current_span("nightly") as outer:
            job = client.recommendations.create(
                [SECRET, "rose"], candidates=[{"name": "flowers", "labels": ["rose", "daisy"]}], wait=30
            )
            result = job.wait()
        trace_id = format(outer.get_span_context().trace_id, "032x")
        request = collector.named("POST /v1/recommendations", trace_id)
        submitted = collector.named("submit", trace_id)
        waited = collector.named("wait in lane", trace_id)
        worked = collector.named("job recommendation", trace_id)
        for name, seconds in result.timings.stages.items():
            stage = collector.named(name, trace_id)
            assert stage["parent"] == worked["id"]
            assert stage["seconds"] == pytest.approx(seconds, abs=1e-4)
        of_program = run_traced_program(stack.url)
        listed, missed = (collector.named(f"GET /v1/jobs{tail}", of_program) for tail in ("", "/{id}"))
        callers = {span["id"]: span["attributes"] for span in collector.spans if span["name"] == "GET"}
        address = urlsplit(stack.url)
    assert callers[missed["parent"]]["error.type"] == "404"
    caller = callers[listed["parent"]]
    assert caller["url.full"] == f"{stack.url}/v1/jobs", "no query"
    assert (caller["server.address"], caller["server.port"]) == (address.hostname, address.port)
    assert request["process"] == "preceptor-service"
    assert worked["process"] == waited["process"] == "preceptor-worker-recommend"
    assert request["attributes"]["http.route"] == "/v1/recommendations"
    assert request["attributes"]["http.response.status_code"] in (200, 202)
    assert submitted["parent"] == request["id"]
    assert waited["parent"] == worked["parent"] == submitted["id"]
    assert worked["attributes"]["preceptor.job.id"] == job.id
    assert worked["attributes"]["preceptor.job.outcome"] == "succeeded"
    assert worked["attributes"]["preceptor.job.delivery"] == 1
    assert not [span for span in collector.spans if "/health" in span["name"]]
    assert {span["scope"] for span in collector.spans if span["process"].startswith("preceptor")} == {"preceptor"}
    assert SECRET not in json.dumps(collector.spans)
    assert KEY not in json.dumps(collector.spans)
    text = [line for path in (tmp_path / "logs").iterdir() for line in path.read_text().splitlines()]
    lines = [json.loads(line) for line in text if line.startswith("{")]  # Libraries print as they like.
    logged = {line["process"] for line in lines if line.get("trace_id") == trace_id}
    assert logged == {"service", "worker-recommend"}


def test_nothing_is_loaded_while_no_collector_is_named() -> None:
    code = (
        "import sys; from service.core.observability.tracing_export import switch_on; switch_on('x')(); "
        "import service.app, preceptor; "
        "print([m for m in sys.modules if m.startswith(('opentelemetry.sdk.trace.export', 'opentelemetry.exporter'))])"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_collector_that_is_away_costs_one_line(tmp_path: Path) -> None:
    """Nobody listens at the discard port; five spans are lost, the process ends soon and says so once."""
    code = (
        "import time; from service.core.observability.logging_config import configure\n"
        "from service.core.settings import Settings\n"
        "from service.core.observability.tracing_export import switch_on\n"
        "from service.core.observability import tracing as traces\n"
        "configure(Settings(), 'service'); off = switch_on('service')\n"
        "for n in range(5):\n"
        "    with traces.server_span('GET', 'http', '') as span: traces.name_request(span, 'GET', '/x', 200)\n"
        "off(); print('ended')"
    )
    away = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PRECEPTOR_DATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=away, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "ended"
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr


def test_a_collector_that_never_answers_does_not_hold_up_the_end() -> None:
    """It takes connections and is silent, with more batches waiting than there is time for."""
    code = (
        "import time; from service.core.observability.tracing_export import switch_on\n"
        "from service.core.observability import tracing as traces\n"
        "off = switch_on('service')\n"
        "for n in range(5000):\n"
        "    with traces.server_span('GET', 'http', ''): pass\n"
        "began = time.monotonic(); off(); print(time.monotonic() - began)"
    )
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        named = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=named, capture_output=True, text=True, timeout=60, check=True
        )
    assert float(done.stdout.split()[-1]) < 8
    assert "the collector did not accept the last spans in time" in done.stdout


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None; from service.core.observability.tracing_export import *\n"
        "try: switch_on('service')\n"
        "except TelemetryMissing as error: print(error)"
    )
    named = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", code], env=named, capture_output=True, text=True, check=True)
    assert "pip install 'preceptor-server[telemetry]'" in done.stdout


def test_the_sdk_sends_no_header_where_nothing_is_traced() -> None:
    from preceptor.core.tracing import client_span

    headers: dict[str, str] = {}
    with client_span("GET", "http://127.0.0.1:8321/v1/teachers", headers) as answered:
        answered(200)
    assert headers == {}
    with TracerProvider().get_tracer("t").start_as_current_span("outer") as outer:
        with client_span("GET", "http://127.0.0.1:8321/v1/teachers", headers):
            pass
        assert format(outer.get_span_context().trace_id, "032x") in headers["traceparent"]
    assert trace.get_current_span().get_span_context().is_valid is False
