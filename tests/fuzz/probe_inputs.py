"""Valid probes of every format and the ways in which each is spoilt."""

import json
import zlib
from random import Random
from typing import Final

import numpy as np

from tests.unit.ingest.sample_files import (
    animation,
    archive,
    claimed_png,
    jsonl,
    npy,
    npz,
    parquet,
    picture,
    table_csv,
)

from .byte_mutations import LARGEST, damaged, noise
from .case import SOURCE, Files
from .json_mutations import STRINGS, spoilt, text_of
from .zip_mutations import spoilt_zip

WORDS: Final = ("one", "two", "drei, vier", "新しい 靴", "كتاب", "naïve\n", "🙂", "")
NAMES: Final = ("cat", "dog", "猫", "قطة", "बिल्ली", "e\u0301", "\u00e9", "ﬁ")


def npz_seeds() -> list[bytes]:
    """Vectors, pictures, texts, labels alone, a number of items alone."""
    return [
        npz(features=np.eye(4), labels=np.array(["a", "b", "a", "b"])),
        npz(features=np.arange(12, dtype=np.float16).reshape(6, 2), y=np.arange(6) % 2),
        npz(images=np.arange(300, dtype=np.uint8).reshape(4, 5, 5, 3), labels=np.array([0, 1, 0, 1])),
        npz(x=np.arange(64, dtype=np.uint8).reshape(4, 4, 4), label_names=np.array(NAMES), y=np.arange(4)),
        npz(texts=np.array(WORDS), labels=np.array(NAMES)),
        npz(labels=np.array([0, 1, 2, 1])),
        npz(items=np.array(7)),
    ]


def prediction_seeds() -> list[bytes]:
    """Predictions of 4 items and 3 classes."""
    rows = np.random.default_rng(0).dirichlet(np.ones(3), 4)
    return [npy(rows), npy(rows.astype(np.float32)), npz(predictions=rows), npz(predictions=np.eye(4, 3, dtype="u1"))]


def parquet_seeds() -> list[bytes]:
    """Pictures, texts, vectors; with several codecs, encodings and page versions."""
    images = {"image": [{"bytes": picture(shade), "path": "x"} for shade in range(3)], "label": [0, 1, 0]}
    vectors = {"features": [[1.0, 2.0], [3.0, 4.0]] * 5, "label": ["a", "b"] * 5}
    texts = {"text": list(WORDS) * 4, "label": list(NAMES) * 4}
    return [
        parquet(images, class_names=["cat", "dog"]),
        parquet({"image": images["image"]}, compression="gzip"),
        parquet(vectors, data_page_version="2.0", compression="zstd"),
        parquet(vectors, use_dictionary=False, compression="none", row_group_size=3),
        parquet(texts, compression="snappy"),
        parquet(texts, compression="brotli", data_page_size=64),
    ]


def zip_seeds() -> list[bytes]:
    """Class folders of pictures and of texts, and an unlabelled archive."""
    return [
        archive({"a/1.png": picture(), "b/2.gif": animation(), "b/3.jpg": picture(0, "JPEG")}),
        archive({f"{name}/{n}.txt": word.encode() for n, (name, word) in enumerate(zip(NAMES, WORDS, strict=True))}),
        archive({"1.png": picture(1), "2.webp": picture(2, "WEBP"), "3.tif": picture(3, "TIFF")}, 0),
    ]


def text_seeds(kind: str) -> list[bytes]:
    """`jsonl` or `csv`: labelled by names, by numbers, and unlabelled."""
    make = jsonl if kind == "jsonl" else table_csv
    return [make(WORDS, NAMES), make(WORDS, [0, 1] * 4), make(WORDS)]


def picture_seeds() -> list[bytes]:
    """Every format that is taken, some modes, and a picture that claims to be enormous."""
    kinds = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
    made = [picture(0, kind, (24, 17)) for kind in kinds]
    made += [picture(1, "PNG", (9, 9), mode) for mode in ("L", "P", "1", "RGBA", "LA")]
    made += [picture(2, "TIFF", (9, 9), mode) for mode in ("L", "CMYK", "F")]
    return [*made, animation(), claimed_png(30_000, 30_000), claimed_png(60, 60)]


def spoil_npz(seeds: list[Files], rng: Random) -> Files:
    """An archive with a spoilt array, or a spoilt archive; a bare array where the seed is one."""
    data = rng.choice(seeds)[SOURCE]
    others = [files[SOURCE] for files in seeds]
    if not data.startswith(b"PK"):
        return {SOURCE: _spoil_npy("", data, rng)}
    kind = rng.randrange(10)
    if kind == 0:
        return {SOURCE: noise(rng)}
    return {SOURCE: damaged(data, rng, others) if kind < 3 else spoilt_zip(data, rng, _spoil_npy)}


_DTYPES: Final = (
    "<f8", ">f4", "<f2", "|u1", "<i8", ">i4", "|b1", "<U3", ">U1", "<U0", "|S0", "|S9", "|O", "<M8[s]", "<c16", "|V8",
    "<U2147483647", "<f16", "|V0", "", "<f99", "O8", "i4,f8",
)  # fmt: skip
_SHAPES: Final = (
    (), (0,), (1,), (4,), (4, 4), (0, 0), (4, 0), (-1,), (2**63,), (2**31, 2**31), (2**62, 4), (10**9,), (4, 4, 3),
    (1,) * 40, (4, 1000, 1000, 3), (0, 2**40), (2**40, 0),
)  # fmt: skip


def _spoil_npy(name: str, data: bytes, rng: Random) -> bytes:
    kind = rng.randrange(6)
    if kind < 2 or not data.startswith(b"\x93NUMPY"):
        return damaged(data, rng)
    length = int.from_bytes(data[8:10], "little")
    header, body = data[10 : 10 + length].decode("latin1"), data[10 + length :]
    if kind == 2:
        header = repr({"descr": rng.choice(_DTYPES), "fortran_order": rng.random() < 0.3, "shape": rng.choice(_SHAPES)})
    elif kind == 3:
        header = header.replace("(", rng.choice(("(" * 5000, "(9**9**9, ", "(-", "[", "(1e3, ", "(True, ")), 1)
    elif kind == 4:
        header = damaged(header.encode("latin1"), rng).decode("latin1")
    else:
        body = damaged(body, rng)
    coded = header.encode("latin1") + b"\n"
    version = rng.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    width = 2 if version[0] == 1 else 4
    claimed = len(coded) if rng.random() < 0.9 else rng.choice((0, 2**16 - 1, 2**31, 2**32 - 1))
    return b"\x93NUMPY" + version + (claimed % 2 ** (8 * width)).to_bytes(width, "little") + coded + body


def spoil_parquet(seeds: list[Files], rng: Random) -> Files:
    """Damage anywhere, most often to the footer, which describes all the rest."""
    data = rng.choice(seeds)[SOURCE]
    others = [files[SOURCE] for files in seeds]
    kind = rng.randrange(6)
    if kind == 0:
        return {SOURCE: damaged(data, rng, others)}
    length = int.from_bytes(data[-8:-4], "little")
    pages, footer = data[: -8 - length], data[-8 - length : -8]
    if kind < 4:
        footer = damaged(footer, rng, others if kind == 1 else None)
    else:
        pages = data[:4] + damaged(pages[4:], rng)
    claimed = len(footer) if rng.random() < 0.9 else rng.choice((0, 1, 2**31 - 1, 2**32 - 1, len(data)))
    return {SOURCE: pages + footer + claimed.to_bytes(4, "little") + b"PAR1"}


def spoil_zip(seeds: list[Files], rng: Random) -> Files:
    """An archive with spoilt members, names or headers."""

    def inner(name: str, content: bytes, rng: Random) -> bytes:
        return _spoil_png(content, rng) if content.startswith(b"\x89PNG") else damaged(content, rng)

    data = rng.choice(seeds)[SOURCE]
    if rng.random() < 0.2:
        return {SOURCE: damaged(data, rng, [files[SOURCE] for files in seeds])}
    return {SOURCE: spoilt_zip(data, rng, inner)}


def spoil_jsonl(seeds: list[Files], rng: Random) -> Files:
    """Lines of spoilt objects among good ones, or damage."""
    data = rng.choice(seeds)[SOURCE]
    if rng.random() < 0.3:
        return {SOURCE: damaged(data, rng)}
    lines = data.splitlines()
    for _ in range(rng.choice((1, 1, 3))):
        place = rng.randrange(len(lines))
        lines[place] = text_of(spoilt(json.loads(data.splitlines()[place]), rng), rng)
    return {SOURCE: rng.choice((b"\n", b"\n", b"\r\n", b"\r", b"\n\n")).join(lines)[:LARGEST]}


_SEPARATORS: Final = ('"', '""', ",", "\n", "\r", "\x00", ";", "\t", "\ufeff", '"' * 999, "," * 3000, "a" * 200_000)


def spoil_csv(seeds: list[Files], rng: Random) -> Files:
    """Quotes, separators and odd text at any place; other encodings."""
    data = rng.choice(seeds)[SOURCE]
    text = data.decode("utf-8-sig")
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(text) + 1)
        text = text[:place] + rng.choice(_SEPARATORS + STRINGS) + text[place + rng.choice((0, 0, 1, 4)) :]
    encoding = rng.choice(("utf-8",) * 6 + ("utf-8-sig", "utf-16", "utf-32", "utf-16-le"))
    found = text.encode(encoding, "surrogatepass")
    return {SOURCE: damaged(found, rng) if rng.random() < 0.3 else found}


def spoil_picture(seeds: list[Files], rng: Random) -> Files:
    """Damage, extreme fields in the directories of TIFF and the chunks of PNG."""
    data = rng.choice(seeds)[SOURCE]
    if data.startswith(b"\x89PNG") and rng.random() < 0.7:
        return {SOURCE: _spoil_png(data, rng)}
    return {SOURCE: damaged(data, rng, [files[SOURCE] for files in seeds])}


def _spoil_png(data: bytes, rng: Random) -> bytes:
    """Chunks lost, doubled, in another order, with another kind or content; their sums are right mostly."""
    chunks: list[tuple[bytes, bytes]] = []
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(chunks)) if chunks else 0
        kind = rng.randrange(6)
        if not chunks or kind == 0:
            name = rng.choice(
                (b"iTXt", b"zTXt", b"iCCP", b"acTL", b"fcTL", b"fdAT", b"PLTE", b"tRNS", b"eXIf", b"gAMA")
            )
            chunks.insert(place, (name, rng.choice((b"", noise(rng), b"x\x00\x00" + zlib.compress(bytes(10**6))))))
        elif kind == 1:
            del chunks[place]
        elif kind == 2:
            chunks[place:place] = [chunks[place]] * rng.choice((1, 2, 300))
        elif kind == 3:
            rng.shuffle(chunks)
        else:
            chunks[place] = (chunks[place][0], damaged(chunks[place][1], rng))
    found = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        claimed = len(content) if rng.random() < 0.97 else rng.choice((0, 2**31, 2**32 - 1))
        checked = zlib.crc32(name + content) if rng.random() < 0.97 else 0
        found += claimed.to_bytes(4, "big") + name + content + checked.to_bytes(4, "big")
    return found[:LARGEST]
