"""Files of data inside installed packages and packed archives, read without unpacking them.

`package:NAME/PATH` is a file of an installed package, and a path may go on inside an archive:
`data/study.zip/tables/ratings.csv`, `package:corpus/all.tar.gz/all/train.jsonl`.
"""

import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from polyalign.data.packages import PACKAGE, resolve
from polyalign.errors import InputError

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
"""Endings of archives that paths may go on inside of."""


def file_of(source: str | Path) -> Path:
    """The file on disk that `source` is read from: itself, or the archive that it is packed in.

    It need not exist.

    Raises:
        InputError: if its package is not installed.
    """
    return _divided(source)[0]


def is_packed(source: str | Path) -> bool:
    """Whether `source` is more than a path on disk: a file of a package, or one in an archive.

    Raises:
        InputError: if its package is not installed.
    """
    return str(source).startswith(PACKAGE) or bool(_divided(source)[1])


def opened(source: str | Path) -> BinaryIO:
    """The bytes of a file, of a package's file, or of a file inside an archive.

    An archive in an archive is opened too.

    Raises:
        InputError: if the package is not installed, or an archive cannot be read or has no such
            file.
        OSError: if the file on disk cannot be opened.
    """
    file, inside = _divided(source)
    if str(source).startswith(PACKAGE) and not file.is_file():
        raise InputError(
            f"{source}: the package has no such file; expected one of its files, of which "
            f"{file.parent.name} holds {_listed(entry.name for entry in _beside(file))}: correct "
            "the path"
        )
    if not inside:
        return file.open("rb")
    content, name = file.read_bytes(), file.name
    while inside:
        member, inside = _first(inside)
        content, name = _member(content, name, member, str(source)), member
    return io.BytesIO(content)


def _divided(source: str | Path) -> tuple[Path, str]:
    """The file on disk, and the path inside it if it is an archive that `source` goes on in."""
    path = Path(resolve(str(source)))
    for archive in path.parents:
        if archive.name.endswith(ARCHIVES) and archive.is_file():
            return archive, path.relative_to(archive).as_posix()
    return path, ""


def _first(inside: str) -> tuple[str, str]:
    """A path inside an archive up to the first archive in it, and the rest."""
    path = PurePosixPath(inside)
    for archive in reversed(path.parents):
        if archive.name.endswith(ARCHIVES):
            return str(archive), str(path.relative_to(archive))
    return inside, ""


def _member(content: bytes, name: str, member: str, source: str) -> bytes:
    """The bytes of one file of an archive."""
    try:
        if name.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                names = packed.namelist()
                if member in names:
                    return packed.read(member)
        else:
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                names = archive.getnames()
                found = archive.extractfile(member) if member in names else None
                if found is not None:
                    return found.read()
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as fault:
        raise InputError(
            f"{source}: {name} cannot be unpacked ({fault}); expected an archive "
            f"({', '.join(ARCHIVES)}): download it again"
        ) from fault
    near = [one for one in names if one.rpartition("/")[2] == member.rpartition("/")[2]] or names
    raise InputError(
        f"{source}: {name} holds no file {member!r}; expected one of its files, such as "
        f"{_listed(near)}: correct the path"
    )


def _beside(file: Path) -> list[Path]:
    return list(file.parent.iterdir()) if file.parent.is_dir() else []


def _listed(names: Iterable[str]) -> str:
    """The first names in alphabetical order."""
    return ", ".join(sorted(names)[:5]) or "nothing"
