"""Parquet files, read in place; a file of somebody else is refused in one sentence, or read as far as it is right."""

from __future__ import annotations

import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from harness import datasets
from harness.datasets import parquet
from harness.datasets.base import BrokenImageError, ImageSet
from harness.datasets.loading import BrokenReport, batches
from methods.errors import UserError


def picture(level: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (9, 7), (level,) * 3).save(data, "PNG")
    return data.getvalue()


def structures(images: list[bytes | None]) -> pa.Array:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([None if data is None else {"bytes": data, "path": "x.png"} for data in images], kind)


def write(path: Path, start: int, stop: int, *, names: list[str] | None = None, rows: int = 3, **columns: Any) -> Path:
    """Write rows ``start`` to ``stop`` as Hugging Face does; ``columns`` replace those of images and labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = range(start, stop)
    values = {
        "image": structures([picture(number) for number in numbers]),
        "label": pa.array([number % 3 for number in numbers], pa.int64()),
        **columns,
    }
    table = pa.table({name: column for name, column in values.items() if column is not None})
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=rows)
    return path


def load(path: Path, query: str = "") -> ImageSet:
    return datasets.load(f"parquet:{path}{query}")


def levels(images: ImageSet, report: BrokenReport | None = None) -> list[int]:
    report = BrokenReport() if report is None else report
    pixels = batches(images, lambda image, _: torch.tensor(image.getpixel((0, 0))), batch_size=4, report=report)
    return [int(level) for batch in pixels for level in batch.images[:, 0]]


def test_files_are_one_set(tmp_path: Path) -> None:
    write(tmp_path / "data-00000-of-00002.parquet", 0, 5)
    write(tmp_path / "data-00001-of-00002.parquet", 5, 9)
    images = load(tmp_path)
    assert len(images) == 9 and images.classes == ("0", "1", "2") and images.predefined_split is None
    assert images.labels.tolist() == [number % 3 for number in range(9)] and levels(images) == list(range(9))
    assert images.records[0].name == "data-00000-of-00002.parquet/000000000"
    assert images.name == f"parquet:{tmp_path.name}" and images.notes == (
        "Images: column image; labels: column label.",
    )
    assert images.fingerprint == load(tmp_path / "data-*.parquet").fingerprint
    probing, evaluation = images.split(evaluation=3)
    assert sorted(levels(probing) + levels(evaluation)) == list(range(9))


@pytest.mark.parametrize("probing", ["train-00000-of-00001-a09b74b3ef9c3b56", "train/0000", "train-0"])
def test_names_of_files_are_splits(tmp_path: Path, probing: str) -> None:
    write(tmp_path / f"{probing}.parquet", 0, 6)
    evaluation = probing.replace("train", "validation")
    write(tmp_path / f"{evaluation}.parquet", 6, 9)
    write(tmp_path / f"{probing.replace('train', 'test')}.parquet", 9, 12)
    images = load(tmp_path)
    parts = images.split(evaluation=1)
    assert levels(parts.probing) == list(range(6)) and levels(parts.evaluation) == [6, 7, 8]
    assert "Left out: test" in " ".join(images.notes)


def test_class_names_of_the_metadata_are_used(tmp_path: Path) -> None:
    write(tmp_path / "a-0.parquet", 0, 3, names=["cat", "dog", "cow"])
    # Another order of the names: labels are brought to the numbers of the first file.
    write(tmp_path / "a-1.parquet", 3, 6, names=["cow", "cat", "dog"])
    images = load(tmp_path)
    assert images.classes == ("cat", "dog", "cow") and images.labels.tolist() == [0, 1, 2, 2, 0, 1]
    write(tmp_path / "a-2.parquet", 6, 9)
    with pytest.raises(UserError, match=r"'a-0\.parquet' names its classes, and 'a-2\.parquet' does not"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        (["b", "a", None, " b "], ("a", "b"), [1, 0, -1, 1]),
        ([7, -1, 3, 7], ("3", "7"), [1, -1, 0, 1]),
        (None, (), [-1] * 4),
    ],
)
def test_labels_are_numbers_texts_or_missing(
    tmp_path: Path, labels: list[Any] | None, classes: tuple[str, ...], expected: list[int]
) -> None:
    images = load(write(tmp_path / "a.parquet", 0, 4, label=None if labels is None else pa.array(labels)))
    assert images.classes == classes and images.labels.tolist() == expected


def test_columns_are_chosen_by_name_or_given(tmp_path: Path) -> None:
    data = pa.array([picture(number) for number in range(40, 44)], pa.binary())
    file = write(tmp_path / "a.parquet", 0, 4, thumbnail=data, kind=pa.array(list("abca")))
    assert levels(load(file)) == [0, 1, 2, 3]
    other = load(file, "?image=thumbnail&label=kind")
    assert levels(other) == [40, 41, 42, 43] and other.classes == ("a", "b", "c")
    with pytest.raises(UserError, match=r"'kind' is no image column .*'a\.parquet'\. There are image and thumbnail"):
        load(file, "?image=kind")
    with pytest.raises(UserError, match=r"several image columns \(x and y\): append \?image=x"):
        load(write(tmp_path / "b.parquet", 0, 4, image=None, x=data, y=data))
    with pytest.raises(UserError, match="no column of encoded images"):
        load(write(tmp_path / "c.parquet", 0, 4, image=None))
    for query in ("?images=image", "?image=", "?image"):
        with pytest.raises(UserError, match="give a path"):
            load(file, query)


def test_rows_without_an_image_are_broken_images(tmp_path: Path) -> None:
    rows = structures([picture(1), None, b"", b"no picture", picture(5)])
    images = load(write(tmp_path / "a.parquet", 0, 5, image=rows))
    report = BrokenReport()
    assert levels(images, report) == [1, 5] and len(report) == 3
    assert "holds no bytes" in report["a.parquet/000000001"]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.parquet", 0, 30).read_bytes()
    rng = np.random.default_rng(0)
    for number in range(60):
        damaged = bytearray(whole)
        if number % 2:
            damaged = damaged[: rng.integers(len(whole))]
        else:
            for position in rng.integers(len(whole), size=20):
                damaged[position] = rng.integers(256)
        file = tmp_path / "damaged.parquet"
        file.write_bytes(damaged)
        try:
            images = load(file)
            for index in range(len(images)):
                try:
                    images.open(index)
                except BrokenImageError as error:
                    assert "\n" not in str(error)
        except UserError as error:
            assert "\n" not in str(error) and "damaged.parquet" in str(error)


def test_a_value_repeated_a_hundred_thousand_times_takes_no_memory(tmp_path: Path) -> None:
    n, large = 100_000, np.random.default_rng(0).bytes(1 << 20)
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([large], pa.binary()))
    table = pa.table({"image": column, "label": pa.array(np.zeros(n, np.int8))})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=n, store_schema=False)
    assert (tmp_path / "a.parquet").stat().st_size < 4 << 20
    images = load(tmp_path / "a.parquet")
    before = pa.total_allocated_bytes()
    with pytest.raises(BrokenImageError):
        images.open(n - 1)
    assert pa.total_allocated_bytes() - before < 64 << 20


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a.parquet", 0, 9)
    monkeypatch.setattr(parquet, "LARGEST_GROUP", 100)
    with pytest.raises(UserError, match="smaller row groups"):
        load(file)
    monkeypatch.undo()
    monkeypatch.setattr(parquet, "MOST_ROWS", 8)
    with pytest.raises(UserError, match="9 rows, and at most 8"):
        load(file)
    monkeypatch.undo()
    with pytest.raises(UserError, match="has a value that is no short text"):
        load(write(tmp_path / "b.parquet", 0, 2, label=pa.array(["a\nb", "c"])))
    with pytest.raises(UserError, match="beyond its 2 class names"):
        load(write(tmp_path / "c.parquet", 0, 3, names=["a", "b"]))
    with pytest.raises(UserError, match="have 0 rows"):
        load(write(tmp_path / "d.parquet", 0, 0))
    with pytest.raises(UserError, match="There is no parquet file"):
        load(tmp_path / "none")
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "x.parquet").mkdir()
    with pytest.raises(UserError, match=re.escape("'x.parquet' cannot be read")):
        load(tmp_path / "e")


def test_a_row_group_is_read_once_in_order_and_by_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = load(write(tmp_path / "a.parquet", 0, 60, rows=10))
    read: list[int] = []
    healthy = parquet._images_of

    def counting(part: Any, number: int) -> Any:
        read.append(number)
        return healthy(part, number)

    monkeypatch.setattr(parquet, "_images_of", counting)
    assert levels(images) == list(range(60)) and read == list(range(6))
    with ThreadPoolExecutor(8) as pool:
        colours = list(pool.map(lambda index: images.open(index).getpixel((0, 0))[0], [*range(60)] * 2))
    assert colours == [*range(60)] * 2
