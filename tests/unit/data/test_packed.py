"""Files inside packages and archives are read as if they lay on the disk."""

import gzip
import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from polyalign.data.packed import file_of, is_packed
from polyalign.data.preferences import read_pairs
from polyalign.data.prompts import source_prompts
from polyalign.data.tables import read_table
from polyalign.errors import InputError

ROWS = [{"prompt": f"How is tea {n} brewed?", "chosen": "So.", "rejected": "No."} for n in range(3)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def tarred(files: dict[str, bytes], mode: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A package `teatexts` with a table of each format and archives of them."""
    site = tmp_path_factory.mktemp("site")
    folder = site / "teatexts"
    folder.mkdir()
    (folder / "__init__.py").touch()
    frame = pd.DataFrame(ROWS)
    files = {
        "t.jsonl": LINES,
        "t.jsonl.gz": gzip.compress(LINES),
        "t.json": json.dumps(ROWS).encode(),
        "t.csv": frame.to_csv(index=False).encode(),
        "t.parquet": frame.to_parquet(index=False),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    inner = {f"in/{name}": content for name, content in files.items()}
    (folder / "all.tar.gz").write_bytes(tarred(inner, "w:gz"))
    (folder / "all.tar").write_bytes(tarred(inner, "w"))
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        for name, content in inner.items():
            archive.writestr(name, content)
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for name, content in inner.items():
            archive.writestr(name, content)
        deeper = {**inner, "more/all.zip": zipped.getvalue()}
        archive.writestr("deep/all.tar.gz", tarred(deeper, "w:gz"))
    sys.path.insert(0, str(site))
    yield folder
    sys.path.remove(str(site))


PLACES = (
    "",
    "all.tar/in/",
    "all.tar.gz/in/",
    "all.zip/in/",
    "all.zip/deep/all.tar.gz/in/",
    "all.zip/deep/all.tar.gz/more/all.zip/in/",
)


@pytest.mark.parametrize("place", PLACES)
def test_tables_prompts_and_pairs_are_read_from_packages_and_archives(package: Path, place: str):
    expected = pd.DataFrame(ROWS)
    for name in ("t.jsonl", "t.json", "t.csv", "t.parquet"):
        for source in (f"package:teatexts/{place}{name}", f"{package}/{place}{name}"):
            pd.testing.assert_frame_equal(read_table(source), expected)
            assert source_prompts(source, "test", seed=0).texts == list(expected["prompt"])
            on_disk = package / (place.partition("/")[0] if place else name)
            assert file_of(source) == on_disk
            assert is_packed(source) == (source.startswith("package:") or bool(place))
    for name in ("t.jsonl", "t.jsonl.gz"):
        source = f"package:teatexts/{place}{name}"
        found = read_pairs(source).frame[list(expected)].astype(expected.dtypes)
        pd.testing.assert_frame_equal(found, expected)
        assert source_prompts(source, "test", seed=0).texts == list(expected["prompt"])


def test_what_is_not_there_is_said_in_a_sentence(package: Path):
    for source, message in {
        "package:coffeetexts/t.csv": "no package 'coffeetexts' is installed",
        "package:teatexts/x.csv": "no such table",
        "package:teatexts/all.zip/in/x.csv": "all.zip holds no file 'in/x.csv'; .* in/t.csv,",
        "package:teatexts/all.zip/out/t.csv": "no file 'out/t.csv'; .* such as in/t.csv: correct",
    }.items():
        with pytest.raises(InputError, match=message):
            read_table(source)
    with pytest.raises(InputError, match=r"the package has no such file; .* teatexts holds"):
        list(source_prompts("package:teatexts/x.jsonl", "test", seed=0).texts)
    (package / "broken.zip").write_bytes(b"PK no")
    with pytest.raises(InputError, match=r"broken\.zip cannot be unpacked"):
        read_table("package:teatexts/broken.zip/t.csv")
