"""Waiting, driven by hand: no socket, no clock, only the effects that the procedure asks for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from preceptor import ServiceUnreachableError, WaitTimeoutError
from preceptor.contract.base import now
from preceptor.contract.ids import new_id
from preceptor.contract.jobs import JobEvent, JobStatus, Progress
from preceptor.contract.recommendations import Recommendation, RecommendationBody
from preceptor.core.effects import Effect, Exchange, Finished, Open, Read, Reply, Sleep, advance
from preceptor.core.settings import Settings
from preceptor.core.waiting import wait

STREAM = Reply(status=200, headers={"content-type": "text/event-stream; charset=utf-8"})
PING = b": ping\n\n"


class Script:
    """Answers effects from a function, and keeps the time."""

    def __init__(self, respond: Callable[["Script", Effect], Any]) -> None:
        self.time = 0.0
        self.effects: list[Effect] = []
        self.settings = replace(
            Settings.build("http://x", None, 30.0, 4, lambda: self.time), chance=lambda: 1.0, patience=60.0
        )
        self._respond = respond

    def run(self, procedure: Any) -> Any:
        step = advance(procedure)
        while not isinstance(step, Finished):
            self.effects.append(step)
            if isinstance(step, Sleep):
                self.time += step.seconds
            try:
                result = self._respond(self, step)
            except Exception as error:
                step = advance(procedure, error=error)
            else:
                step = advance(procedure, result)
        return step.value

    def count(self, kind: type) -> int:
        return sum(isinstance(effect, kind) for effect in self.effects)


def job(status: JobStatus) -> Recommendation:
    body = RecommendationBody.model_validate({"student": {"labels": ["a", "b"]}})
    return Recommendation(id=JOB, kind="recommendation", status=status, created_at=now(), request=body)


JOB = new_id("rec")
RUNNING, DONE = job(JobStatus.RUNNING), job(JobStatus.CANCELED)


def document(state: Recommendation) -> Reply:
    return Reply(status=200, headers={}, content=state.model_dump_json().encode())


def test_a_lost_event_log_does_not_keep_anyone_waiting() -> None:
    def respond(script: Script, effect: Effect) -> Any:
        match effect:
            case Open():
                return STREAM
            case Read():
                script.time += 15
                return PING
            case Exchange():
                return document(DONE if script.time > 100 else RUNNING)
            case _:
                raise AssertionError(effect)

    script = Script(respond)
    ended = script.run(wait(script.settings, RUNNING, None, None))
    assert ended.status is JobStatus.CANCELED
    assert script.time == 120, "the job itself is asked every 30 s of silence"
    assert script.count(Exchange) == 5
    assert script.count(Open) == 1


def test_an_outage_is_lived_through_and_a_longer_one_is_not() -> None:
    event = JobEvent(id="1-0", event="progress", at=now(), data={"fraction": 0.1})
    chunks = [f"data: {event.model_dump_json()}\n\n".encode()]

    def respond(script: Script, effect: Effect) -> Any:
        match effect:
            case Open() if script.count(Open) == 1:
                return STREAM
            case Read() if chunks:
                return chunks.pop()
            case Sleep():
                return None
            case _:
                raise ServiceUnreachableError("gone")

    script = Script(respond)
    seen: list[JobEvent] = []
    with pytest.raises(ServiceUnreachableError):
        script.run(wait(script.settings, RUNNING, None, seen.append))
    assert seen == [event]
    assert 60 <= script.time <= 80, "patience for the stream, then the attempts of one plain request"
    resumed = [effect.request.headers.get("Last-Event-ID") for effect in script.effects if isinstance(effect, Open)]
    assert resumed[1:] == ["1-0"] * (len(resumed) - 1)


def test_near_its_end_the_wait_opens_the_stream_with_shorter_reads() -> None:
    def respond(script: Script, effect: Effect) -> Any:
        match effect:
            case Open():
                return STREAM
            case Read():
                script.time += 15
                return PING
            case Exchange():
                return document(RUNNING)
            case _:
                raise AssertionError(effect)

    script = Script(respond)
    with pytest.raises(WaitTimeoutError, match="after 100 s"):
        script.run(wait(script.settings, RUNNING, 100, None))
    limits = [effect.request.read_timeout for effect in script.effects if isinstance(effect, Open)]
    assert limits == [60.0, 25.0, 10.0]
    assert script.time == 105


def test_a_job_that_has_ended_is_not_asked_again() -> None:
    def respond(script: Script, effect: Effect) -> Any:
        raise AssertionError(effect)

    script = Script(respond)
    assert script.run(wait(script.settings, DONE, 1, None)) is DONE


def _streamed(script: "Script", effect: Effect, data: Callable[[int], dict[str, Any]]) -> Any:
    """A stream that brings a `progress` event every 15 seconds."""
    match effect:
        case Open():
            return STREAM
        case Read():
            script.time += 15
            number = round(script.time / 15)
            event = JobEvent(id=f"{number}-0", event="progress", at=now(), data=data(number))
            return f"data: {event.model_dump_json()}\n\n".encode()
        case Exchange():
            return document(DONE if script.time > 3000 else RUNNING)
        case _:
            raise AssertionError(effect)


def test_a_job_that_makes_progress_is_waited_for_however_long_it_takes() -> None:
    def respond(script: Script, effect: Effect) -> Any:
        if isinstance(effect, Read) and script.time >= 3000:
            script.time += 15
            event = JobEvent(id="999-0", event="status", at=now(), data={"status": "canceled"})
            return f"data: {event.model_dump_json()}\n\n".encode()
        return _streamed(script, effect, lambda number: {"fraction": number / 1000, "message": "training"})

    script = Script(respond)
    assert script.run(wait(script.settings, RUNNING, None, None, 100)).status is JobStatus.CANCELED
    assert script.time > 3000
    assert script.count(Open) == 1, "progress moves the limit: the stream stays open"


def test_a_job_that_only_repeats_itself_is_given_up() -> None:
    def respond(script: Script, effect: Effect) -> Any:
        data = {"fraction": 0.25, "message": "training"}
        return _streamed(script, effect, lambda number: {**data, "remaining_seconds": number})

    script = Script(respond)
    with pytest.raises(WaitTimeoutError, match="has made no progress for 100 s") as caught:
        script.run(wait(script.settings, RUNNING, None, None, 100))
    assert caught.value.idle
    assert 115 <= script.time <= 130, "100 s after the first event, which said something new"


def test_the_whole_wait_may_have_a_limit_beside_the_one_without_progress() -> None:
    def respond(script: Script, effect: Effect) -> Any:
        return _streamed(script, effect, lambda number: {"fraction": number / 1000, "message": "training"})

    script = Script(respond)
    with pytest.raises(WaitTimeoutError, match="running after 200 s") as caught:
        script.run(wait(script.settings, RUNNING, 200, None, 100))
    assert not caught.value.idle


def test_progress_counts_where_the_job_is_polled_too() -> None:
    def respond(script: Script, effect: Effect) -> Any:
        match effect:
            case Open():
                return Reply(status=404, headers={}, content=b"")
            case Exchange():
                moved = min(script.time, 300) / 1000
                state = RUNNING.model_copy(update={"progress": Progress(fraction=moved, message="training")})
                return document(state)
            case Sleep():
                return None
            case _:
                return b""

    script = Script(respond)
    with pytest.raises(WaitTimeoutError, match="no progress for 100 s"):
        script.run(wait(script.settings, RUNNING, None, None, 100))
    assert 400 <= script.time <= 410
