"""A zip of class folders: `cat/1.png`, `dog/2.png`; pictures or `.txt` files. Files at the top are unlabelled."""

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from service.state.errors import InvalidProbe, TooLarge
from service.state.settings import Settings

from .archive import exactly, member, opened
from .items import Item, RawItem, Stream

_PICTURES: Final = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_IGNORED: Final = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


def read(source: Path, settings: Settings) -> Stream:
    """Open an archive. See `service.ingest.items.Reader`."""
    with opened(source, settings, "zip") as archive:
        members = [(_checked_path(info, settings), info.filename) for info in archive.infolist() if not info.is_dir()]
    members = [(path, name) for path, name in members if not _is_ignored(path)]
    if not members:
        raise InvalidProbe("the archive has no file. Put the items into one folder a class: cat/1.png, dog/2.png")
    endings = {path.suffix.lower() for path, _ in members}
    if endings <= set(_PICTURES):
        modality = "image"
    elif endings == {".txt"}:
        modality = "text"
    else:
        odd = next(path for path, _ in members if path.suffix.lower() not in _PICTURES)
        raise InvalidProbe(
            f"{str(odd)!r} does not fit: an archive holds either pictures ({', '.join(_PICTURES)}) or .txt files"
        )
    while len({path.parts[0] for path, _ in members}) == 1 and all(len(path.parts) > 2 for path, _ in members):
        members = [(PurePosixPath(*path.parts[1:]), name) for path, name in members]
    depths = {len(path.parts) for path, _ in members}
    if depths not in ({1}, {2}):
        raise InvalidProbe(
            "the files must lie in one folder a class (labelled) or all at the top (unlabelled); this archive mixes "
            f"depths, as in {str(max(members, key=lambda m: len(m[0].parts))[0])!r}"
        )
    labelled = depths == {2}
    members.sort(key=lambda entry: str(entry[0]))
    names = sorted({path.parts[0] for path, _ in members}) if labelled else None
    return Stream(modality, labelled, _items(source, settings, members, modality), label_names=names)


def _checked_path(info: zipfile.ZipInfo, settings: Settings) -> PurePosixPath:
    path = PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in info.filename or (path.parts and ":" in path.parts[0]):
        raise InvalidProbe(
            f"the archive has the path {info.filename!r}, which leads outside (absolute, `..`); rebuild it"
        )
    if (info.external_attr >> 16) & 0o170000 == 0o120000:
        raise InvalidProbe(f"{info.filename!r} is a symbolic link; put the file itself into the archive")
    if info.file_size > settings.max_item_bytes:
        raise TooLarge(f"{info.filename!r} has {info.file_size:,} bytes; at most {settings.max_item_bytes:,} are taken")
    return path


def _is_ignored(path: PurePosixPath) -> bool:
    return any(part in _IGNORED or part.startswith("._") for part in path.parts)


def _items(source: Path, settings: Settings, members: list[tuple[PurePosixPath, str]], modality: str) -> Iterator[Item]:
    with opened(source, settings, "zip") as archive:
        for path, name in members:
            info = archive.getinfo(name)
            with member(archive, info) as file:
                data = exactly(file, info.file_size, repr(name))
                if file.read(1):
                    raise InvalidProbe(f"{name!r} is larger than the archive says; rebuild it")
            content: RawItem = data
            if modality == "text":
                try:
                    content = data.decode("utf-8-sig")
                except UnicodeDecodeError as error:
                    raise InvalidProbe(f"{name!r} is not UTF-8; save it as UTF-8") from error
            yield Item(content, path.parts[0] if len(path.parts) == 2 else None, repr(name))
