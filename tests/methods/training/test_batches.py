"""Batches: the same bits whether the tokens are on the device or read ahead, in one block or several."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_memory import MemorySite, MemoryTokens, small_layer
from torch import Tensor

import methods
from harness.activations import token_set
from harness.activations.token_set import TokenSet
from harness.activations.token_writer import TokenWriter
from methods.base import Reads
from methods.errors import UserError
from methods.training import batches as module
from methods.training.batches import Batches, blocks_of, generator_of
from methods.training.normaliser import Normaliser

BOTH: tuple[Reads, ...] = ("input", "output")
CONFIG = {"expansion_factor": 4, "epochs": 3, "batch_size": 32, "k": 3}


@pytest.fixture(params=["float32", "float16", "scattered float16"])
def tokens(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TokenSet:
    """240 tokens in three parts: of 100, 100 and 40 consecutive rows, or of about 80 random ones."""
    monkeypatch.setattr(token_set, "PART_ROWS", 100)
    *scattered, dtype = request.param.split()
    return written(tmp_path, dtype, scattered=bool(scattered))


def written(folder: Path, dtype: str, *, scattered: bool = False) -> TokenSet:
    _, memory = small_layer(n=240)
    writer = TokenWriter(folder / "set", dtype=dtype, expected=240 if scattered else None)
    index = np.arange(240)
    writer.add(index, index, index, **{field: values * 3 + 7 for field, values in memory.fields.items()})
    return writer.finish()


def read_at_once(
    tokens: TokenSet, fields: tuple[Reads, ...], batch_size: int, *, seed: int, number: int, block_bytes: int = 4 << 30
) -> Iterator[tuple[Tensor, ...]]:
    """Batches of one epoch as they were before there were two ways: each block read and normalised as a whole."""
    block_rows = max(batch_size, block_bytes // (4 * sum(tokens.width(field) for field in fields)))
    generator = generator_of("batches", seed, number)
    blocks = blocks_of(tokens, block_rows)
    rows = []
    for index in torch.randperm(len(blocks), generator=generator).tolist():
        rows.append(blocks[index][torch.randperm(len(blocks[index]), generator=generator).numpy()])
    used = np.concatenate(rows)
    for start in range(0, len(used), batch_size):
        batch = []
        for field in fields:
            normaliser = Normaliser(tokens, field)
            batch.append((tokens.gather(field, used[start : start + batch_size]) - normaliser.mean) / normaliser.scale)
        yield tuple(batch)


def batches_of(tokens: Any, fields: tuple[Reads, ...] = BOTH, batch_size: int = 32, **options: Any) -> Batches:
    return Batches(tokens, fields, [Normaliser(tokens, field) for field in fields], batch_size, seed=5, **options)


def equal(one: Iterator[tuple[Tensor, ...]], other: Iterator[tuple[Tensor, ...]]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return bool(pairs) and all(torch.equal(a, b) for pair in pairs for a, b in zip(*pair, strict=True))


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("block_bytes", [4 << 30, 90 * 4 * 22, 1], ids=["one block", "three blocks", "tiny blocks"])
@pytest.mark.parametrize("fields", [("output",), BOTH])
def test_batches_are_equal_to_the_bit(
    tokens: TokenSet, fields: tuple[Reads, ...], block_bytes: int, resident: bool
) -> None:
    batches = batches_of(tokens, fields, block_bytes=block_bytes, resident=resident)
    for number in (0, 1):
        expected = list(read_at_once(tokens, fields, 32, seed=5, number=number, block_bytes=block_bytes))
        assert batches.per_epoch == len(expected) and batches.are_resident is resident
        assert equal(batches.epoch(number), iter(expected))
        for skip in (1, 3, len(expected) - 1):
            assert equal(batches.epoch(number, skip=skip), iter(expected[skip:]))
        assert list(batches.epoch(number, skip=len(expected))) == []
    assert all(part.dtype == torch.float32 for part in next(batches.epoch(0)))


def test_blocks_are_random_subsets_that_contain_each_row_once(tokens: TokenSet) -> None:
    _, in_memory = small_layer(n=240)
    for source in (tokens, in_memory):
        for block_rows in (240, 239, 110, 32, 1):
            blocks = blocks_of(source, block_rows)
            assert sorted(np.concatenate(blocks).tolist()) == list(range(240))
            assert all(0 < len(rows) <= block_rows and bool((np.diff(rows) > 0).all()) for rows in blocks)
            if block_rows == 110:
                # Of rows in the order of their class, each block has some of every class: 120 rows of each of two.
                assert all(25 < int((rows < 120).sum()) / len(rows) * 100 < 75 for rows in blocks)
    (whole,) = blocks_of(tokens, 1000)
    assert whole.tolist() == list(range(240))


def test_blocks_of_a_scattered_set_are_whole_parts(tokens: TokenSet) -> None:
    parts = tokens.random_parts
    blocks = blocks_of(tokens, 170)
    if parts is None:
        assert tokens.meta["scattered"] is False
        return
    assert [rows.tolist() for rows in blocks] == [
        sorted([*parts[0].tolist(), *parts[1].tolist()]),
        parts[2].tolist(),
    ]


def test_tokens_stay_in_their_type_on_the_device(tokens: TokenSet) -> None:
    batches = batches_of(tokens, resident=True)
    next(batches.epoch(0))
    assert batches._on_device is not None
    assert [part.dtype for part in batches._on_device] == [getattr(torch, tokens.dtype)] * 2


def test_tokens_without_a_stored_type_are_float32() -> None:
    _, double = small_layer(n=50, dtype=torch.float64)
    for resident in (True, False):
        (batch,) = batches_of(double, ("output",), 50, resident=resident).epoch(0)
        assert batch[0].dtype == torch.float32
        assert float(batch[0].square().mean()) == pytest.approx(1, abs=1e-5)


def test_rows_as_stored_are_those_on_disk(tokens: TokenSet) -> None:
    for start, stop in ((0, 240), (0, 1), (99, 101), (100, 200), (37, 233), (239, 240), (5, 5)):
        rows = tokens.stored("input", start, stop)
        assert rows.dtype == getattr(torch, tokens.dtype)
        assert torch.equal(rows.float(), tokens.gather("input", np.arange(start, stop)))
    some = np.array([0, 3, 99, 100, 101, 239])
    assert tokens.stored_at("input", some).dtype == getattr(torch, tokens.dtype)
    assert torch.equal(tokens.stored_at("input", some).float(), tokens.gather("input", some))


def test_the_moments_of_a_token_set_are_computed_once(tokens: TokenSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens without a fingerprint may change between two fits, so theirs are computed each time."""
    first = Normaliser(tokens, "output")
    _, changing = small_layer(n=40)
    before = Normaliser(changing, "output")
    monkeypatch.setattr(tokens, "batches", None)
    again = Normaliser(tokens, "output")
    assert torch.equal(again.mean, first.mean) and again.scale == first.scale
    with pytest.raises(TypeError):
        Normaliser(tokens, "input")
    changing.fields["output"] = changing.fields["output"] * 2
    assert Normaliser(changing, "output").scale == pytest.approx(2 * before.scale)


class Unhashable(MemoryTokens):
    """Tokens of another program."""

    fingerprint = "mine"
    __hash__ = None  # type: ignore[assignment]


def test_tokens_that_cannot_be_remembered_are_read_each_time() -> None:
    _, memory = small_layer(n=40)
    tokens = Unhashable(*memory.fields.values())
    assert Normaliser(tokens, "output").scale == Normaliser(memory, "output").scale


# ---- where the tokens are


def test_memory_decides_where_tokens_are(tokens: TokenSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three blocks of 240 tokens with 22 features; at most 0.8 of what the training leaves is taken."""
    size = 240 * 22 * torch.tensor([], dtype=getattr(torch, tokens.dtype)).element_size()
    for free, reserve, fits in (
        (math.ceil(size / 0.8), 0, True),
        (math.ceil(size / 0.8) - 2, 0, False),
        (math.ceil(size / 0.8), 2, False),
        (math.ceil(size / 0.8) + 1000, 1000, True),
        (None, 0, False),
    ):
        monkeypatch.setattr(module, "free_memory", lambda device, free=free: free)
        batches = batches_of(tokens, block_bytes=90 * 4 * 22, reserve=reserve)
        assert batches.are_resident is fits, (free, reserve)
    monkeypatch.setattr(module, "free_memory", lambda device: 0)
    assert batches_of(tokens).are_resident, "one block is in the host's memory in any case"


def test_without_memory_for_the_tokens_they_are_read_ahead(tokens: TokenSet, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (RuntimeError("DefaultCPUAllocator: can't allocate memory"), torch.OutOfMemoryError("full")):
        batches = batches_of(tokens, resident=True)

        def no_room(field: Reads, error: Exception = error) -> Tensor:
            raise error

        monkeypatch.setattr(batches, "_load", no_room)
        assert equal(batches.epoch(0), read_at_once(tokens, BOTH, 32, seed=5, number=0))
        assert not batches.are_resident
        assert len(batches.notes) == 1 and batches.notes[0].startswith("The memory of cpu ran out with the training")


def test_other_errors_of_loading_are_raised(tokens: TokenSet, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = batches_of(tokens, resident=True)
    monkeypatch.setattr(batches, "_stored", lambda *_: torch.zeros(1, 1, 1)[5])
    with pytest.raises(IndexError):
        batches.epoch(0)


@pytest.mark.parametrize("resident", [True, False])
def test_a_missing_part_is_an_error_of_the_loop(tokens: TokenSet, resident: bool) -> None:
    batches = batches_of(tokens, resident=resident)
    (tokens.folder / "input-00001.npy").unlink()
    with pytest.raises(UserError, match=r"input-00001\.npy"):
        list(batches.epoch(0))


def test_no_thread_is_left_behind(tokens: TokenSet) -> None:
    before = threading.active_count()
    for resident in (True, False):
        batches = batches_of(tokens, block_bytes=90 * 4 * 22, resident=resident)
        next(iter(batches.epoch(0)))
        list(batches.epoch(1))
    assert threading.active_count() == before


# ---- a whole training


def fitted(tokens: TokenSet, name: str = "topk_sae") -> methods.base.Method:
    site = MemorySite(torch.zeros(6, 16), torch.zeros(6))
    fields = methods.METHODS.get(name).Config.model_fields
    config = {key: value for key, value in CONFIG.items() if key in fields}
    return methods.create(name, **config).fit(tokens, site, seed=3)


class ReadAtOnce(Batches):
    """The batches as they were before there were two ways."""

    def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, ...]]:
        whole = read_at_once(
            self.tokens, self.fields, self.batch_size, seed=self.seed, number=number, block_bytes=90 * 4 * 22
        )
        return iter(list(whole)[skip:])


@pytest.mark.parametrize("name", ["topk_sae", "batchtopk_sae", "transcoder"])
def test_trained_weights_are_equal_to_the_bit(name: str, tokens: TokenSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(kind: type[Batches], **options: Any) -> dict[str, Tensor]:
        def made(*arguments: Any, **given: Any) -> Batches:
            return kind(*arguments, **{**given, "block_bytes": 90 * 4 * 22, **options})

        monkeypatch.setattr("methods.sae.method.Batches", made)
        method = fitted(tokens, name)
        return {part: getattr(method, part) for part in method.fitted}

    expected = trained(ReadAtOnce)
    for resident in (True, False):
        weights = trained(Batches, resident=resident)
        assert all(torch.equal(weights[part], expected[part]) for part in expected), resident


def test_a_training_that_runs_out_of_memory_starts_again_without_the_tokens(
    tokens: TokenSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fitted(tokens)
    calls = []
    train = methods.sae.method.train

    def short_of_memory(trainee: Any, batches: Batches, *rest: Any, **options: Any) -> Any:
        calls.append(batches.are_resident)
        if batches.are_resident:
            trainee.loss(*next(iter(batches.epoch(0)))).total.backward()
            with torch.no_grad():
                next(trainee.parameters()).zero_()
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return train(trainee, batches, *rest, **options)

    monkeypatch.setattr("methods.sae.method.train", short_of_memory)
    method = fitted(tokens)
    assert calls == [True, False]
    assert torch.equal(method.atoms, expected.atoms) and torch.equal(method.encoder_weight, expected.encoder_weight)
    assert len(method.notes) == len(expected.notes) + 1 and "read batch by batch" in method.notes[-1]


def test_a_training_that_has_no_memory_without_the_tokens_fails(
    tokens: TokenSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def too_large(trainee: Any, batches: Batches, *rest: Any, **options: Any) -> Any:
        calls.append(next(iter(batches.epoch(0))))
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("methods.sae.method.train", too_large)
    with pytest.raises(torch.OutOfMemoryError):
        fitted(tokens)
    assert len(calls) == 2

    def wrong(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        raise UserError("another reason")

    monkeypatch.setattr("methods.sae.method.train", wrong)
    with pytest.raises(UserError, match="another reason"):
        fitted(tokens)
    assert len(calls) == 3


@pytest.mark.gpu
@pytest.mark.parametrize("resident", [True, False])
def test_batches_on_a_gpu_are_those_of_the_cpu(tokens: TokenSet, resident: bool) -> None:
    """Normalised on the device: division may differ in the last bit, the order of the tokens may not."""
    batches = batches_of(tokens, device="cuda", block_bytes=90 * 4 * 22, resident=resident)
    expected = read_at_once(tokens, BOTH, 32, seed=5, number=0, block_bytes=90 * 4 * 22)
    for batch, wanted in zip(batches.epoch(0), expected, strict=True):
        for part, other in zip(batch, wanted, strict=True):
            assert part.is_cuda
            torch.testing.assert_close(part.cpu(), other, rtol=1e-6, atol=1e-6)


def test_memory_tokens_are_not_changed() -> None:
    _, memory = small_layer(n=60)
    before = {field: values.clone() for field, values in memory.fields.items()}
    for resident in (True, False):
        list(batches_of(MemoryTokens(*memory.fields.values()), resident=resident).epoch(0))
    assert all(torch.equal(memory.fields[field], before[field]) for field in before)
