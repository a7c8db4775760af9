"""Tar shards as WebDataset writes them: ``webdataset:PATH``, a shard, a folder of shards, or a pattern with ``*``.

The members of a sample have one name and several suffixes: ``00012.jpg`` with ``00012.cls`` (a number or a class name)
or ``00012.json``. They are read in place; nothing is extracted.
"""

from __future__ import annotations

import errno
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.datasets import DATASETS, files
from harness.datasets.base import ImageRecord, ImageSet, PredefinedSplit, Reader
from harness.datasets.contents_cache import Stamp
from harness.datasets.folders.image_files import readable_suffixes, why_skipped
from harness.datasets.shards import as_text, group_of, shard_files, splits_of
from harness.datasets.split_names import join
from harness.datasets.tar_index import Member, members
from methods.errors import UserError

#: Largest text with a label, in bytes.
LARGEST_LABEL, LARGEST_JSON = 1 << 10, 1 << 20
#: Keys of a sample's JSON object that hold its label, the first one that is there.
LABEL_KEYS = ("label", "cls", "class", "class_name")
_LONGEST_NAME = 1000

Label = int | str


class _Location(NamedTuple):
    """Bytes of one member."""

    shard: Path
    offset: int
    size: int


class ShardReader(Reader):
    """Reader of members of tar files; a record's name is ``SHARD/MEMBER``."""

    def __init__(self, locations: Mapping[str, _Location]) -> None:
        self._locations = locations

    def read(self, record: ImageRecord) -> bytes:
        return _read(self._locations[record.name], files.LARGEST)

    def head(self, record: ImageRecord, count: int) -> bytes:
        location = self._locations[record.name]
        return _read(location._replace(size=min(count, location.size)), files.LARGEST)

    def size(self, record: ImageRecord) -> int:
        return self._locations[record.name].size

    def stamp(self, record: ImageRecord) -> Stamp | None:
        location = self._locations[record.name]
        of_shard = Stamp.of(location.shard)
        return Stamp(f"{of_shard.identity}|{location.offset}", location.size, of_shard.changed)


def load(identifier: str) -> ImageSet:
    """Load the samples of tar shards. Only headers and labels are read.

    Shards whose names differ in the word of a split (``in1k-train-0007.tar``, ``in1k-val-0001.tar``), or that lie in
    folders named so, are the predefined split.

    Raises:
        UserError: if there are no shards, or no images in them; if an archive is damaged or compressed; or if the
            names of splits are ambiguous.
    """
    if not identifier:
        raise UserError("webdataset: needs a path, as in webdataset:/data/shards or webdataset:/data/train-*.tar.")
    shards = shard_files(identifier, ".tar")
    probing, left_out = splits_of([_group(title) for title in shards], identifier)
    index = _Index()
    for title, shard in shards.items():
        if _group(title) not in left_out:
            index.add(title, shard)
    if not index.locations:
        reason = next((f": {name} is skipped ({why})" for name, why in index.skipped.items()), "")
        raise UserError(f"The {len(shards)} tar files of {identifier!r} hold no images that can be read{reason}.")
    distinct = sorted({label for label in index.labels.values() if label is not None}, key=_order)
    number = {label: position for position, label in enumerate(distinct)}
    names = sorted(index.locations)
    labels = (index.labels[name] for name in names)
    records = tuple(
        ImageRecord(name, Path(name), None if label is None else number[label])
        for name, label in zip(names, labels, strict=True)
    )
    split = None
    if probing is not None:
        training = {shard for title, shard in shards.items() if _group(title) == probing}
        trains = np.array([index.locations[name].shard in training for name in names])
        split = PredefinedSplit(np.flatnonzero(trains), np.flatnonzero(~trains))
    return ImageSet(
        f"webdataset:{Path(identifier).name}",
        records,
        tuple(map(str, distinct)),
        ShardReader(index.locations),
        split,
        skipped=index.skipped,
        notes=(*([f"Left out: {join(sorted(left_out))}."] if left_out else []), *index.notes()),
    )


def _group(title: str) -> str:
    return group_of(title, ".tar")


def _order(label: Label) -> tuple[bool, Label]:
    return isinstance(label, str), label


@dataclass
class _Index:
    """Images of the shards read so far."""

    locations: dict[str, _Location] = field(default_factory=dict)
    labels: dict[str, Label | None] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    """suffixes of the members that are neither images nor labels"""
    _readable: frozenset[str] = field(default_factory=readable_suffixes)

    def notes(self) -> Iterator[str]:
        if self.others:
            yield f"{self.others.total()} other members ignored ({join(self.others)})."

    def add(self, title: str, shard: Path) -> None:
        """Add the images of a shard."""
        images: dict[str, str] = {}
        texts: dict[str, dict[str, _Location]] = {}
        for member in members(shard, title):
            name = f"{title}/{as_text(member.name)}"
            key, suffix = _parts(name)
            if suffix in (".cls", ".json"):
                if member.problem is None:
                    texts.setdefault(key, {})[suffix] = _Location(shard, member.offset, member.size)
            elif suffix not in self._readable:
                if reason := why_skipped(f"x{suffix}", self._readable):
                    self.skipped[name] = reason
                else:
                    self.others[suffix or "no suffix"] += 1
            elif reason := _problem(member) or ("its sample has another image" if key in images else None):
                self.skipped.setdefault(name, reason)
            else:
                images[key] = name
                self.locations[name] = _Location(shard, member.offset, member.size)
        for key, name in images.items():
            try:
                self.labels[name] = _label(texts.get(key, {}))
            except (OSError, ValueError, RecursionError) as error:
                self.skipped[name] = f"its label cannot be read ({getattr(error, 'strerror', None) or error})"
                del self.locations[name]


def _parts(name: str) -> tuple[str, str]:
    """Return the key of a member's sample and its suffix: from the first dot of the file name on, in lower case."""
    folder, _, file = name.rpartition("/")
    stem, dot, suffix = file.partition(".")
    return f"{folder}/{stem}", f"{dot}{suffix}".lower()


def _problem(member: Member) -> str | None:
    """Return why a member is left out, or None."""
    if member.problem is not None:
        return member.problem
    if len(member.name) > _LONGEST_NAME:
        return "its name is too long"
    if member.name.startswith("/") or ".." in member.name.split("/") or not member.name.isprintable():
        return "its name leads out of the archive or cannot be printed"
    return None


def _label(texts: Mapping[str, _Location]) -> Label | None:
    """Return the label of a sample, from ``.cls`` or else ``.json``; None if it has none or a negative number.

    Raises:
        ValueError: if it is neither a number nor a short text.
    """
    if (location := texts.get(".cls")) is not None:
        return _plain(_read(location, LARGEST_LABEL).decode())
    if (location := texts.get(".json")) is None:
        return None
    values = json.loads(_read(location, LARGEST_JSON))
    if not isinstance(values, dict):
        raise ValueError("the JSON text is no object")
    return next((_plain(values[key]) for key in LABEL_KEYS if values.get(key) is not None), None)


def _plain(value: object) -> Label | None:
    if isinstance(value, str):
        text = unicodedata.normalize("NFC", value).strip()
        if not re.fullmatch(r"-?[0-9]{1,9}", text):
            if len(text) > 200 or not text.isprintable():
                raise ValueError("it is no number and no short text")
            return text or None
        value = int(text)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 10**9:
        raise ValueError("it is no number and no short text")
    return value if value >= 0 else None


def _read(location: _Location, largest: int) -> bytes:
    """Return the bytes of a member; raises OSError if there are more than ``largest``, or fewer than declared."""
    if location.size > largest:
        raise OSError(errno.EFBIG, f"{location.size} bytes, and at most {largest} are read")
    with files.open_regular(location.shard) as file:
        file.seek(location.offset)
        data = file.read(location.size)
    if len(data) != location.size:
        raise OSError(errno.EIO, "the archive has become shorter")
    return data


DATASETS.add("webdataset", load, description="webdataset:PATH, tar shards of name.jpg with name.cls or name.json")
