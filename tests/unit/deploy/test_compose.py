"""What the compose files promise: nothing is open, nothing floats, every variable means something."""

import asyncio
import ipaddress
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from service.core.api_keys import ApiKeys
from service.core.lanes import LANES
from service.core.settings import Settings
from service.core.storage.object_store import Store
from service.middleware.authentication import UnsafeAddress, keys_are_required
from service.network.host_names import Hosts

OURS = ("service", *(f"worker-{lane}" for lane in LANES))
ALL = ("redis", *OURS)


def substituted(value: str) -> str:
    """A value with the defaults of its `${NAME:-default}` filled in."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def test_the_services_are_redis_the_frontend_and_one_worker_a_lane(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == set(ALL)
    for lane in LANES:
        assert compose["services"][f"worker-{lane}"]["command"] == [lane]


@pytest.mark.parametrize("name", ALL)
def test_every_container_is_hardened(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    assert any(mount.startswith("/tmp:size=") for mount in service["tmpfs"])
    assert service["pids_limit"] > 0


def test_only_the_service_is_published_and_on_the_loopback_address(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert list(published) == ["service"]
    for port in published["service"]:
        address, outside, inside = substituted(port).rsplit(":", 2)
        assert ipaddress.ip_address(address).is_loopback
        assert outside == inside == str(Settings.model_fields["port"].default)


def test_an_open_service_is_published_on_the_loopback_address_alone(compose: dict[str, Any]) -> None:
    service = compose["services"]["service"]
    environment = service["environment"]
    assert substituted(environment["PRECEPTOR_AUTH"]) == "auto"
    published = environment["PRECEPTOR_PUBLISHED_AT"]
    assert [port.startswith(f"{published}:") for port in service["ports"]] == [True], "one variable for both"

    def requires_keys(bind: str, tmp: Path) -> bool:
        at = Settings(
            data=tmp,
            host=environment["PRECEPTOR_HOST"],
            published_at=bind,
            hosts=substituted(environment["PRECEPTOR_HOSTS"]),
        )
        return asyncio.run(keys_are_required(at, ApiKeys(Store(at.store_url, tmp / "scratch"))))

    with TemporaryDirectory() as folder:
        assert requires_keys(substituted(published), Path(folder)) is False
        for bind in ("0.0.0.0", "192.168.1.5", "::"):
            with pytest.raises(UnsafeAddress, match="keys create"):
                requires_keys(bind, Path(folder))


def test_containers_reach_the_service_by_its_name(compose: dict[str, Any]) -> None:
    hosts = Hosts.of(substituted(compose["services"]["service"]["environment"]["PRECEPTOR_HOSTS"]))
    assert hosts.accepts("service:8321")
    assert not hosts.accepts("preceptor.example.org")


def test_redis_is_on_an_internal_network_alone(compose: dict[str, Any]) -> None:
    assert compose["services"]["redis"]["networks"] == ["state"]
    assert compose["networks"]["state"]["internal"] is True
    assert all("state" in compose["services"][name]["networks"] for name in OURS)


def test_redis_keeps_jobs_and_evicts_only_caches(root: Path, compose: dict[str, Any]) -> None:
    lines = (line.split(None, 1) for line in (root / "deploy/redis.conf").read_text().splitlines())
    settings = {words[0]: words[1] for words in lines if len(words) == 2 and not words[0].startswith("#")}
    assert settings["appendonly"] == "yes"
    assert settings["maxmemory-policy"] == "volatile-lru"
    redis = compose["services"]["redis"]
    assert redis["command"][2] == "--maxmemory"
    assert re.fullmatch(r"\d+[mg]b", substituted(redis["command"][3]))
    assert redis["user"] not in ("root", "0", "0:0")
    assert any(volume.endswith(":/etc/preceptor/redis.conf:ro") for volume in redis["volumes"])
    for name in OURS:
        assert compose["services"][name]["depends_on"]["redis"]["condition"] == "service_healthy"


def test_all_of_ours_share_one_store(compose: dict[str, Any]) -> None:
    for name in OURS:
        assert compose["services"][name]["volumes"] == ["data:/data"]
        assert compose["services"][name]["environment"]["PRECEPTOR_DATA"] == "/data"
    assert "data" in compose["volumes"]


def test_a_worker_has_time_to_drain(compose: dict[str, Any]) -> None:
    drain = Settings.model_fields["drain_seconds"].default
    for lane in LANES:
        grace = substituted(compose["services"][f"worker-{lane}"]["stop_grace_period"])
        assert int(grace.removesuffix("s")) > drain


def test_no_image_floats(compose: dict[str, Any], gpu_override: dict[str, Any]) -> None:
    images = [
        substituted(service["image"])
        for document in (compose, gpu_override)
        for service in document["services"].values()
    ]
    assert len(images) == len(ALL) + len(LANES)
    for image in images:
        assert re.search(r":\d+\.\d+\.\d+(-\w+)?$", image), image


def test_every_variable_is_a_setting(root: Path, setting_names: set[str]) -> None:
    for name in ("docker-compose.yml", "docker-compose.gpu.yml", ".env.example"):
        used = set(re.findall(r"\bPRECEPTOR_[A-Z_]+", (root / name).read_text())) - {"PRECEPTOR_"}
        assert used, name
        assert used <= setting_names, name


def test_the_example_names_every_variable_of_the_compose_file_and_sets_none(root: Path) -> None:
    example = (root / ".env.example").read_text()
    wanted = set(re.findall(r"\$\{(\w+)", (root / "docker-compose.yml").read_text()))
    assert wanted
    named = set(re.findall(r"^#(\w+)=", example, re.MULTILINE))
    assert wanted - named == {"REDIS_IMAGE"}
    assert not re.findall(r"^\w+=", example, re.MULTILINE), "an example that is copied must change nothing"


def test_the_services_build_targets_that_exist(compose: dict[str, Any], dockerfile: Any) -> None:
    for name in OURS:
        build = compose["services"][name]["build"]
        assert build["target"] == name.partition("-")[0]
        assert build["target"] in dockerfile.stages
        assert set(build.get("args", {})) <= set(dockerfile.arguments)


def test_the_gpu_override_reserves_a_device_for_each_worker(gpu_override: dict[str, Any], dockerfile: Any) -> None:
    assert set(gpu_override["services"]) == {f"worker-{lane}" for lane in LANES}
    for service in gpu_override["services"].values():
        device = service["deploy"]["resources"]["reservations"]["devices"][0]
        assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
        assert service["build"]["args"] == {"TORCH_VARIANT": "cuda"}
        assert service["environment"] == {"PRECEPTOR_DEVICE": "cuda"}
        assert substituted(service["image"]) != "preceptor-worker:0.1.0", "the CPU image keeps its name"
