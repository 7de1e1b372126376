"""Short texts with real labels: the diagnoses of ICD-10-CM, from the package `simple-icd-10-cm`.

ICD-10-CM is published by the United States' National Center for Health Statistics and is in the public domain; the
package is MIT. Every code has a description and often inclusion terms, written by medical coders ("Tetralogy of
Fallot", "Ventricular septal defect with pulmonary stenosis or atresia, dextroposition of aorta ..."). Chapters and
blocks of codes are the classes, under their official titles. One diagnosis can be classified by organ, by cause, by
region of the body: related label sets that share no class.
"""

import importlib.util
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CODES: Final = re.compile(r"\s*\([A-Z0-9]{3}[^()]*\)$")
# Texts that differ only in the side are one text: they must not be in both parts of a split.
_SIDES: Final = re.compile(r"\b(right|left|bilateral|unspecified|initial|subsequent)\b")


@dataclass(frozen=True)
class Diagnosis:
    """A diagnosis text with the number of its chapter and the id of its block ("Q20-Q28")."""

    text: str
    chapter: int
    block: str


@dataclass(frozen=True)
class Classification:
    """All diagnoses, and the official titles of chapters and blocks, codes cut off."""

    diagnoses: list[Diagnosis]
    chapters: dict[int, str]
    blocks: dict[str, str]
    chapter_of: dict[str, int]

    def blocks_of(self, *chapters: int, least: int = 20) -> dict[str, str]:
        """Titles of the blocks of some chapters that hold at least `least` texts."""
        counts: dict[str, int] = {}
        for diagnosis in self.diagnoses:
            counts[diagnosis.block] = counts.get(diagnosis.block, 0) + 1
        return {
            block: title
            for block, title in self.blocks.items()
            if self.chapter_of[block] in chapters and counts.get(block, 0) >= least
        }


def read_classification() -> Classification:
    """Read the tabular list: descriptions and inclusion terms of all codes, without repetitions, in its order."""
    found = importlib.util.find_spec("simple_icd_10_cm")  # not imported: that would parse the list a second time
    if found is None or found.origin is None:
        raise SystemExit("the demo zoo needs the package simple-icd-10-cm: install the extra 'demo'")
    listing = next((Path(found.origin).parent / "data").glob("icd10c-tabular*.xml"))
    root = ET.parse(listing).getroot()
    made = Classification([], {}, {}, {})
    seen: set[str] = set()
    for chapter in root.iterfind("chapter"):
        number = int(chapter.findtext("name", ""))
        made.chapters[number] = _CODES.sub("", chapter.findtext("desc", ""))
        for section in chapter.iterfind("section"):
            block = section.get("id", "")
            made.blocks[block] = _CODES.sub("", section.findtext("desc", "")).strip()
            made.chapter_of[block] = number
            for entry in section.iter("diag"):
                notes = [note.text or "" for note in entry.iterfind("inclusionTerm/note")]
                for text in [entry.findtext("desc", ""), *notes]:
                    words = " ".join(re.findall(r"[^\W_]+", _SIDES.sub("", text.lower())))
                    if len(words) > 3 and words not in seen:
                        seen.add(words)
                        made.diagnoses.append(Diagnosis(" ".join(text.split()), number, block))
    return made
