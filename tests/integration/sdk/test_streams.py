"""Waiting for jobs and following their events over a stream that breaks."""

import io
from typing import Any

import pytest
from rich.console import Console

from preceptor import (
    AsyncClient,
    Client,
    JobCanceledError,
    JobFailedError,
    NotFoundError,
    WaitTimeoutError,
)
from preceptor.contract import ids
from preceptor.contract.base import now
from preceptor.contract.jobs import JobEvent, JobStatus
from preceptor.contract.recommendations import Recommendation, RecommendationBody
from preceptor.display import JobDisplay

from .small_state import Fault, SmallService, ranking

LABELS = ["cat", "dog"]


def running_job(service: SmallService, events: int = 6) -> Recommendation:
    """A job whose stream tells a long story and ends well."""
    service.finished = False
    body = RecommendationBody.model_validate({"student": {"labels": LABELS}})
    job = service.start("rec", Recommendation, body, None)
    log = [("progress", {"fraction": step / events, "message": f"step {step}"}) for step in range(events)]
    service.add_job(service.ended(job, ranking(LABELS)), [*log, ("status", {"status": "succeeded"})])
    return job


def stale(client: Client, job: Recommendation) -> Any:
    """The handle of a client that saw the job while it was running."""
    handle = client.jobs.get(job.id)
    handle.job = job  # pyright: ignore[reportAttributeAccessIssue]
    return handle


def test_events_resume_behind_the_last_one_after_every_drop(
    client: Client, service: SmallService, naps: list[float]
) -> None:
    job = running_job(service)
    service.stream_drops = [2, 1, 3]
    events = list(client.jobs.events(job.id))
    assert [event.id for event in events] == [event.id for event in service.events[job.id]]
    streams = service.requests("GET", f"/v1/jobs/{job.id}/events")
    assert [seen.headers.get("last-event-id") for seen in streams] == [None, "1001-0", "1002-0", "1005-0"]
    assert len(naps) == 3


def test_events_begin_behind_an_event_of_the_callers_choice(client: Client, service: SmallService) -> None:
    job = running_job(service)
    assert [event.id for event in client.jobs.events(job.id, "1004-0")] == ["1005-0", "1006-0"]
    assert list(client.jobs.events(job.id, "1006-0")) == [], "nothing follows the terminal event"


def test_a_refused_stream_is_tried_again_as_the_service_asks(
    client: Client, service: SmallService, naps: list[float]
) -> None:
    job = running_job(service)
    service.fail("GET", f"/v1/jobs/{job.id}/events", Fault(503, {"Retry-After": "2"}))
    assert len(list(client.jobs.events(job.id))) == 7
    assert naps == [2.0]


def test_events_of_an_unknown_job_are_not_found(client: Client, naps: list[float]) -> None:
    with pytest.raises(NotFoundError):
        list(client.jobs.events(ids.new_id("rec")))
    assert naps == []


def test_leaving_the_loop_closes_the_stream(client: Client, service: SmallService) -> None:
    job = running_job(service)
    for event in client.jobs.events(job.id):
        assert event.event == "progress"
        break
    assert client.version().service == "0.1.0"


def test_wait_returns_the_result_and_shows_each_event_once(client: Client, service: SmallService) -> None:
    job = running_job(service)
    service.stream_drops = [3]
    seen: list[JobEvent] = []
    handle = stale(client, job)
    result = handle.wait(progress=seen.append)
    assert result.student_labels == LABELS
    assert handle.status is JobStatus.SUCCEEDED
    assert [event.id for event in seen] == [f"{1000 + step}-0" for step in range(7)]


def test_wait_falls_back_to_polling_where_the_stream_is_forbidden(
    client: Client, service: SmallService, naps: list[float]
) -> None:
    job = running_job(service)
    done = service.jobs[job.id]
    service.jobs[job.id] = job
    service.fail("GET", f"/v1/jobs/{job.id}/events", Fault(403))
    handle = stale(client, job)

    def finish(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            service.jobs[job.id] = done

    client._driver._sleep = finish
    assert handle.wait().student_labels == LABELS
    assert naps == [0.5, 0.75, 1.125]


def test_a_failed_job_raises_with_its_reason(client: Client, service: SmallService) -> None:
    service.failing = True
    job = client.recommendations.create(LABELS)
    with pytest.raises(JobFailedError, match="No teacher could be loaded") as caught:
        job.wait()
    assert caught.value.problem is not None
    assert caught.value.problem.status == 422
    assert caught.value.job.id == job.id


def test_a_canceled_job_raises(client: Client, service: SmallService) -> None:
    service.finished = False
    job = client.recommendations.create(LABELS)
    assert job.status is JobStatus.RUNNING
    assert job.cancel().status is JobStatus.CANCELED
    with pytest.raises(JobCanceledError, match=job.id):
        job.wait()


def test_wait_ends_at_its_timeout_although_the_stream_is_open(client: Client, service: SmallService) -> None:
    service.finished = False
    job = client.recommendations.create(LABELS)
    with pytest.raises(WaitTimeoutError, match=r"running after 0.2 s; it continues") as caught:
        job.wait(timeout=0.2)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.job.id == job.id


def test_lists_are_fetched_page_by_page(client: Client, service: SmallService) -> None:
    made = [client.recommendations.create(["a", f"b{number}"]).id for number in range(7)]
    pager = client.jobs.list(kind="recommendation", page_size=3)
    assert [job.id for job in pager] == made
    fetched = service.requests("GET", "/v1/jobs")
    assert [dict(seen.query).get("cursor") for seen in fetched] == [None, "3", "6"]
    assert [len(page.items) for page in pager.pages()] == [3, 3, 1]
    before = len(service.requests("GET", "/v1/jobs"))
    assert pager.first() is not None
    assert len(service.requests("GET", "/v1/jobs")) == before + 1, "one page is enough for the first entry"


def test_progress_off_a_terminal_is_plain_lines() -> None:
    sink = io.StringIO()
    with JobDisplay("job", Console(file=sink, markup=False)) as display:
        for number in range(101):
            data = {"fraction": number / 100, "message": "training \x1b[31m[red]"}
            display(JobEvent(id="1-0", event="progress", at=now(), data=data))
        display(JobEvent(id="2-0", event="status", at=now(), data={"status": "succeeded"}))
    lines = sink.getvalue().splitlines()
    assert len(lines) == 12
    assert lines[-1] == "job: succeeded"
    assert "\x1b" not in sink.getvalue()
    assert "[red]" in lines[0]


@pytest.mark.anyio
async def test_the_asynchronous_client_resumes_waits_and_pages(
    async_client: AsyncClient, service: SmallService, naps: list[float]
) -> None:
    job = running_job(service)
    service.stream_drops = [2, 2]
    events = [event.id async for event in async_client.jobs.events(job.id)]
    assert events == [event.id for event in service.events[job.id]]
    assert len(naps) == 2
    handle: Any = await async_client.jobs.get(job.id)
    handle.job = job
    seen: list[JobEvent] = []
    assert (await handle.wait(progress=seen.append)).student_labels == LABELS
    assert len(seen) == 7
    assert [entry.id async for entry in async_client.jobs.list(page_size=1)] == [job.id]
    service.failing, service.finished = True, True
    with pytest.raises(JobFailedError):
        await (await async_client.recommendations.create(LABELS)).wait()
    service.failing, service.finished = False, False
    with pytest.raises(WaitTimeoutError):
        await (await async_client.recommendations.create(LABELS)).wait(timeout=0.2)
