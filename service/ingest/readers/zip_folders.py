"""A zip of class folders: `cat/1.png`, `dog/2.png`; pictures or `.txt` files. Files at the top are unlabelled."""

import contextlib
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from service.core.errors import InvalidProbe, TooLarge, UnsupportedType
from service.core.settings import Settings

from ..items import Item, RawItem, RawLabel, Stream, shown
from .text_encoding import decoded, looks_like
from .zip_archive import exactly, member, opened

_PICTURES: Final = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp",
    ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
)  # fmt: skip
_IGNORED: Final = frozenset(
    (
        "__macosx", "@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "recycler",
        "system volume information", "lost+found", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
    )
)  # fmt: skip
"""What systems and tools leave in folders, in lower case: macOS, Windows, Synology, QNAP, Linux, Python."""
_TOOLS: Final = frozenset((".ipynb_checkpoints", ".git", ".cache", ".idea", ".vscode", ".Trashes", ".thumbnails"))
_MOST_HIDDEN: Final = 100
_ARCHIVES: Final = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
_PICKLES: Final = (".pkl", ".pickle", ".pt", ".pth")
_UTF8_NAME: Final = 0x800
_UNIX: Final = 3


class _File(NamedTuple):
    """Texts alone: there may be very many, and a `ZipInfo` or a path takes ten times their memory."""

    path: str
    member: str

    @property
    def folders(self) -> int:
        return self.path.count("/")

    @property
    def top(self) -> str:
        return self.path.partition("/")[0]


def read(source: Path, settings: Settings) -> Stream:
    """Open an archive. See `service.ingest.items.Reader`."""
    files, hidden = _files(source, settings)
    if not files:
        raise InvalidProbe("the archive has no file. Put the items into one folder a class: cat/1.png, dog/2.png")
    text = _holds_texts(files)
    while all(file.folders > 1 for file in files) and len({file.top for file in files}) == 1:
        files = [_File(file.path.partition("/")[2], file.member) for file in files]
    depths = {file.folders for file in files}
    if depths not in ({0}, {1}):
        raise InvalidProbe(
            "the files must lie in one folder a class (labelled) or all at the top (unlabelled), and "
            f"{shown(max(files, key=lambda file: file.folders).path)} lies "
            f"{max(depths)} folders deep{' while others lie higher' if len(depths) > 1 else ''}"
        )
    labelled = depths == {1}
    if labelled and len({file.top for file in files}) == 1:
        raise InvalidProbe(
            f"all files lie in one folder, {shown(files[0].top)}. Make one folder a class, at least two; for "
            "an unlabelled probe put the files at the top of the archive"
        )
    files.sort()

    def labels() -> Iterator[tuple[RawLabel, str]]:
        for file in files:
            yield file.top, shown(file.path)

    items = _items(source, settings, files, text=text, labelled=labelled)
    warnings = [f"the folder {shown(name)} was passed over: its name begins with a dot" for name in sorted(hidden)[:5]]
    return Stream("text" if text else "image", items, labels if labelled else None, folders=True, warnings=warnings)


def _files(source: Path, settings: Settings) -> tuple[list[_File], set[str]]:
    """The items of an archive, and hidden folders that were passed over, but for those of known tools."""
    with opened(source, settings, "zip") as archive:
        infos = archive.infolist()
    files: list[_File] = []
    hidden: set[str] = set()
    for info in infos:
        path = _checked_path(info)
        if info.is_dir():
            continue
        if _is_ignored(path):
            hidden.update(part for part in path.parts[:-1] if part.startswith(".") and len(hidden) < _MOST_HIDDEN)
            continue
        if info.file_size > settings.max_item_bytes:
            raise TooLarge(
                f"{shown(str(path))} has {info.file_size:,} bytes; at most {settings.max_item_bytes:,} are taken for "
                "one item"
            )
        files.append(_File(str(path), info.filename))
        if len(files) > settings.max_probe_items:
            raise TooLarge(f"the archive has more than {settings.max_probe_items:,} items; send a smaller sample")
    return files, hidden - _TOOLS


def _checked_path(info: zipfile.ZipInfo) -> PurePosixPath:
    name = info.filename
    if not info.flag_bits & _UTF8_NAME:
        with contextlib.suppress(UnicodeError):  # some archivers write UTF-8 without saying so
            name = name.encode("cp437").decode("utf-8")
    if "\\" in name:
        raise InvalidProbe(f"{shown(name)}: folders must be separated by `/`, not by a backslash; rebuild the archive")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:/", name):
        raise InvalidProbe(f"{shown(name)} leads outside the archive (an absolute path, or `..`); rebuild the archive")
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == _UNIX else 0
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a symbolic link" if kind == stat.S_IFLNK else "not an ordinary file"
        raise InvalidProbe(f"{shown(name)} is {what}; put the file itself into the archive")
    return path


def _is_ignored(path: PurePosixPath) -> bool:
    """Whether a file or a folder above it is hidden, or is left there by a system or a tool."""
    return not path.parts or any(
        part.startswith((".", "~$")) or part.rstrip(" ").lower() in _IGNORED for part in path.parts
    )


def _holds_texts(files: list[_File]) -> bool:
    kinds: dict[str, int] = {}
    for path, _ in files:
        ending = PurePosixPath(path).suffix.lower()
        kind = "picture" if ending in _PICTURES else "text" if ending == ".txt" else "other"
        kinds[kind] = kinds.get(kind, 0) + 1
        if kind == "other":
            if ending in _ARCHIVES:
                raise InvalidProbe(f"{shown(path)} is an archive inside the archive; unpack it first")
            if ending in _PICKLES:
                raise UnsupportedType(
                    f"{shown(path)} is a pickle, which can run code when it is loaded, and none is ever loaded. "
                    "An archive holds pictures or .txt files"
                )
            raise InvalidProbe(
                f"{shown(path)} does not fit: an archive holds either pictures ({', '.join(_PICTURES)}) or .txt "
                "files. Remove it"
            )
    if len(kinds) > 1:
        pictures, texts = kinds["picture"], kinds["text"]
        fewer = _first(files, text=texts <= pictures)
        raise InvalidProbe(
            f"the archive mixes {pictures:,} pictures and {texts:,} texts; a probe holds one kind. The first "
            f"{'text' if texts <= pictures else 'picture'} is {shown(fewer)}: remove all of its kind"
        )
    return "text" in kinds


def _first(files: list[_File], *, text: bool) -> str:
    return next(path for path, _ in files if (PurePosixPath(path).suffix.lower() == ".txt") is text)


def _items(source: Path, settings: Settings, files: list[_File], *, text: bool, labelled: bool) -> Iterator[Item]:
    with opened(source, settings, "zip") as archive:
        for entry in files:
            where = shown(entry.path)
            info = archive.getinfo(entry.member)
            with member(archive, info) as file:
                data = exactly(file, info.file_size, where)
            content: RawItem = data
            if text:
                try:
                    content = decoded(data)
                except UnicodeDecodeError as error:
                    raise InvalidProbe(
                        f"{where} is not UTF-8 (byte {error.start}); {looks_like(error)}. Save it as UTF-8"
                    ) from error
            yield Item(content, entry.top if labelled else None, where)
