"""Writes docs/configuration.md from the settings class, so that the page cannot tell of settings that are gone.

`python -m docs.configuration` writes the page. A test compares the page with the class.
"""

import sys
import types
import typing
from pathlib import Path
from typing import Any, Final

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from service.core.settings import Settings

PAGE: Final = Path(__file__).with_name("configuration.md")
_HEAD: Final = """\
# Configuration

<!-- Written by `python -m docs.configuration` from service/core/settings.py. Edit the descriptions there. -->

The service and the workers read the same settings from environment variables. All of them must see the same
`PRECEPTOR_DATA`, `PRECEPTOR_STORE` and Redis. A value that does not fit ends the process at its start, with the name
of the variable and the reason.

| variable | value | default | meaning |
|---|---|---|---|
"""
_TAIL: Final = """
Sizes are bytes, times are seconds.

## Read by libraries

| variable | read by | meaning |
|---|---|---|
| `AWS_*`, `GOOGLE_*`, `AZURE_*` | the store | Credentials and region of a bucket, see [deployment](deployment.md) |
| `HF_TOKEN`, `HF_ENDPOINT` | workers | Token and address of the model hub, for teachers of kind `hub` |
| `CUDA_VISIBLE_DEVICES` | workers | Which GPUs a worker may see |
| `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_*` | traces | Switches [traces](operations.md#traces) on; off while unset |

`.env.example` names what only the compose file reads.
"""
_NAMES: Final[dict[Any, str]] = {
    str: "text",
    SecretStr: "text",
    int: "whole number",
    float: "number",
    Path: "path",
    bool: "yes or no",
}
_BOUNDS: Final = (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))


def variables(name: str, field: FieldInfo) -> list[str]:
    """The environment variables of one setting, the first one first in effect."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return [choice for choice in alias.choices if isinstance(choice, str)]
    return [alias if isinstance(alias, str) else f"{Settings.model_config.get('env_prefix', '')}{name}".upper()]


def page() -> str:
    """The whole page."""
    return _HEAD + "".join(_row(name, field) for name, field in Settings.model_fields.items()) + _TAIL


def _row(name: str, field: FieldInfo) -> str:
    spelled = " or ".join(f"`{variable}`" for variable in variables(name, field))
    meaning = (field.description or name.replace("_", " ").capitalize()).rstrip(".")
    return f"| {spelled} | {_values(field)} | {_default(field.default)} | {meaning} |\n"


def _values(field: FieldInfo) -> str:
    kind = field.annotation
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(kind))
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    bounds = [
        f"{words} {getattr(limit, bound):g}"
        for limit in field.metadata
        for bound, words in _BOUNDS
        if getattr(limit, bound, None) is not None
    ]
    return ", ".join([_NAMES[kind], *bounds])


def _default(value: object) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"`{value}`"
    text = f"`{value:.15g}`"
    for size, unit in ((2**30, "GiB"), (2**20, "MiB")):
        if value >= size and value % size == 0:
            return f"{text} ({value // size:g} {unit})"
    for seconds, unit in ((24 * 3600, "day"), (3600, "hour")):
        if value >= seconds and value % seconds == 0:
            count = value // seconds
            return f"{text} ({count:g} {unit}{'s' if count > 1 else ''})"
    return text


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
