"""What all models of the contract have in common."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, Strict, model_validator

Number = Annotated[float, Strict()]
"""A number in a request. `"1"` and `true` are rejected, as in the schema; they are not converted."""


def whole(value: object) -> object:
    """`2.0` as 2; every other value unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, Strict(), BeforeValidator(whole)]
"""A whole number in a request. `2.0` is accepted, as in JSON Schema; `"2"` and `true` are not."""
Flag = Annotated[bool, Strict()]
"""`true` or `false` in a request."""


_MOST_UNKNOWN: Final = 20


class Body(BaseModel):
    """A request body. Unknown fields are rejected: a misspelt option must not be ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, value: object) -> object:
        # Each unknown field produces an error of about a thousand times its length.
        if isinstance(value, dict) and len(value) > len(cls.model_fields) + _MOST_UNKNOWN:  # pyright: ignore[reportUnknownArgumentType]
            known = ", ".join(cls.model_fields)
            raise ValueError(f"the object has {len(value)} fields; known are {known}")  # pyright: ignore[reportUnknownArgumentType]
        return value  # pyright: ignore[reportUnknownVariableType]


def tagged(name: str) -> ConfigDict:
    """Configuration of one variant of a union, selected by its field `name`.

    The field has a default in Python. In JSON it is required, and the schema marks it as required.
    """

    def require(schema: dict[str, Any]) -> None:
        schema["required"] = sorted({*schema.get("required", ()), name})

    return ConfigDict(json_schema_extra=require)


class Answer(BaseModel):
    """A response body. Clients ignore fields that they do not know."""

    model_config = ConfigDict(extra="ignore")


def now() -> datetime:
    """The current moment, in UTC, to the millisecond."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


Moment = Annotated[
    datetime,
    AfterValidator(_utc),
    PlainSerializer(
        lambda m: m.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        return_type=str,
        when_used="json",
    ),
]
"""A point in time: RFC 3339, UTC, milliseconds."""
