"""Text files in the encoding that they were saved in, which is reported."""

import codecs
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...errors import TextFileError

MAX_BYTES: Final = 32 * 2**20

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32 with a byte order mark"),  # begins like UTF-16 LE: it comes first
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32 with a byte order mark"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16 with a byte order mark"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16 with a byte order mark"),
)
_NOT_LATIN_1: Final = re.compile(
    rb"[\x80-\x9f]|[\xa0-\xff]{3}|(?<![A-Za-z\xa0-\xff])[\xa0-\xff]{2}(?![A-Za-z\xa0-\xff])"
)
_SAVE: Final = "Save it as UTF-8"


@dataclass(frozen=True)
class TextFile:
    """A decoded file.

    Attributes
    ----------
    encoding
        As a person names it: `UTF-8`, `UTF-16 with a byte order mark`, `Latin-1`.
    assumed
        Whether the encoding is a guess that the caller should check: nothing in the file states it.
    """

    path: Path
    text: str
    encoding: str
    assumed: bool = False

    @classmethod
    def read(cls, path: Path) -> "TextFile":
        """Read a file in UTF-8, in UTF-16 or UTF-32 with a byte order mark, or in Latin-1.

        A file that is not UTF-8 is read as Latin-1 if its bytes can be Western European text: no control codes from
        0x80 to 0x9f, no three bytes above 0x7f in a row, and no word of such bytes alone. Other scripts have those.

        Raises
        ------
        TextFileError
            It is not text, or in another encoding.
        OSError
        """
        if path.stat().st_size > MAX_BYTES:
            raise TextFileError(f"{path} has more than {MAX_BYTES // 2**20} MiB; this is not a list of names")
        content = path.read_bytes()
        for mark, codec, name in _MARKS:
            if content.startswith(mark):
                try:
                    return cls(path, content.decode(codec), name)
                except UnicodeDecodeError as error:
                    raise TextFileError(f"{path} begins as {name}, but byte {error.start} is not. {_SAVE}") from error
        if b"\0" in content:
            what = "UTF-16 without a byte order mark" if _looks_utf16(content) else "not a text file"
            raise TextFileError(f"{path} holds zero bytes: it is {what}. {_SAVE}")
        try:
            return cls(path, content.decode("utf-8"), "UTF-8")
        except UnicodeDecodeError as error:
            if _NOT_LATIN_1.search(content):
                raise TextFileError(
                    f"{path} is neither UTF-8 (byte {error.start}) nor Latin-1 by its bytes; it may be Windows-1252, "
                    f"GBK, Shift-JIS or another encoding. {_SAVE}"
                ) from error
        return cls(path, content.decode("latin-1"), "Latin-1", assumed=True)

    @property
    def remark(self) -> str | None:
        """What a person should know of the encoding; None for plain UTF-8."""
        if self.encoding == "UTF-8":
            return None
        check = ", because it is not UTF-8; check the names, or save it as UTF-8" if self.assumed else ""
        return f"{self.path} was read as {self.encoding}{check}"


def _looks_utf16(content: bytes) -> bool:
    """Whether every other byte is mostly zero, as in UTF-16 text of Latin letters."""
    sample = content[:2000]
    return any(2 * sample[start::2].count(0) > len(sample[start::2]) for start in (0, 1))
