"""What happens when the service, or the line to it, fails."""

import socket
import threading
import tracemalloc
from pathlib import Path

import pytest

from preceptor import (
    AsyncClient,
    Client,
    ConflictError,
    IdempotencyMismatchError,
    InvalidRequestError,
    NotFoundError,
    PreceptorError,
    QueueFullError,
    ServerError,
    ServiceUnreachableError,
    StoreFullError,
    TooLargeError,
    UnavailableError,
    UnexpectedAnswerError,
)

from .small_state import Fault, SmallService, problem_of

PATH = "/v1/label-sets"
LABELS = ["cat", "dog"]


def test_retry_after_is_honoured_and_the_key_stays_the_same(
    client: Client, service: SmallService, naps: list[float]
) -> None:
    service.fail("POST", PATH, Fault(503, {"Retry-After": "7"}), Fault(429, {"Retry-After": "3"}), Fault(502))
    client.label_sets.create(LABELS)
    assert naps[:2] == [7.0, 3.0]
    assert 1.0 <= naps[2] <= 2.0  # the third pause of the backoff: 0.5 * 2**2 with jitter over its upper half
    keys = [seen.headers["idempotency-key"] for seen in service.requests("POST", PATH)]
    assert len(keys) == 4
    assert len(set(keys)) == 1
    client.label_sets.create(LABELS)
    assert service.seen[-1].headers["idempotency-key"] not in keys


def test_an_upload_is_sent_again_from_its_first_byte(client: Client, service: SmallService, tmp_path: Path) -> None:
    file = tmp_path / "data.npz"
    file.write_bytes(bytes(range(256)) * 4000)
    service.fail("POST", "/v1/probes", Fault(503, {"Retry-After": "0"}))
    probe = client.probes.upload(file)
    first, second = service.requests("POST", "/v1/probes")
    assert first.digest == second.digest
    assert second.size == probe.size == 1_024_000
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_attempts_end_and_the_last_refusal_is_raised(client: Client, service: SmallService, naps: list[float]) -> None:
    service.fail("GET", "/v1/label-sets/lbl_x", *[Fault(503)] * 9)
    with pytest.raises(UnavailableError, match="refused with 503") as caught:
        client.label_sets.get("lbl_x")
    assert len(service.seen) == 5
    assert len(naps) == 4
    assert naps == sorted(naps)
    assert caught.value.request_id == "req-1"


def test_a_service_that_asks_for_an_hour_gets_no_retry(
    client: Client, service: SmallService, naps: list[float]
) -> None:
    service.fail("POST", PATH, Fault(429, {"Retry-After": "3600"}))
    with pytest.raises(QueueFullError) as caught:
        client.label_sets.create(LABELS)
    assert naps == []
    assert caught.value.headers["retry-after"] == "3600"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, NotFoundError), (409, ConflictError), (413, TooLargeError), (500, ServerError), (507, StoreFullError)],
)
def test_other_refusals_are_raised_at_once(
    client: Client, service: SmallService, naps: list[float], status: int, kind: type[PreceptorError]
) -> None:
    service.fail("POST", PATH, Fault(status))
    with pytest.raises(kind, match=f"refused with {status}"):
        client.label_sets.create(LABELS)
    assert naps == []


def test_a_gateway_without_a_reason_is_named(client: Client, service: SmallService) -> None:
    service.fail("POST", PATH, *[Fault(502, problem=False)] * 9)
    with pytest.raises(ServerError, match=r"answered 502 Bad Gateway \(text/html.*a proxy"):
        client.label_sets.create(LABELS)


def test_another_program_at_the_address_is_named(client: Client, service: SmallService) -> None:
    service.fail("POST", PATH, Fault(200, problem=False))
    with pytest.raises(UnexpectedAnswerError, match="Is it a Preceptor service"):
        client.label_sets.create(LABELS)
    service.fail("POST", PATH, Fault(308, {"Location": "https://other.example"}))
    with pytest.raises(UnexpectedAnswerError, match=r"https://other\.example; use that address"):
        client.label_sets.create(LABELS)


def test_a_repeated_delete_counts_its_own_404_as_done(client: Client, service: SmallService) -> None:
    teacher = client.teachers.add("x", source={"kind": "predictions"}, modality="text", labels=LABELS)
    path = f"/v1/teachers/{teacher.id}"
    service.teachers.clear()  # the first attempt did it, but its answer was lost
    service.fail("DELETE", path, Fault(504))
    client.teachers.delete(teacher)
    assert len(service.requests("DELETE", path)) == 2
    with pytest.raises(NotFoundError):
        client.teachers.delete(teacher)


def test_nothing_listens_and_the_message_says_what_to_do(naps: list[float]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with (
        Client(address, sleep=naps.append, max_retries=2) as client,
        pytest.raises(ServiceUnreachableError, match=rf"{address}.*Is the service running there.*make up"),
    ):
        client.health()
    assert len(naps) == 2


def test_a_silent_service_times_out_with_advice(naps: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            Client(address, timeout=0.05, max_retries=1, sleep=naps.append) as client,
            pytest.raises(ServiceUnreachableError, match=r"no answer in time.*timeout="),
        ):
            client.version()
    assert len(naps) == 1


def test_the_key_and_the_address_come_from_the_environment(
    url: str, service: SmallService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRECEPTOR_URL", url + "/")
    monkeypatch.setenv("PRECEPTOR_API_KEY", "secret")
    with Client() as client:
        client.version()
    assert service.seen[0].headers["authorization"] == "Bearer secret"
    assert service.seen[0].headers["user-agent"].startswith("preceptor-python/")
    with Client(api_key="other") as client:
        client.version()
    assert service.seen[1].headers["authorization"] == "Bearer other"


@pytest.mark.parametrize("address", ["127.0.0.1:8321", "ftp://x", "http://", "http://x?y=1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(PreceptorError, match="is not the address of a service"):
        Client(address)


def test_fields_that_the_detail_leaves_out_are_listed() -> None:
    from preceptor.errors import status_error

    fields = [{"pointer": "/labels/3", "detail": "too long"}, {"pointer": "/eps", "detail": "must be positive"}]
    error = status_error(problem_of(422, "invalid-request", "/eps: must be positive; and more", fields))
    assert isinstance(error, InvalidRequestError)
    assert str(error) == "/eps: must be positive; and more\n  /labels/3: too long"
    mismatch = status_error(problem_of(422, "idempotency-mismatch", "this key belongs to another request"))
    assert isinstance(mismatch, IdempotencyMismatchError)


@pytest.mark.anyio
async def test_the_asynchronous_client_retries_the_same_way(
    async_client: AsyncClient, service: SmallService, naps: list[float], tmp_path: Path
) -> None:
    file = tmp_path / "data.csv"
    file.write_bytes(b"text,label\n" * 50_000)
    service.fail("POST", "/v1/probes", Fault(503, {"Retry-After": "4"}), Fault(502))
    probe = await async_client.probes.upload(file)
    seen = service.requests("POST", "/v1/probes")
    assert naps[0] == 4.0
    assert len({one.headers["idempotency-key"] for one in seen}) == 1
    assert [one.size for one in seen] == [probe.size] * 3
    service.fail("POST", PATH, Fault(409))
    with pytest.raises(ConflictError):
        await async_client.label_sets.create(LABELS)


def test_a_refusal_before_the_body_is_read_is_heard(tmp_path: Path, naps: list[float]) -> None:
    """A service that judges by Content-Length answers and closes while the client is still sending."""
    file = tmp_path / "huge.npz"
    with file.open("wb") as stream:
        stream.truncate(64 << 20)
    problem = problem_of(413, "too-large", "the probe has more than 1 MiB").model_dump_json().encode()
    head = f"HTTP/1.1 413 X\r\nContent-Type: application/problem+json\r\nContent-Length: {len(problem)}\r\n"

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(head.encode() + b"Connection: close\r\n\r\n" + problem)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 20):  # a closing server lingers, or a reset would destroy its answer
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener], daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Client(address, sleep=naps.append) as client, pytest.raises(TooLargeError, match="more than 1 MiB"):
            client.probes.upload(file)
        thread.join(10)
    assert naps == []


def test_memory_stays_bounded_while_a_large_file_goes_up(client: Client, service: SmallService, tmp_path: Path) -> None:
    file = tmp_path / "large.npz"
    with file.open("wb") as stream:
        stream.truncate(48 << 20)
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        client.probes.upload(file)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert service.requests("POST", "/v1/probes")[0].size == 48 << 20
    assert peak < 24 << 20, "client and server together hold less than half of the file"
