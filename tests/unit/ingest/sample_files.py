"""Real files in every format that a probe may come in, made in memory."""

import csv
import io
import json
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from service.core.storage.probe_file import open_probe

pa = cast(Any, pyarrow)
pq = cast(Any, pyarrow.parquet)

Labels = Sequence[str] | Sequence[int | None] | None


def npz(**arrays: Any) -> bytes:
    """An `.npz`, compressed."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    """A bare `.npy`."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npy_claiming(descr: str, shape: tuple[int, ...], data: bytes = b"") -> bytes:
    """A `.npy` whose header says what it likes."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def archive_with_link(name: str, target: str) -> bytes:
    """A zip with one symbolic link."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(info, target)
    return buffer.getvalue()


def parquet(columns: dict[str, Any], *, class_names: list[str] | None = None, **options: Any) -> bytes:
    """A Parquet file; `class_names` become the ClassLabel names of the column `label`."""
    table = pa.table(columns)
    if class_names is not None:
        features = {"label": {"names": class_names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def jsonl(texts: Sequence[str], labels: Labels = None) -> bytes:
    """JSON lines."""
    rows = [{"text": text} if labels is None else {"text": text, "label": labels[i]} for i, text in enumerate(texts)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table_csv(texts: Sequence[str], labels: Labels = None) -> bytes:
    """CSV with a byte order mark, as spreadsheets write it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["text"] if labels is None else ["text", "label"])
    writer.writerows([text] if labels is None else [text, labels[i]] for i, text in enumerate(texts))
    return buffer.getvalue().encode("utf-8-sig")


def picture(shade: int = 0, format: str = "PNG", size: tuple[int, int] = (5, 4), mode: str = "RGB") -> bytes:
    """An encoded picture of random pixels; `shade` is the seed."""
    pixels = np.random.default_rng(shade).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format)
    return buffer.getvalue()


def animation() -> bytes:
    """A GIF of two frames."""
    first, second = Image.new("P", (4, 4), 0), Image.new("P", (4, 4), 1)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=[second])
    return buffer.getvalue()


def claimed_png(width: int, height: int) -> bytes:
    """A PNG of some bytes that declares any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    pixels = zlib.compress(b"\x00" * 10_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def read_back(path: Path) -> Any:
    """What was written, without the types that make each test say which modality it means."""
    return open_probe(path)
