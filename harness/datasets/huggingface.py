"""Image sets of Hugging Face ``datasets``: ``hf:NAME[@CONFIG][:SPLIT][?image=COLUMN&label=COLUMN]``.

``NAME`` may also be a folder written by ``save_to_disk``.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.backbones.sources.base import require
from harness.backbones.sources.hub import offline_if_unreachable
from harness.datasets import DATASETS, files
from harness.datasets.base import ImageRecord, ImageSet, PredefinedSplit, Reader
from harness.datasets.huggingface_columns import choose_columns, read_labels
from harness.datasets.huggingface_files import folders_of_downloaded, folders_of_saved, path_of_row, require_own_files
from harness.datasets.split_names import AmbiguousSplitsError, choose_splits, join, roles_of
from methods.errors import UserError, first_line


class ArrowReader(Reader):
    """Reader of encoded images of Hugging Face splits; a record's name is ``SPLIT/POSITION``."""

    def __init__(self, splits: dict[str, Any], column: str, folders: Sequence[Path]) -> None:
        self._splits = splits
        self._column = column
        self._folders = folders

    def read(self, record: ImageRecord) -> bytes:
        split, _, position = record.name.rpartition("/")
        try:
            image = self._splits[split][int(position)][self._column]
        except Exception as error:  # pyarrow's, of a damaged table
            raise OSError(f"the row cannot be read ({first_line(error)})") from error
        if image is None:
            raise OSError("the image is missing")
        # A row contains the bytes themselves, or the path of a file.
        data: bytes | None = image.get("bytes")
        return data if data is not None else files.read(path_of_row(image.get("path"), self._folders))


class _Spec(NamedTuple):
    """Parts of an identifier."""

    name: str
    """name with ``@CONFIG``, or a path"""
    split: str
    columns: dict[str, str]

    @classmethod
    def parse(cls, identifier: str) -> _Spec:
        """Divide an identifier into its parts.

        Raises:
            UserError: if it is empty, or what follows the question mark is not image=COLUMN or label=COLUMN.
        """
        before, _, query = identifier.partition("?")
        columns = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        valid = all(key in ("image", "label") and value for key, value in columns.items())
        if not valid or (query and not columns):
            raise UserError(
                f"hf:{identifier}: after the question mark give image=COLUMN, label=COLUMN, or both joined by &."
            )
        name, _, split = before.partition(":")
        if not name:
            raise UserError("hf: needs the name of a data set, as in hf:cifar10 or hf:OWNER/NAME:test.")
        return cls(name, split, columns)

    @property
    def title(self) -> str:
        """Return the identifier without the path of this machine."""
        name = Path(self.name).name if Path(self.name).expanduser().is_dir() else self.name
        query = urllib.parse.urlencode(self.columns)
        return name + (f":{self.split}" if self.split else "") + (f"?{query}" if query else "")


def load(identifier: str) -> ImageSet:
    """Load the data set ``NAME`` in its configuration ``CONFIG``: one ``SPLIT``, or the set with a predefined split.

    Without ``SPLIT``, the training split and the validation split, else the test split, are the predefined split, in
    any spelling that :mod:`harness.datasets.split_names` knows. A set with one split gives that, and so does a set
    whose evaluation labels are hidden. Columns are chosen as described at
    :func:`harness.datasets.huggingface_columns.choose_columns`.

    Raises:
        UserError: if ``datasets`` is missing, the set cannot be obtained, its splits or columns are ambiguous, it has
            no such split or column, or no images.
    """
    require("datasets", "datasets", f"hf:{identifier}")
    import datasets

    spec = _Spec.parse(identifier)
    loaded = _load(spec.name)
    splits = dict(loaded) if isinstance(loaded, dict) else {str(loaded.split or "train"): loaded}
    chosen, probing, notes = _choose(splits, spec)
    columns = choose_columns(next(iter(chosen.values())).features, spec.title, **spec.columns)
    classes, labels = read_labels(chosen, columns, spec.title)
    hidden = [name for name in chosen if name != probing and not any(label is not None for label in labels[name])]
    if probing and hidden and any(label is not None for label in labels[probing]):
        notes.append(f"The labels of {hidden[0]} are hidden: a part of {probing} is held out for evaluation.")
        chosen, probing = {probing: chosen[probing]}, None
    records: list[ImageRecord] = []
    encoded = {}
    for name, part in chosen.items():
        if columns.image not in part.features:
            raise UserError(f"The split {name!r} of the data set {spec.title!r} has no column {columns.image!r}.")
        encoded[name] = part.cast_column(columns.image, datasets.Image(decode=False)).select_columns([columns.image])
        for position, label in enumerate(labels[name]):
            # Zero-padded, so that sorting by name keeps the order.
            records.append(ImageRecord(f"{name}/{position:09d}", Path(f"{name}/{position:09d}"), label))
    if not records:
        raise UserError(f"The data set {identifier!r} has no images.")
    records.sort()
    predefined = PredefinedSplit.by_folder(records, probing) if probing else None
    reader = ArrowReader(encoded, columns.image, _folders(spec.name))
    return ImageSet(f"hf:{spec.title}", tuple(records), classes, reader, predefined, notes=(*notes, *columns.notes))


def _load(spec: str) -> Any:
    import datasets

    folder = Path(spec).expanduser()
    name, _, config = spec.partition("@")
    try:
        if folder.is_dir():
            require_own_files(folder)
            return datasets.load_from_disk(str(folder))
        with offline_if_unreachable():
            return datasets.load_dataset(name, config or None)
    except UserError:
        raise
    except Exception as error:  # the library and the hub clients raise their own, without a common base
        what, advice = "downloaded", "Without a network, use a folder written by save_to_disk, or folder:PATH."
        if folder.is_dir():
            what, advice = "read", "Give a folder written by save_to_disk; for class folders, use folder:PATH."
        raise UserError(f"The data set {spec!r} could not be {what} ({first_line(error)}). {advice}") from error


def _folders(spec: str) -> tuple[Path, ...]:
    """Return the folders of the files that rows may name."""
    folder = Path(spec).expanduser()
    return folders_of_saved(folder) if folder.is_dir() else folders_of_downloaded(spec.partition("@")[0])


def _choose(splits: dict[str, Any], spec: _Spec) -> tuple[dict[str, Any], str | None, list[str]]:
    """Return the splits to use in order, the name of the probing split of a predefined split, and notes."""
    if spec.split:
        if spec.split not in splits:
            raise UserError(f"The data set {spec.title!r} has no split {spec.split!r}. There are {', '.join(splits)}.")
        return {spec.split: splits[spec.split]}, None, []
    if len(splits) == 1:
        return splits, None, []
    several = f"The data set {spec.title!r} has several splits; name one: hf:NAME:SPLIT of {', '.join(splits)}."
    try:
        choice = choose_splits(roles_of(splits)) if roles_of(splits) else None
    except AmbiguousSplitsError as error:
        raise UserError(f"{several} Without a name, {error}.") from None
    if choice is None or choice.evaluation is None:
        raise UserError(several)
    used = (choice.probing, choice.evaluation)
    left_out = [name for name in splits if name not in used]
    notes = [f"Left out: {join(left_out)}. Used: {join(used)}."] if left_out else []
    return {name: splits[name] for name in used}, choice.probing, notes


DATASETS.add("hf", load, description="hf:NAME[@CONFIG][:SPLIT], Hugging Face datasets", requires=("datasets",))
