"""Class names as people write them in code and file names, turned into the words an encoder was trained on."""

import re
import unicodedata
from typing import Final

VERSION: Final = 1
"""Raised whenever `readable` changes: part of every encoder's identity, so that no old cached cost is used."""

_WORDNET: Final = re.compile(r"^n\d{8}[\s_:,-]+(?=\S)")
_NUMBER: Final = re.compile(r"^\d+\s*:\s*(?=\D)")
# Two small letters before a capital: "cardPayment" is two words, "iPod", "McDonald" and "LaTeX" are one.
_CAMEL: Final = re.compile(r"(?<=[a-z]{2})(?=[A-Z])")
_DOTS: Final = re.compile(r"(?<=[^\W\d])\.(?=[^\W\d])")


def readable(label: str) -> str:
    """A class name as plain words.

    In this order: NFKC; a WordNet number in front goes ("n01440764 tench"); so does a class number ("281: tabby");
    pictographs become their Unicode names ("🐟": fish); underscores become spaces; in a name without spaces
    camelCase ("cardPayment") and dots between letters ("talk.politics.guns") part words; white space is collapsed.
    Synonyms after commas stay ("tench, Tinca tinca"): the whole list was encoded better than its first word alone.
    Case and hyphens stay; an encoder may fold them.

    Parameters
    ----------
    label
        A class name or a description, any script.

    Returns
    -------
    str
        May be empty, where the name held nothing but separators.
    """
    text = unicodedata.normalize("NFKC", label).strip()
    text = _WORDNET.sub("", text)
    text = _NUMBER.sub("", text)
    text = "".join(_spelt(sign) for sign in text).replace("_", " ").strip()
    if not any(sign.isspace() for sign in text):
        text = _CAMEL.sub(" ", _DOTS.sub(" ", text))
    return " ".join(text.split())


def _spelt(sign: str) -> str:
    # No encoder here knows pictographs, but Unicode names each of them in English.
    if sign == "\N{ZERO WIDTH JOINER}" or "\N{VARIATION SELECTOR-1}" <= sign <= "\N{VARIATION SELECTOR-16}":
        return ""
    if unicodedata.category(sign) != "So":
        return sign
    return f" {unicodedata.name(sign, '').lower()} "
