"""Image sets of Hugging Face ``datasets``: ``hf:NAME[@CONFIG][:SPLIT]``, or a folder written by ``save_to_disk``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.backbones.sources.base import require
from harness.backbones.sources.hub import offline_if_unreachable
from harness.datasets import DATASETS
from harness.datasets.base import ImageRecord, ImageSet, PredefinedSplit, Reader
from methods.errors import UserError, first_line

_EVALUATION_SPLITS = ("validation", "val", "valid", "test")


class ArrowReader(Reader):
    """Reader of encoded images of Hugging Face splits; a record's name is ``SPLIT/POSITION``."""

    def __init__(self, splits: dict[str, Any], column: str) -> None:
        self._splits = splits
        self._column = column

    def read(self, record: ImageRecord) -> bytes:
        split, _, position = record.name.rpartition("/")
        image = self._splits[split][int(position)][self._column]
        if image is None:
            raise OSError("the image is missing")
        # A row contains the bytes themselves, or the path of a file.
        return image["bytes"] if image.get("bytes") is not None else Path(image["path"]).read_bytes()


def load(identifier: str) -> ImageSet:
    """Load the data set ``NAME`` in its configuration ``CONFIG``: one ``SPLIT``, or the set with a predefined split.

    Without ``SPLIT``, ``train`` and the first existing one of validation, val, valid and test are the predefined split;
    a set with one split gives that. The image column is the first of type Image, the label column the first of type
    ClassLabel.

    Raises:
        UserError: if ``datasets`` is missing, the set cannot be obtained, it has no such split, several splits of
            other names, no image column, or no images.
    """
    require("datasets", "datasets", f"hf:{identifier}")
    import datasets

    if not identifier:
        raise UserError("hf: needs the name of a data set, as in hf:cifar10 or hf:OWNER/NAME:test.")
    spec, _, wanted = identifier.partition(":")
    loaded = _load(spec)
    splits = dict(loaded) if isinstance(loaded, dict) else {str(loaded.split or "train"): loaded}
    chosen, probing = _choose(splits, wanted, identifier)
    features = next(iter(chosen.values())).features
    column = next((name for name, kind in features.items() if isinstance(kind, datasets.Image)), None)
    if column is None:
        raise UserError(f"The data set {identifier!r} has no image column: its columns are {', '.join(features)}.")
    label = next((name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)), None)
    classes = tuple(features[label].names) if label else ()
    records: list[ImageRecord] = []
    encoded = {}
    for name, part in chosen.items():
        encoded[name] = part.cast_column(column, datasets.Image(decode=False)).select_columns([column])
        numbers = part.select_columns([label])[:][label] if label else [None] * len(part)
        for position, number in enumerate(numbers):
            # Zero-padded, so that sorting by name keeps the order. Test splits with hidden labels use -1.
            known_label = int(number) if number is not None and number >= 0 else None
            records.append(ImageRecord(f"{name}/{position:09d}", Path(f"{name}/{position:09d}"), known_label))
    if not records:
        raise UserError(f"The data set {identifier!r} has no images.")
    records.sort()
    predefined = PredefinedSplit.by_folder(records, probing) if probing else None
    name = Path(spec).name if Path(spec).expanduser().is_dir() else spec
    suffix = f":{wanted}" if wanted else ""
    return ImageSet(f"hf:{name}{suffix}", tuple(records), classes, ArrowReader(encoded, column), predefined)


def _load(spec: str) -> Any:
    import datasets

    folder = Path(spec).expanduser()
    name, _, config = spec.partition("@")
    try:
        if folder.is_dir():
            return datasets.load_from_disk(str(folder))
        with offline_if_unreachable():
            return datasets.load_dataset(name, config or None)
    except Exception as error:  # the library and the hub clients raise their own, without a common base
        what = "read" if folder.is_dir() else "downloaded"
        raise UserError(
            f"The data set {spec!r} could not be {what} ({first_line(error)}). "
            "Without a network, use a folder written by save_to_disk, or folder:PATH."
        ) from error


def _choose(splits: dict[str, Any], wanted: str, identifier: str) -> tuple[dict[str, Any], str | None]:
    """Return the splits to use, in order, and the name of the probing split if they are a predefined split."""
    if wanted:
        if wanted not in splits:
            raise UserError(f"The data set {identifier!r} has no split {wanted!r}. There are {', '.join(splits)}.")
        return {wanted: splits[wanted]}, None
    evaluation = next((name for name in _EVALUATION_SPLITS if name in splits), None)
    if "train" in splits and evaluation:
        return {name: splits[name] for name in ("train", evaluation)}, "train"
    if len(splits) == 1:
        return splits, None
    raise UserError(f"The data set {identifier!r} has several splits; name one: hf:NAME:SPLIT of {', '.join(splits)}.")


DATASETS.add("hf", load, description="hf:NAME[@CONFIG][:SPLIT], Hugging Face datasets", requires=("datasets",))
