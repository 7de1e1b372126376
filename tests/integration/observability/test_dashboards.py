"""The dashboard and the alerts name metrics, labels and pages that exist."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from preceptor.contract.ids import DISTILLATION, RECOMMENDATION, new_id
from preceptor.contract.problem import TYPE_BASE, Problem
from preceptor.contract.recommendations import CacheUse, RecommendationBody, RecommendationResult, Timings
from service.app import create_app
from service.core.redis.counters import WorkerReport
from service.core.settings import Settings
from service.core.state import State
from worker.jobs.observability.metrics import WorkerMetrics

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]
REQUEST = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}})
_SELECTOR = re.compile(r"(preceptor_[a-z_]+)(?:\{([^}]*)\})?")
_GROUPING = re.compile(r"\bby \(([^)]*)\)")
RULES: list[dict[str, Any]] = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/preceptor.json").read_text())


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in RULES)
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))


async def exported(settings: Settings) -> dict[str, set[str]]:
    """Label names of every series, by the series' name, after jobs of all fates; HTTP included."""
    async with State(settings) as state:
        await state.ensure_index()
        for prefix, kind in ((RECOMMENDATION, "recommendation"), (DISTILLATION, "distillation")):
            id = new_id(prefix)
            await state.jobs.submit(id, kind, REQUEST)  # pyright: ignore[reportArgumentType]
            taken = await state.jobs.leases.take(id, "here-1")
            problem = Problem(type=TYPE_BASE + "job-failed", title="failed", status=422, detail="nothing")
            assert await state.jobs.leases.fail(id, taken.fence, problem)
        await state.show_worker("recommend", "here-1")
        figures = WorkerMetrics(state, "recommend", "here-1")
        figures.count("recommendation", _result())
        await figures.publish()
        report = WorkerReport(lane="recommend", resident_bytes=1, gpu_bytes={"0": 1})
        await state.counters.report("here-1", report)
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            transport = httpx2.ASGITransport(app=app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                await client.get("/version")
                text = (await client.get("/metrics")).text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def _result() -> RecommendationResult:
    return RecommendationResult(
        method="label_transport", mode="coverage", encoder="test", student_labels=["cat", "dog"], considered=1,
        solved=1, ranking=[], skipped=[], uncovered=[], warnings=[],
        timings=Timings(total=1, stages={"embed": 1}, caches={"cost": CacheUse(hits=1, misses=1)}),
    )  # fmt: skip


async def test_every_metric_and_label_that_they_name_is_exported(settings: Settings) -> None:
    series = await exported(settings)
    named: set[str] = set()
    for expression in expressions():
        labels: set[str] = set()
        for name, selector in _SELECTOR.findall(expression):
            assert name in series, f"{name} of {expression!r} is not exported"
            named.add(name)
            labels |= series[name]
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
                assert label in series[name], f"{name} has no label {label}: {expression!r}"
        for group in _GROUPING.findall(expression):
            wanted = {label.strip() for label in group.split(",")}
            assert wanted <= labels | {"instance"}, f"no metric of {expression!r} has {wanted - labels}"
    assert len(named) >= 18


async def test_every_metric_of_ours_is_on_the_dashboard(settings: Settings) -> None:
    shown = {name for expression in expressions() for name, _ in _SELECTOR.findall(expression)}
    series = {name for name in await exported(settings) if not name.endswith("_created")}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in series}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert {name for name in families if name.startswith("preceptor_")} - shown == set()


def test_every_alert_has_a_section_that_says_what_to_do() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    sections = set(re.findall(r"^#+ (\w+)$", page, flags=re.MULTILINE))
    assert len(RULES) >= 8
    for rule in RULES:
        assert rule["alert"] in sections
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
