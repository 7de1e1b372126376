"""The formats that a probe may come in, and how an upload's format is found."""

import re
from pathlib import Path
from typing import Final, get_args

from preceptor.contract.probes import ProbeFormat
from service.core.errors import UnsupportedType

from ..items import Reader, shown
from . import csv, jsonl, npz, zip_folders
from .parquet import reader

READERS: Final[dict[ProbeFormat, Reader]] = {
    "npz": npz.read,
    "parquet": reader.read,
    "zip": zip_folders.read,
    "jsonl": jsonl.read,
    "csv": csv.read,
}
_ENDINGS: Final[dict[str, ProbeFormat]] = {
    "npz": "npz",
    "parquet": "parquet",
    "pq": "parquet",
    "zip": "zip",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "csv": "csv",
}
_ACCEPTED: Final = "npz, parquet, zip (one folder a class), jsonl and csv"
_PICKLES: Final = ("pkl", "pickle", "pt", "pth", "ckpt", "joblib", "bin")
_ADVICE: Final = {
    "npy": "name the array: numpy.savez('probe.npz', features=array)",
    "json": "write one object a line and send it as .jsonl",
    "tsv": "separate the columns by commas and send it as .csv",
    "tar": "pack the folders as .zip",
    "gz": "send it unpacked",
}


def found_format(source: Path, filename: str | None, format: ProbeFormat | None) -> ProbeFormat:
    """The format of an upload: as said, else by the file name's ending, else by its first bytes.

    Raises
    ------
    UnsupportedType
        It is none of ours; pickles are named as such.
    """
    if format is not None:
        return format
    ending = (filename or "").rpartition(".")[2].lower() if "." in (filename or "") else ""
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    if ending in _PICKLES:
        raise UnsupportedType(
            f"{shown(filename)} is not accepted: files of this type are pickles, which can run code when they are "
            f"loaded, and none is ever loaded. Save the arrays with numpy.savez, or send one of {_ACCEPTED}"
        )
    if ending:
        advice = f". For this one: {_ADVICE[ending]}" if ending in _ADVICE else ""
        raise UnsupportedType(f"the ending of {shown(filename)} is not known. Probes come as {_ACCEPTED}{advice}")
    with source.open("rb") as file:
        head = file.read(4096)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PK\x03\x04"):
        return "npz" if re.match(rb"PK\x03\x04.{26}[a-z_]{1,30}\.npy", head, re.DOTALL) else "zip"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return "jsonl"
    if re.match(rb"\x80[\x02-\x05]", head):
        raise UnsupportedType(f"this looks like a pickle, and none is ever loaded. Probes come as {_ACCEPTED}")
    raise UnsupportedType(
        f"the format cannot be determined. Send ?filename= with its ending, or ?format=; probes come as {_ACCEPTED}"
    )


assert set(READERS) == set(get_args(ProbeFormat))
