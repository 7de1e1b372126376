"""A job's event stream: decoding server-sent events, and following them over dropped connections."""

import codecs
import re
from collections.abc import Callable
from typing import Any, Final

from pydantic import ValidationError

from ..contract.jobs import JobEvent, JobStatus
from ..errors import PreceptorError, ServiceUnreachableError, UnexpectedAnswerError
from .calls import refusal, send
from .effects import Drain, Open, Procedure, Read, Reply, Sleep
from .retries import RETRIED, backoff, retry_after
from .routes import jobs
from .settings import Settings

SILENCE: Final = 60.0
"""Seconds without a byte, not even a ping, after which a stream counts as lost."""
_LARGEST_EVENT: Final = 8 << 20

Deliver = Callable[[JobEvent], Procedure[None]]
Pulse = Callable[[], Procedure[bool]]
Left = Callable[[], float | None]


class EventDecoder:
    """Bytes of a `text/event-stream` to the `data` of its events (WHATWG HTML, section 9.2.6).

    An event that is cut off by the end of the stream is dropped, as the specification wants; the resumed stream
    brings it again.
    """

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[str]:
        lines = re.split(r"\r\n|\n|\r(?!$)", self._rest + self._text.decode(chunk))
        self._rest = lines.pop()
        events: list[str] = []
        for line in lines:
            if line == "":
                if self._data:
                    events.append("\n".join(self._data))
                self._data = []
            else:
                name, _, value = line.partition(":")
                if name == "data":
                    self._data.append(value.removeprefix(" "))
        if len(self._rest) + sum(map(len, self._data)) > _LARGEST_EVENT:
            raise UnexpectedAnswerError(f"an event of the stream is larger than {_LARGEST_EVENT} bytes")
        return events


def status_of(event: JobEvent) -> JobStatus | None:
    """The status that an event announces."""
    if event.event != "status":
        return None
    try:
        return JobStatus(event.data.get("status", ""))
    except ValueError:
        return None


class Outage:
    """How long a stream has been away, and whether to go on trying."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._failures = 0
        self._seconds = 0.0
        self._connected = False

    def over(self) -> None:
        """The stream works."""
        self._failures, self._seconds, self._connected = 0, 0.0, True

    def next_delay(self, failure: PreceptorError, reply: Reply | None) -> float:
        """Seconds before the next attempt.

        A stream that never worked gets as many attempts as any request; one that worked gets `patience`.
        """
        asked = retry_after(reply) if reply is not None else None
        seconds = backoff(self._settings, self._failures) if asked is None else asked
        self._failures += 1
        self._seconds += seconds
        if self._connected:
            hopeless = self._seconds > self._settings.patience
        else:
            hopeless = self._failures > self._settings.max_retries
        if hopeless:
            raise failure
        return seconds


def follow(
    settings: Settings,
    job: str,
    last_event_id: str | None,
    *,
    deliver: Deliver,
    pulse: Pulse | None = None,
    left: Left = lambda: None,
) -> Procedure[None]:
    """Deliver a job's events until the terminal one, each once, resuming by `Last-Event-ID`.

    Parameters
    ----------
    deliver
        Called for every event.
    pulse
        Called after every chunk, pings included; ends the following where it is true.
    left
        Seconds until the following gives up; None for no limit. Asked again and again: progress may move the limit.

    Raises
    ------
    TimeoutError
        Nothing is left.
    StatusError, ServiceUnreachableError, UnexpectedAnswerError
        The stream cannot be had, or stayed away too long.
    """
    outage = Outage(settings)
    while True:
        silence = _silence(left())
        refused: Reply | None = None
        failure: PreceptorError = ServiceUnreachableError("the event stream ended before the job did")
        seen = reopen = False
        try:
            reply: Reply = yield Open(jobs.events(job, last_event_id, silence))
            if reply.status != 200:
                content = yield Drain()
                refused = Reply(status=reply.status, headers=reply.headers, content=content)
                failure = refusal(settings, refused)
                if refused.status not in RETRIED:
                    raise failure
            else:
                decoder = _decoder(reply)
                while (chunk := (yield Read())) is not None:
                    for data in decoder.feed(chunk):
                        event = _event(data)
                        last_event_id, seen = event.id or last_event_id, True
                        outage.over()
                        yield from deliver(event)
                        if (status := status_of(event)) and status.terminal:
                            return
                    if pulse and (yield from pulse()):
                        return
                    # The time limit of a read is fixed when the stream is opened: open it anew near the end.
                    if reopen := _silence(left()) < silence / 2:
                        break
                if not seen and not reopen and (yield from _ended(settings, job)):
                    return
        except ServiceUnreachableError as error:
            failure = error
        remaining = left()
        _silence(remaining)
        if not reopen:
            seconds = backoff(settings, 0) if seen else outage.next_delay(failure, refused)
            yield Sleep(seconds if remaining is None else min(seconds, remaining))


def _silence(left: float | None) -> float:
    """Seconds that a read may take."""
    if left is None:
        return SILENCE
    if left <= 0:
        raise TimeoutError
    return min(SILENCE, max(left, 0.01))


def _decoder(reply: Reply) -> EventDecoder:
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        raise UnexpectedAnswerError(f"the event stream came as {kind or 'no content type'}, not text/event-stream")
    return EventDecoder()


def _event(data: str) -> JobEvent:
    try:
        return JobEvent.model_validate_json(data)
    except ValidationError as error:
        raise UnexpectedAnswerError(f"an event of the stream cannot be read: {data[:200]}") from error


def _ended(settings: Settings, job: str) -> Procedure[bool]:
    """Whether a stream that closes without an event does so because its job has ended."""
    state: Any = yield from send(settings, jobs.get(job))
    return state.status.terminal
