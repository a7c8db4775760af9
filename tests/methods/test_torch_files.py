"""Files of ``torch.save`` from anyone: what is read is right, and nothing in them becomes larger than the file."""

from __future__ import annotations

import io
import pickle
import random
import resource
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from methods.errors import UserError
from methods.torch_archives import require_bounded
from methods.torch_files import load_torch

STATE = OrderedDict(weight=torch.arange(6.0).reshape(2, 3), bias=torch.ones(3, dtype=torch.bfloat16), k=torch.tensor(3))


def saved(path: Path, content: Any = STATE, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def packed(path: Path, content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def with_pickle(tmp_path: Path, content: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    replaced = {
        name: content if name.endswith("data.pkl") else data for name, data in members(saved(tmp_path / "a.pt")).items()
    }
    return packed(tmp_path / "b.pt", replaced, compression)


def refused(path: Path) -> str:
    with pytest.raises(UserError) as error:
        load_torch(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
    return str(error.value)


@pytest.mark.parametrize("is_archive", [True, False])
def test_what_torch_writes_is_read(is_archive: bool, tmp_path: Path) -> None:
    content = {"state": STATE, "epoch": 3, "sizes": torch.Size([2, 3]), "names": ["a"] * 5000, "rate": 1e-3}
    path = saved(tmp_path / "a.pt", content, _use_new_zipfile_serialization=is_archive)
    loaded = load_torch(path)
    assert loaded["names"] == content["names"] and loaded["epoch"] == 3
    for name, tensor in STATE.items():
        assert torch.equal(loaded["state"][name], tensor)
    shifted = tmp_path / "shifted.pt"
    shifted.write_bytes(b"header\n" + path.read_bytes())
    assert torch.equal(load_torch(shifted, offset=7)["state"]["weight"], STATE["weight"])


def test_a_checkpoint_of_many_tensors_is_read(tmp_path: Path) -> None:
    moments = {number: {"step": torch.tensor(1.0), "moment": torch.ones(2)} for number in range(1000)}
    path = saved(tmp_path / "a.pt", {"state": moments, "names": [f"layer.{number}" for number in range(1000)]})
    assert len(load_torch(path)["state"]) == 1000


def test_a_repacked_archive_without_compression_is_read(tmp_path: Path) -> None:
    path = packed(tmp_path / "b.pt", members(saved(tmp_path / "a.pt")))
    assert torch.equal(load_torch(path)["weight"], STATE["weight"])


def test_a_compressed_member_is_not_unpacked(tmp_path: Path) -> None:
    bomb = with_pickle(tmp_path, b"\x80\x02" + b"]" * (60 << 20), zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "is compressed or encrypted" in refused(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10


def test_sizes_in_the_list_of_members_are_not_believed(tmp_path: Path) -> None:
    """A list that says that a compressed member is stored, or that sizes are other ones."""
    content = with_pickle(tmp_path, b"\x80\x02" + b"]" * 10_000, zipfile.ZIP_DEFLATED).read_bytes()
    start = content.index(b"PK\x01\x02")
    for offset, value in ((10, b"\0\0"), (24, struct.pack("<L", 1 << 31))):
        changed = bytearray(content)
        position = start
        while (position := content.find(b"PK\x01\x02", position)) >= 0:
            changed[position + offset : position + offset + len(value)] = value
            position += 4
        (tmp_path / "c.pt").write_bytes(changed)
        assert "cannot be read as a checkpoint" in refused(tmp_path / "c.pt")


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    path = with_pickle(tmp_path, b"\x80\x02]." + b"\0" * 50_000)
    content = path.read_bytes()
    entry = content.index(b"PK\x01\x02")
    end = content.rindex(b"PK\x05\x06")
    entries = content[entry:end] * 40
    n_entries = content[entry:end].count(b"PK\x01\x02") * 40
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, n_entries, n_entries, len(entries), entry, 0)
    path.write_bytes(content[:entry] + entries + tail)
    assert "larger together than the file" in refused(path)


def test_two_lists_of_members_are_refused(tmp_path: Path) -> None:
    """Torch would read one, and the checks another."""
    plain = saved(tmp_path / "a.pt").read_bytes()
    for name, content in (
        ("comment", plain[:-2] + struct.pack("<H", 3) + b"abc"),
        ("prefix", plain[:4] + b"\0" * 100 + plain),
        ("two", plain + plain[plain.rindex(b"PK\x05\x06") :]),
        ("end", plain[:-30]),
    ):
        (tmp_path / name).write_bytes(content)
        assert "cannot be read as a checkpoint" in refused(tmp_path / name), name


class _Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def test_a_pickle_that_asks_for_memory_is_refused(tmp_path: Path) -> None:
    large = list(range(10_000))
    for content, reason in (
        (pickle.dumps(_Call(bytearray, 1 << 33), 2), "makes arrays of bytes"),
        (pickle.dumps([_Call(OrderedDict, []), [_Call(set, large) for _ in range(5000)]], 2), "its pickle copies more"),
        (b"\x80\x02" + b"]q\x00" * 300_000 + b".", "more than 500000 operations"),
        (b"\x80\x02" + b"(" * 1000, "damaged"),
        (b"\x80\x02\x8e" + struct.pack("<Q", 1 << 60) + b"a.", "damaged"),
        (b"\x80\x02B" + struct.pack("<i", 1 << 30) + b"a.", "damaged"),
        (b"", "damaged"),
    ):
        for path in (with_pickle(tmp_path, content), tmp_path / "bare.pt"):
            if path.name == "bare.pt":
                path.write_bytes(content)
            assert reason in refused(path) or "damaged" in refused(path)


def test_sparse_and_empty_tensors_are_refused(tmp_path: Path) -> None:
    sparse = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.tensor([1.0]), (1 << 40,))
    for tensor in (sparse, torch.empty(1 << 40, device="meta")):
        assert "weights are dense" in refused(saved(tmp_path / "a.pt", {"a": tensor}))


@pytest.mark.parametrize("is_archive", [True, False])
def test_damaged_bytes_end_in_one_sentence(is_archive: bool, tmp_path: Path) -> None:
    content = saved(tmp_path / "a.pt", _use_new_zipfile_serialization=is_archive).read_bytes()
    draw = random.Random(0)
    for _ in range(150):
        changed = bytearray(content)
        for _ in range(draw.choice([1, 4])):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        (tmp_path / "b.pt").write_bytes(changed[: draw.choice([len(changed), draw.randrange(len(changed))])])
        try:
            load_torch(tmp_path / "b.pt")
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 400


def test_the_check_leaves_the_file_at_its_start() -> None:
    file = io.BytesIO()
    torch.save(STATE, file)
    require_bounded(file)
    assert file.tell() == 0
