"""Parquet files as Hugging Face writes them: ``parquet:PATH``, a file, a folder of files, or a pattern with ``*``.

A column holds the encoded images, as bytes or as a structure with a field ``bytes``, and another one the labels. They
are read in place, a row group at a time. ``parquet:PATH?image=COLUMN&label=COLUMN`` chooses the columns.
"""

from __future__ import annotations

import json
import threading
import unicodedata
import urllib.parse
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.backbones.sources.base import require
from harness.datasets import DATASETS, files
from harness.datasets.base import ImageRecord, ImageSet, PredefinedSplit, Reader
from harness.datasets.contents_cache import Stamp
from harness.datasets.huggingface_columns import IMAGE_NAMES, LABEL_NAMES
from harness.datasets.shards import group_of, shard_files, splits_of
from harness.datasets.split_names import join
from methods.errors import UserError, first_line
from results.byte_sizes import size_text

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".parquet"
#: Largest row group, in bytes once it is decompressed: it is read as a whole.
LARGEST_GROUP = 2 << 30
#: Row groups that stay in memory: readers in several threads are near each other, at a border in two groups.
GROUPS_KEPT = 2
MOST_ROWS = 100_000_000

Label = int | str


class _Columns(NamedTuple):
    """Chosen columns of a file."""

    image: str
    is_structure: bool
    """True if the bytes are in a field of the image column"""
    label: str | None


class _File(NamedTuple):
    """Parquet file of the set."""

    path: Path
    columns: _Columns
    starts: np.ndarray
    """(n_groups + 1,) first row of each row group, and the number of rows"""


class RowReader(Reader):
    """Reader of the images in rows of parquet files; a record's name is ``FILE/ROW``."""

    def __init__(self, parts: Mapping[str, _File]) -> None:
        self._files = dict(parts)
        self._groups: OrderedDict[tuple[str, int], pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, record: ImageRecord) -> bytes:
        title, _, row = record.name.rpartition("/")
        part, position = self._files[title], int(row)
        number = int(np.searchsorted(part.starts, position, side="right")) - 1
        data = self._group(title, number)[position - int(part.starts[number])].as_py()
        if not data:
            raise OSError("the row holds no bytes of an image")
        if len(data) > files.LARGEST:
            raise OSError(f"{size_text(len(data))}, and at most {size_text(files.LARGEST)} are read")
        return bytes(data)

    def stamp(self, record: ImageRecord) -> Stamp | None:
        title, _, row = record.name.rpartition("/")
        of_file = Stamp.of(self._files[title].path)
        n_rows = int(self._files[title].starts[-1])
        return Stamp(f"{of_file.identity}|{row}", of_file.size // max(1, n_rows), of_file.changed)

    def _group(self, title: str, number: int) -> pa.ChunkedArray:
        """Return the encoded images of a row group; threads wait for the one that reads it."""
        key = title, number
        with self._lock:
            if key in self._groups:
                self._groups.move_to_end(key)
                return self._groups[key]
            part = self._files[title]
            try:
                self._groups[key] = _images_of(part, number)
            except Exception as error:  # pyarrow's, of a damaged file
                raise OSError(f"its row group cannot be read ({first_line(error)})") from error
            while len(self._groups) > GROUPS_KEPT:
                self._groups.popitem(last=False)
            return self._groups[key]


@dataclass(frozen=True)
class _Rows:
    """Rows of one file, as far as the set needs them before an image is read."""

    file: _File
    labels: list[Label | None]
    names: Sequence[str] | None
    """class names, if the file's metadata names those of the label column"""


def load(identifier: str) -> ImageSet:
    """Load the rows of parquet files. Only footers and labels are read.

    Files whose names differ in the word of a split (``train-00000-of-00008.parquet``, ``validation-...``), or that lie
    in folders named so, are the predefined split.

    Raises:
        UserError: if pyarrow is missing, there are no files, or no rows in them; if a file is damaged, or has no column
            of images; or if the columns or the names of splits are ambiguous.
    """
    require("pyarrow", "pyarrow", f"parquet:{identifier}")
    path, _, query = identifier.partition("?")
    wanted = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    if not path or any(key not in ("image", "label") or not value for key, value in wanted.items()):
        raise UserError(
            f"parquet:{identifier}: give a path, as in parquet:/data/train or parquet:/data/train-*.parquet, then if "
            "needed ?image=COLUMN, ?label=COLUMN, or both joined by &."
        )
    shards = shard_files(path, SUFFIX)
    groups = {title: group_of(title, SUFFIX) for title in shards}
    probing, left_out = splits_of(list(groups.values()), path)
    parts = {title: _rows(title, file, wanted) for title, file in shards.items() if groups[title] not in left_out}
    n_rows = sum(len(part.labels) for part in parts.values())
    if not 0 < n_rows <= MOST_ROWS:
        raise UserError(f"The {len(parts)} parquet files of {path!r} have {n_rows:,} rows: give 1 to {MOST_ROWS:,}.")
    classes, numbers = _classes(parts)
    records = tuple(
        ImageRecord(f"{title}/{row:09d}", Path(f"{title}/{row:09d}"), None if label is None else numbers[title][label])
        for title in sorted(parts)
        for row, label in enumerate(parts[title].labels)
    )
    split = None
    if probing is not None:
        trains = np.repeat(
            [groups[title] == probing for title in sorted(parts)], [len(parts[title].labels) for title in sorted(parts)]
        )
        split = PredefinedSplit(np.flatnonzero(trains), np.flatnonzero(~trains))
    reader = RowReader({title: part.file for title, part in parts.items()})
    name = f"parquet:{Path(path).name}{f'?{urllib.parse.urlencode(wanted)}' if wanted else ''}"
    notes = (*_notes(parts), *([f"Left out: {join(sorted(left_out))}."] if left_out else []))
    return ImageSet(name, records, classes, reader, split, notes=notes)


def _rows(title: str, path: Path, wanted: Mapping[str, str]) -> _Rows:
    """Read the footer and the labels of a file. Raises UserError."""
    import pyarrow.parquet as pq

    try:
        files.regular_size(path)
        with pq.ParquetFile(path) as file:
            columns = _chosen(title, file.schema_arrow, wanted)
            metadata = file.schema_arrow.metadata or {}
            groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        starts = np.cumsum([0, *(group.num_rows for group in groups)]).astype(np.int64)
        if any(group.total_byte_size > LARGEST_GROUP for group in groups):
            raise UserError(
                f"The parquet file {title!r} has a row group of more than {size_text(LARGEST_GROUP)}, which is read "
                "as a whole: write it with smaller row groups."
            )
        if starts[-1] > MOST_ROWS:
            raise UserError(f"The parquet file {title!r} has {starts[-1]:,} rows, and at most {MOST_ROWS:,} are read.")
        part = _File(path, columns, starts)
        labels: list[Label | None] = [None] * int(starts[-1])
        if columns.label is not None:
            labels = _labels(part, columns.label, title)
        names = _class_names(metadata, columns.label)
    except UserError:
        raise
    except Exception as error:  # pyarrow's, of a damaged file
        raise UserError(f"The parquet file {title!r} cannot be read ({first_line(error)}): get it again.") from error
    if names is not None and any(isinstance(label, int) and label >= len(names) for label in labels):
        raise UserError(f"The parquet file {title!r} has labels beyond its {len(names)} class names: correct the file.")
    return _Rows(part, labels, names)


def _chosen(title: str, schema: pa.Schema, wanted: Mapping[str, str]) -> _Columns:
    """Choose the columns of images and labels by type and name, or those that are wanted."""
    import pyarrow as pa

    fields = {field.name: field.type for field in schema}
    images = [name for name, kind in fields.items() if _holds_images(kind)]
    plain = [
        name
        for name, kind in fields.items()
        if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    ]
    for kind, suitable in (("image", images), ("label", plain)):
        if kind in wanted and wanted[kind] not in suitable:
            raise UserError(
                f"{wanted[kind]!r} is no {kind} column of the parquet file {title!r}. There are "
                f"{join(suitable) or 'none'}."
            )
    image = wanted.get("image") or _usual(images, IMAGE_NAMES, "image", title, fields)
    named = [name for name in plain if name.lower() in LABEL_NAMES]
    label = wanted.get("label") or min(named, key=lambda name: LABEL_NAMES.index(name.lower()), default=None)
    return _Columns(image, pa.types.is_struct(fields[image]), label)


def _holds_images(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        fields = {kind.field(number).name: kind.field(number).type for number in range(kind.num_fields)}
        return "bytes" in fields and _holds_images(fields["bytes"])
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _usual(columns: list[str], usual: tuple[str, ...], kind: str, title: str, fields: Mapping[str, Any]) -> str:
    if not columns:
        raise UserError(
            f"The parquet file {title!r} has no column of encoded images (bytes, or a structure with bytes): its "
            f"columns are {join(fields)}."
        )
    if len(columns) == 1:
        return columns[0]
    named = [name for name in columns if name.lower() in usual]
    if not named:
        raise UserError(
            f"The parquet file {title!r} has several {kind} columns ({join(columns)}): append ?{kind}={columns[0]}."
        )
    return min(named, key=lambda name: usual.index(name.lower()))


def _images_of(part: _File, number: int) -> pa.ChunkedArray:
    """Return the encoded images of a row group, bytes each.

    Values that repeat stay encoded: a small file may declare one large value a million times.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    image, is_structure, _ = part.columns
    leaf = f"{image}.bytes" if is_structure else image
    with pq.ParquetFile(part.path, read_dictionary=[leaf]) as file:
        column = file.read_row_group(number, columns=[leaf]).column(0)
    return pc.struct_field(column, "bytes") if is_structure else column


def _labels(part: _File, column: str, title: str) -> list[Label | None]:
    """Return the label of each row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(part.path, read_dictionary=[column]) as file:
        read = file.read(columns=[column]).column(0)
    labels: list[Label | None] = []
    for chunk in read.chunks:
        if pa.types.is_dictionary(chunk.type):
            values = [_label(value, column, title) for value in chunk.dictionary.to_pylist()]
            labels += [None if index is None else values[index] for index in chunk.indices.to_pylist()]
        else:
            labels += [_label(value, column, title) for value in chunk.to_pylist()]
    return labels


def _label(value: Any, column: str, title: str) -> Label | None:
    """Return a label; None if there is none, or a negative number."""
    if value is None or isinstance(value, int):
        return None if value is None or value < 0 else value
    text = unicodedata.normalize("NFC", str(value)).strip()
    if len(text) > 200 or not text.isprintable():
        raise UserError(
            f"The column {column!r} of the parquet file {title!r} has a value that is no short text: choose another "
            "one with ?label=COLUMN."
        )
    return text or None


def _class_names(metadata: Mapping[bytes, bytes], column: str | None) -> Sequence[str] | None:
    """Return the class names that Hugging Face's metadata has for the label column; None if there are none."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        return None
    normal = [unicodedata.normalize("NFC", name) for name in names]
    return normal if len(set(normal)) == len(normal) and all(name.isprintable() for name in normal) else None


def _classes(parts: Mapping[str, _Rows]) -> tuple[tuple[str, ...], dict[str, dict[Label, int]]]:
    """Return the classes of the set, and the number of each label in each file.

    Raises:
        UserError: if some files name their classes and others do not.
    """
    named = {title: part.names for title, part in parts.items() if part.names is not None}
    if len(named) == len(parts):
        classes = tuple(dict.fromkeys(name for names in named.values() for name in names))
        position = {name: number for number, name in enumerate(classes)}
        return classes, {
            title: {number: position[name] for number, name in enumerate(names)} for title, names in named.items()
        }
    if named:
        without = next(title for title in parts if title not in named)
        raise UserError(
            f"The parquet file {next(iter(named))!r} names its classes, and {without!r} does not: give files of one "
            "data set."
        )
    distinct = sorted(
        {label for part in parts.values() for label in part.labels if label is not None},
        key=lambda label: (isinstance(label, str), label),
    )
    position_of: dict[Label, int] = {label: number for number, label in enumerate(distinct)}
    return tuple(map(str, distinct)), dict.fromkeys(parts, position_of)


def _notes(parts: Mapping[str, _Rows]) -> Iterator[str]:
    columns = next(iter(parts.values())).file.columns
    yield f"Images: column {columns.image}; labels: {f'column {columns.label}' if columns.label else 'none'}."


DATASETS.add(
    "parquet", load, description="parquet:PATH, parquet files of encoded images and labels", requires=("pyarrow",)
)
