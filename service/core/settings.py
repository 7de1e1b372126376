"""The one settings class. Every value can be set by an environment variable, `PRECEPTOR_<NAME>`."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.network.egress import Egress, insecure_url
from service.network.host_names import Hosts

from .private_files import FolderUnusable, make_usable

MiB = 2**20
GiB = 2**30


def listed(text: str | None) -> tuple[str, ...]:
    """The entries of a comma-separated setting."""
    return tuple(filter(None, (part.strip() for part in (text or "").split(","))))


class Settings(BaseSettings):
    """Configuration of the service and the workers.

    Attributes are documented by their `description`; `docs/configuration.md` is generated from them.
    """

    # Values are not repeated in errors: some hold passwords.
    model_config = SettingsConfigDict(env_prefix="PRECEPTOR_", extra="ignore", hide_input_in_errors=True)

    data: Path = Field(default=Path(".preceptor"), description="Folder for the local store, embedded Redis and caches")
    store: str | None = Field(
        default=None,
        description="Store URL: `file:///path`, `s3://bucket/prefix`, `gs://`, `az://`. In `data` if unset",
    )
    redis_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("PRECEPTOR_REDIS_URL", "REDIS_URL"),
        description="Redis 7.0 or later, or Valkey. An embedded server if unset",
    )
    egress_allow: str | None = Field(
        default=None,
        description="Destinations of webhooks besides public addresses: comma-separated host names and networks "
        "(`10.0.0.0/8`)",
    )
    webhooks: Literal["on", "off"] = Field(
        default="on",
        description="Whether webhooks are sent. `off` keeps deliveries pending: for a copy of a deployment, whose "
        "receivers are those of the original",
    )
    host: str = Field(default="127.0.0.1", description="Address on which the service listens")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8321, description="Port; 0 takes a free one")
    published_at: str | None = Field(
        default=None,
        description="Address at which clients reach the service, if it differs from `host`: for a container, the "
        "address on which its port is published. `auth=auto` uses it",
    )
    auth: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether requests need an API key. `auto`: once a key exists; without one it does not start "
        "on an address that other machines can reach. `off`: never",
    )
    hosts: str | None = Field(
        default=None,
        description="Accepted host names while no API key is required, besides `localhost`, the loopback addresses and "
        "those above: comma-separated names and addresses, `*` for any. Others get 421, cross-site changes 403",
    )
    oidc_issuer: str | None = Field(
        default=None,
        description="Issuer of bearer tokens (OpenID Connect) that are accepted besides API keys, exactly as in `iss`: "
        "`https://...`, or `http://` on this machine. Needs the extra `oidc`",
    )
    oidc_audience: str | None = Field(
        default=None,
        description="Accepted audiences of a token (`aud`), comma-separated; one suffices. Required with an issuer",
    )
    oidc_scope_claim: str = Field(
        default="scope",
        min_length=1,
        description="Claim with the permissions of a token: words or a list; dots select inside objects "
        "(`realm_access.roles`)",
    )
    oidc_read: str = Field(
        default="preceptor:read", description="Values of that claim that grant `read`, comma-separated"
    )
    oidc_write: str = Field(
        default="preceptor:write", description="Values of that claim that grant `write`, comma-separated"
    )
    oidc_admin: str = Field(
        default="preceptor:admin", description="Values of that claim that grant `admin`, comma-separated"
    )
    oidc_leeway_seconds: float = Field(
        default=30.0,
        ge=0,
        le=300,
        description="Largest accepted difference between the clocks of issuer and service, in seconds",
    )
    oidc_max_jobs: int = Field(
        default=0, ge=0, description="Limit of unfinished jobs per token subject; 0 for no limit"
    )
    encoder: str = Field(default="minilm", description="Default label encoder")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info")
    log_format: Literal["console", "json"] = Field(default="console")
    device: str = Field(default="auto", description="`auto`, `cpu`, `cuda`, `cuda:0`, ... for the workers")
    threads: int = Field(default=0, ge=0, description="Compute threads of a worker; 0 for half of the cores")

    training_processes: int = Field(
        default=1,
        ge=0,
        le=64,
        description="Processes that train one large student together, one GPU each (with `device=cpu`: a share of the "
        "threads each); 0 for one per GPU",
    )

    mlflow_tracking_uri: str | None = Field(
        default=None,
        description="Address of an MLflow tracking server (`https://mlflow.example.org`) to which workers report every "
        "distillation",
    )
    mlflow_experiment: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        default="preceptor", description="MLflow experiment of the runs; created if it does not exist"
    )
    mlflow_authorization: SecretStr | None = Field(
        default=None,
        description="`Authorization` header for the MLflow server, such as `Bearer TOKEN` or `Basic BASE64`",
    )

    scratch_bytes: int = Field(
        default=50 * GiB,
        ge=0,
        description="Limit of local copies (objects of a bucket, models of the Hub) per machine, in bytes. The least "
        "recently used are removed first; copies in use by a running job stay, even above the limit",
    )
    max_body_bytes: int = Field(default=8 * MiB, description="Largest JSON body")
    max_file_bytes: int = Field(default=8 * GiB, description="Largest file of a teacher")
    max_probe_bytes: int = Field(default=2 * GiB, description="Largest probe upload")
    max_probe_expanded_bytes: int = Field(default=8 * GiB, description="Largest probe after decompression")
    max_probe_items: int = Field(default=1_000_000, description="Most items in a probe")
    max_item_bytes: int = Field(default=32 * MiB, description="Largest single item of a probe")
    max_image_pixels: int = Field(default=64_000_000, description="Most pixels in one picture")
    max_probe_pixels: int = Field(
        default=20_000_000_000, description="Most pixels in all pictures of a probe: each is decoded once"
    )
    max_text_length: int = Field(default=100_000, description="Most characters in one text")
    max_feature_dimension: int = Field(default=65_536, description="Longest feature vector")
    ingest_memory: Annotated[int, Field(ge=10**9)] = Field(
        default=4 * GiB,
        description="Memory limit (address space) of a process that reads an upload, in bytes; one process per core",
    )
    ingest_seconds: Annotated[int, Field(ge=1)] = Field(
        default=600,
        description="CPU time limit of such a process in seconds; its wall-clock limit is four times that",
    )
    max_queue: int = Field(default=10_000, description="Limit of queued jobs per lane; above it 429")
    max_wait_seconds: float = Field(default=60.0, description="Longest accepted `Prefer: wait`, in seconds")
    max_teachers: int = Field(default=100_000, ge=0, description="Limit of teachers; above it 409. 0 for no limit")
    max_probes: int = Field(default=100_000, ge=0, description="Limit of probes; above it 409. 0 for no limit")
    max_label_sets: int = Field(default=100_000, ge=0, description="Limit of label sets; above it 409. 0 for no limit")
    max_connections: int = Field(
        default=4096,
        ge=1,
        description="Limit of connections per service process; above it 503, except for health checks",
    )
    max_streams: int = Field(
        default=2000, ge=1, description="Limit of open event streams per service process; above it 429"
    )
    max_streams_per_caller: int = Field(
        default=1500,
        ge=1,
        description="Limit of open event streams per API key; for all callers together while no key is required",
    )
    head_seconds: float = Field(default=30.0, gt=0, description="Time limit for the head of a request, in seconds")
    body_seconds: float = Field(
        default=60.0, gt=0, description="Longest pause within a request body, in seconds; above it 408"
    )
    body_rate: int = Field(
        default=1024,
        ge=0,
        description="Minimum rate of a request body in bytes per second, averaged after the first 30 s; below it 408. "
        "0 for no limit",
    )

    lease_seconds: float = Field(
        default=10.0, gt=0, description="Lease duration in seconds; a worker that misses it loses the job"
    )
    delivery_limit: int = Field(default=3, ge=1, description="Deliveries after which a job that never ended fails")
    job_timeout_seconds: float = Field(default=24 * 3600.0, gt=0, description="Time limit of a job, in seconds")
    retry_seconds: float = Field(
        default=1.0,
        gt=0,
        description="Delay before the first retry after a transient fault (Redis, the store); doubled each time",
    )
    retry_max_seconds: float = Field(default=60.0, gt=0, description="Longest delay between two retries, in seconds")
    retry_limit: int = Field(default=60, ge=0, description="Retries after which a job fails")
    stop_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Time for a job to stop after a request, in seconds. After it, a canceled job is reported as "
        "canceled; its slot stays occupied until its thread ends",
    )
    checkpoint_seconds: float = Field(
        default=30.0, gt=0, description="Interval between checkpoints of a distillation, in seconds"
    )
    job_seconds: int = Field(
        default=0, ge=0, description="Retention of ended jobs and their results, in seconds; 0 keeps them indefinitely"
    )
    idempotency_seconds: int = Field(default=24 * 3600, description="Retention of an Idempotency-Key, in seconds")
    cache_seconds: int = Field(default=7 * 24 * 3600, description="Retention of cached matrices, in seconds")
    event_seconds: int = Field(default=7 * 24 * 3600, description="Retention of the events of an ended job, in seconds")
    max_cached_bytes: int = Field(default=64 * MiB, description="Largest value stored in the Redis cache, in bytes")
    drain_seconds: float = Field(
        default=30.0, description="Time for a stopping worker to hand back its jobs, in seconds"
    )

    @field_validator("egress_allow")
    @classmethod
    def _egress_can_be_read(cls, value: str | None) -> str | None:
        Egress.of(value)
        return value

    @field_validator("hosts")
    @classmethod
    def _hosts_can_be_read(cls, value: str | None) -> str | None:
        Hosts.of(value)
        return value

    @field_validator("mlflow_tracking_uri")
    @classmethod
    def _tracking_server_can_be_asked(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "http://unset")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an MLflow tracking server is asked over HTTP: give an address with http:// or https://")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError(
                "the address of the MLflow tracking server holds a password, a query or a fragment: give credentials "
                "in PRECEPTOR_MLFLOW_AUTHORIZATION"
            )
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _issuer_can_be_trusted(cls, value: str | None) -> str | None:
        reason = None if value is None else insecure_url(value)
        if value is not None and reason is None and "?" in value:
            reason = "it must not have a query"
        if reason is not None:
            raise ValueError(f"{value!r} cannot be an issuer: {reason}")
        return value

    @model_validator(mode="after")
    def _tokens_are_for_us(self) -> Self:
        if self.oidc_issuer is None:
            return self
        if not listed(self.oidc_audience):
            raise ValueError(
                "PRECEPTOR_OIDC_ISSUER is set, but PRECEPTOR_OIDC_AUDIENCE is not: tokens that the issuer made for "
                "other services would be accepted. Set it to the audience of this service"
            )
        if self.auth == "off":
            raise ValueError(
                "PRECEPTOR_AUTH=off requires no key, and PRECEPTOR_OIDC_ISSUER requires tokens: set "
                "PRECEPTOR_AUTH=on, or unset the issuer"
            )
        return self

    @property
    def store_url(self) -> str:
        """The store's URL, with the default filled in."""
        return self.store or (self.data.absolute() / "store").as_uri()


class Misconfigured(Exception):
    """A setting or the data folder cannot be used; the message has one line for each fault."""


def read_settings() -> Settings:
    """The settings of this process's environment, with the data folder made.

    Raises
    ------
    Misconfigured
        A value is not valid, or the data folder cannot be made or written to.
    """
    try:
        settings = Settings()
        make_usable(settings.data)
    except ValidationError as error:
        raise Misconfigured(_described(error)) from error
    except FolderUnusable as error:
        raise Misconfigured(f"PRECEPTOR_DATA: {error}. Set it to a folder that this user can write to") from error
    return settings


def _described(error: ValidationError) -> str:
    lines: list[str] = []
    for fault in error.errors(include_url=False, include_input=False):
        message = fault["msg"].removeprefix("Value error, ")
        name = str(fault["loc"][0]) if fault["loc"] else ""
        if name and not name.isupper():
            name = f"PRECEPTOR_{name.upper()}"
        lines.append(f"{name}: {message}" if name else message)
    return "\n".join(lines)
