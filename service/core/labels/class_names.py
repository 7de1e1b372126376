"""Class names that name nothing: one rule for teachers' and for students' label sets.

Ground costs compare the meaning of names. `LABEL_0` or `7` have none, and yet an encoder gives them a vector, so a
ranking by them looks like any other.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

# What transformers (LABEL_0) and fastText (__label__0) write if nobody named the classes.
_DEFAULT: Final = re.compile(r"_*label[\s_#:.-]*\d+(\.0+)?", re.IGNORECASE)
_NUMBERED: Final = re.compile(
    r"((class|classe|clase|klasse|category|categoria|kategorie|cat|cls|cluster|group|topic|label|lbl|target|output|"
    r"index|idx|id|no|nr|c|y|класс|类别|类|クラス|클래스)s?)?"
    r"[\s_#:.-]*[+-]?\d+(\.0+)?|n\d{8}",
    re.IGNORECASE,
)
_AROUND: Final = "()[]{}<>'\"` \t_"


def placeholders(names: Sequence[str]) -> list[str]:
    """The names that make a label set meaningless; empty if the set can be compared by its names.

    Parameters
    ----------
    names
        Class names of one label set.

    Returns
    -------
    list of str
        Every default name of a library ("LABEL_0"), of which one is enough; otherwise all numbered names ("class_3",
        "7", "1.0", WordNet ids), if more than half of the set are such.
    """
    default: list[str] = []
    numbered: list[str] = []
    for name in names:
        plain = unicodedata.normalize("NFKC", name).strip()
        if _DEFAULT.fullmatch(plain):
            default.append(name)
        elif _NUMBERED.fullmatch(plain.strip(_AROUND)):
            numbered.append(name)
    if default:
        return default
    return numbered if 2 * len(numbered) > len(names) else []


def placeholder_names(names: Sequence[str]) -> bool:
    """Whether a label set's names are placeholders (`LABEL_0`, `class_3`, `7`) instead of names.

    Parameters
    ----------
    names
        Class names of one label set, of a teacher or of a student.
    """
    return bool(placeholders(names))
