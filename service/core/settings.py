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
    """The parts of a setting that is a list with commas between them."""
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
        description="Store URL: `file:///path`, `s3://bucket/prefix`, `gs://`, `az://`. In `data` where unset",
    )
    redis_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("PRECEPTOR_REDIS_URL", "REDIS_URL"),
        description="Redis 7.0 or later, or Valkey. An embedded server where unset",
    )
    egress_allow: str | None = Field(
        default=None,
        description="Where webhooks may go besides public addresses: host names and networks (`10.0.0.0/8`), with "
        "commas between them",
    )
    webhooks: Literal["on", "off"] = Field(
        default="on",
        description="Whether webhooks are sent to. While `off`, deliveries are kept and nothing is sent: for a copy of "
        "a deployment, whose receivers are those of the original",
    )
    host: str = Field(default="127.0.0.1", description="Address that the service listens on")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8321, description="Port; 0 takes a free one")
    published_at: str | None = Field(
        default=None,
        description="Address at which others reach the service, where it is not the one that it listens on: for a "
        "container, the address on which its port is published. `auto` of the next setting goes by it",
    )
    auth: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether requests need an API key: `auto` as soon as a key exists, and the service refuses to "
        "listen on an address that other machines can reach while there is none; `off` lets everyone in",
    )
    hosts: str | None = Field(
        default=None,
        description="Names that the service may be called by while it asks for no API keys, besides `localhost`, the "
        "loopback addresses and those above: host names and addresses with commas between them, `*` for any. "
        "Requests to other names are refused with 421, changes asked for by other web sites with 403",
    )
    oidc_issuer: str | None = Field(
        default=None,
        description="Issuer of the bearer tokens (OpenID Connect) that are taken besides API keys, spelled as `iss` "
        "spells it: `https://...`, or `http://` on this machine. Needs the extra `oidc`",
    )
    oidc_audience: str | None = Field(
        default=None,
        description="Whom a token must be made for (`aud`); several with commas between them, one of them suffices. "
        "Needed with an issuer",
    )
    oidc_scope_claim: str = Field(
        default="scope",
        min_length=1,
        description="Claim that tells what a token allows: words or a list; dots lead into objects "
        "(`realm_access.roles`)",
    )
    oidc_read: str = Field(
        default="preceptor:read", description="Values of that claim that allow `read`, with commas between them"
    )
    oidc_write: str = Field(
        default="preceptor:write", description="Values of that claim that allow `write`, with commas between them"
    )
    oidc_admin: str = Field(
        default="preceptor:admin", description="Values of that claim that allow `admin`, with commas between them"
    )
    oidc_leeway_seconds: float = Field(
        default=30.0, ge=0, le=300, description="How far the clocks of the issuer and the service may differ"
    )
    oidc_max_jobs: int = Field(
        default=0, ge=0, description="Most unfinished jobs that one subject of tokens may have; 0 for no limit"
    )
    encoder: str = Field(default="minilm", description="Default label encoder")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info")
    log_format: Literal["console", "json"] = Field(default="console")
    device: str = Field(default="auto", description="`auto`, `cpu`, `cuda`, `cuda:0`, ... for the workers")
    threads: int = Field(default=0, ge=0, description="Threads a worker computes with; 0 takes half of the cores")

    training_processes: int = Field(
        default=1,
        ge=0,
        le=64,
        description="Processes that train one large student together, each on a GPU of its own (with `device=cpu`: on "
        "its share of the threads); 0 takes as many as there are GPUs",
    )

    mlflow_tracking_uri: str | None = Field(
        default=None,
        description="Address of an MLflow tracking server (`https://mlflow.example.org`) that the workers tell of "
        "every distillation",
    )
    mlflow_experiment: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        default="preceptor", description="MLflow experiment of the runs; made where there is none"
    )
    mlflow_authorization: SecretStr | None = Field(
        default=None,
        description="`Authorization` header for the MLflow server, such as `Bearer TOKEN` or `Basic BASE64`",
    )

    scratch_bytes: int = Field(
        default=50 * GiB,
        ge=0,
        description="Most bytes of copies on one machine: of a bucket's objects, and of models of the Hub. The least "
        "recently used go first; what a running job uses stays, also beyond the limit",
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
        description="Address space of a process that reads an upload; as many run at once as there are cores",
    )
    ingest_seconds: Annotated[int, Field(ge=1)] = Field(
        default=600,
        description="How long such a process may compute; by the clock it may take four times as long",
    )
    max_queue: int = Field(default=10_000, description="Most jobs waiting in one lane; beyond it 429")
    max_wait_seconds: float = Field(default=60.0, description="Longest `Prefer: wait`")
    max_teachers: int = Field(default=100_000, ge=0, description="Most teachers; beyond it 409. 0 for no limit")
    max_probes: int = Field(default=100_000, ge=0, description="Most probes; beyond it 409. 0 for no limit")
    max_label_sets: int = Field(default=100_000, ge=0, description="Most label sets; beyond it 409. 0 for no limit")
    max_connections: int = Field(
        default=4096,
        ge=1,
        description="Most connections of one service process; those beyond get 503 for all but the health checks",
    )
    max_streams: int = Field(
        default=2000, ge=1, description="Most event streams that one service process keeps open; beyond it 429"
    )
    max_streams_per_caller: int = Field(
        default=1500,
        ge=1,
        description="Most of them for one API key; for everyone together while no keys are asked for",
    )
    head_seconds: float = Field(
        default=30.0, gt=0, description="How long a client may take to send the head of a request"
    )
    body_seconds: float = Field(
        default=60.0, gt=0, description="Longest silence in the middle of a body; beyond it 408"
    )
    body_rate: int = Field(
        default=1024,
        ge=0,
        description="Least bytes a second at which a body comes, on average after the first 30 s of waiting; a slower "
        "one gets 408. 0 for no limit",
    )

    lease_seconds: float = Field(default=10.0, gt=0, description="A worker silent for so long has lost its job")
    delivery_limit: int = Field(default=3, ge=1, description="A job taken so often without an end has failed")
    job_timeout_seconds: float = Field(default=24 * 3600.0, gt=0, description="Longest run of one job")
    retry_seconds: float = Field(
        default=1.0, gt=0, description="Wait after a fault that passes (Redis, the store); doubled with each retry"
    )
    retry_max_seconds: float = Field(default=60.0, gt=0, description="Longest wait between two retries")
    retry_limit: int = Field(default=60, ge=0, description="A job retried so often has failed")
    stop_seconds: float = Field(
        default=30.0, gt=0, description="A job that does not stop for so long when asked takes its worker with it"
    )
    checkpoint_seconds: float = Field(default=30.0, gt=0, description="How often a distillation keeps its state")
    job_seconds: int = Field(
        default=0, ge=0, description="How long an ended job and its result are kept; 0 keeps them for ever"
    )
    idempotency_seconds: int = Field(default=24 * 3600, description="How long an Idempotency-Key is remembered")
    cache_seconds: int = Field(default=7 * 24 * 3600, description="How long a cached matrix is kept")
    event_seconds: int = Field(default=7 * 24 * 3600, description="How long a finished job's events are kept")
    max_cached_bytes: int = Field(default=64 * MiB, description="Largest value that goes into the Redis cache")
    drain_seconds: float = Field(default=30.0, description="How long a stopping worker may take to hand back its job")

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
                "other services would be taken. Set it to the audience of this service"
            )
        if self.auth == "off":
            raise ValueError(
                "PRECEPTOR_AUTH=off lets everyone in, and PRECEPTOR_OIDC_ISSUER asks for tokens: set "
                "PRECEPTOR_AUTH=on, or leave the issuer away"
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
