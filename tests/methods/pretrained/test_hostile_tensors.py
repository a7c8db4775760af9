"""Tensors of every format that are damaged, of other types or shapes, or unknown: a right result, or one sentence."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from original_dictionaries import DICTIONARIES, cases, copied, expected
from safetensors.torch import load_file, save_file
from torch import Tensor

from methods import pretrained
from methods.errors import UserError
from methods.pretrained.pretrained_sae import PretrainedSAE
from methods.torch_files import load_torch

RECORDS = ("vit_prisma.sae.config.VisionModelSAERunnerConfig", "vit_prisma.configs.HookedViTConfig.HookedViTConfig")
CHECKPOINTS = [
    (format_name.name, name)
    for format_name in sorted(DICTIONARIES.iterdir())
    if format_name.is_dir()
    for name in cases(format_name.name)
]
Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]
#: Number of a checkpoint within its format.
NUMBERS = {each: cases(each[0]).index(each[1]) for each in CHECKPOINTS}


def each_with(choices: Sequence[Any]) -> list[Any]:
    """Return parameters (checkpoint, choice): all choices for the first checkpoint of a format, one for each other.

    The other combinations are slow tests. The checkpoints of a format take turns, so each choice meets many.
    """
    return [
        pytest.param(
            checkpoint,
            choice,
            id=f"{'/'.join(checkpoint)}-{choice}",
            marks=[] if number == 0 or number % len(choices) == turn else [pytest.mark.slow],
        )
        for checkpoint, number in NUMBERS.items()
        for turn, choice in enumerate(choices)
    ]


def weights_of(folder: Path) -> Path:
    endings = (".pt", ".pth", ".safetensors")
    return next(p for p in sorted(folder.iterdir()) if p.suffix in endings and not p.name.endswith("sparsity.pt"))


def changed(folder: Path, change: Change) -> Path:
    """Change the tensors of a checkpoint, and return what is loaded."""
    file = weights_of(folder)
    if file.suffix == ".safetensors":
        tensors = change(load_file(file))
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, file)
        return folder if folder.parent.name != "overcomplete" else file
    content = file.read_bytes()
    offset = 0 if content.startswith(b"PK") else content.index(b"\n") + 1
    state = _tensors(file)
    written = io.BytesIO()
    torch.save(change(state), written)
    file.write_bytes(content[:offset] + written.getvalue())
    return folder if folder.parent.name != "overcomplete" else file


def loaded(checkpoint: tuple[str, str], tmp_path: Path, change: Change) -> PretrainedSAE:
    path = changed(copied(*checkpoint, tmp_path), change)
    settings: dict[str, Any] = {}  # what the files do not say
    if checkpoint[0] == "overcomplete":
        settings = json.loads((DICTIONARIES / checkpoint[0] / checkpoint[1] / "settings.json").read_text())
    return pretrained.load(path, **settings)


def as_float(dtype: torch.dtype, back: bool) -> Change:
    def change(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: (tensor.to(dtype).to(tensor.dtype) if back else tensor.to(dtype))
            if tensor.is_floating_point()
            else tensor
            for name, tensor in tensors.items()
        }

    return change


@pytest.mark.parametrize("checkpoint, dtype", each_with([torch.float64, torch.bfloat16, torch.float16]))
def test_other_types_of_numbers_are_the_same_numbers(
    checkpoint: tuple[str, str], dtype: torch.dtype, tmp_path: Path
) -> None:
    x = expected(*checkpoint)["x"]
    other = loaded(checkpoint, tmp_path / "a", as_float(dtype, back=False))
    same = loaded(checkpoint, tmp_path / "b", as_float(dtype, back=True))
    codes, wanted = other.encode(x), same.encode(x)
    torch.testing.assert_close(codes, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(other.reconstruct(codes, x), same.reconstruct(wanted, x), rtol=1e-5, atol=1e-4)


def fails_in_one_sentence(checkpoint: tuple[str, str], tmp_path: Path, change: Change) -> str:
    with pytest.raises(UserError) as refused:
        loaded(checkpoint, tmp_path, change)
    text = str(refused.value)
    assert "\n" not in text and len(text) < 700, text
    return text


@pytest.mark.parametrize("checkpoint, value", each_with([float("nan"), float("inf")]))
def test_numbers_that_are_none_are_refused(checkpoint: tuple[str, str], value: float, tmp_path: Path) -> None:
    file = weights_of(copied(*checkpoint, tmp_path / "names"))
    names = [name for name, tensor in _tensors(file).items() if tensor.is_floating_point()]
    for number, name in enumerate(names):

        def change(tensors: dict[str, Tensor], name: str = name) -> dict[str, Tensor]:
            damaged = tensors[name].flatten().clone()
            damaged[0] = value
            return {**tensors, name: damaged.reshape(tensors[name].shape)}

        assert "NaN or infinity" in fails_in_one_sentence(checkpoint, tmp_path / str(number), change)


SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "one more dimension": lambda tensor: tensor[..., None],
    "one row less": lambda tensor: tensor[:-1] if tensor.ndim else tensor.expand(3).clone(),
    "empty": lambda tensor: tensor[:0] if tensor.ndim else tensor.expand(0).clone(),
    "int32": lambda tensor: tensor.to(torch.int32),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "bool": lambda tensor: tensor.to(torch.bool),
}


@pytest.mark.parametrize("checkpoint, shape", each_with(list(SHAPES)))
def test_other_shapes_are_refused_or_change_nothing(checkpoint: tuple[str, str], shape: str, tmp_path: Path) -> None:
    if checkpoint == ("overcomplete", "mp") and shape == "one row less":
        pytest.skip("one matrix is all of it: with a row less, it is another dictionary")
    file = weights_of(copied(*checkpoint, tmp_path / "names"))
    x = expected(*checkpoint)["x"]
    right = loaded(checkpoint, tmp_path / "right", dict).encode(x)
    for name in _tensors(file):

        def change(tensors: dict[str, Tensor], name: str = name) -> dict[str, Tensor]:
            return {**tensors, name: SHAPES[shape](tensors[name])}

        try:
            sae = loaded(checkpoint, tmp_path / name, change)
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 700
            continue
        whole = shape in ("int32", "bool")  # whole numbers are numbers: rounded, they are other ones
        assert whole or torch.equal(sae.encode(x), right), name


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids="/".join)
def test_unknown_tensors_are_refused(checkpoint: tuple[str, str], tmp_path: Path) -> None:
    for name in ("W_gate", "W_skip", "log_gain"):

        def change(tensors: dict[str, Tensor], name: str = name) -> dict[str, Tensor]:
            return {**tensors, name: torch.ones(24)}

        assert name in fails_in_one_sentence(checkpoint, tmp_path / name, change)


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids="/".join)
def test_a_tensor_that_is_missing_is_refused(checkpoint: tuple[str, str], tmp_path: Path) -> None:
    file = weights_of(copied(*checkpoint, tmp_path / "names"))
    tensors = _tensors(file)
    matrices = [name for name, tensor in tensors.items() if tensor.ndim == 2 and not name.startswith("dictionary.W")]
    for name in matrices:
        if name.startswith("encoder.tied_to"):
            continue

        def change(tensors: dict[str, Tensor], name: str = name) -> dict[str, Tensor]:
            return {key: tensor for key, tensor in tensors.items() if key != name}

        fails_in_one_sentence(checkpoint, tmp_path / name, change)


def _tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of an unchanged copy; each checkpoint is read once."""
    return dict(_read(DICTIONARIES / file.parent.parent.name / file.parent.name / file.name))


@functools.cache
def _read(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        return load_file(file)
    content = file.read_bytes()
    offset = 0 if content.startswith(b"PK") else content.index(b"\n") + 1
    loaded = load_torch(file, offset=offset, records=RECORDS)
    return dict(loaded.get("state_dict", loaded))


@pytest.mark.parametrize("checkpoint", [each for each in CHECKPOINTS if each[0] != "saelens"], ids="/".join)
def test_views_of_other_tensors_are_the_same_numbers(checkpoint: tuple[str, str], tmp_path: Path) -> None:
    def views(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Put every matrix into the storage of a larger one, in another order."""
        return {
            name: tensor.T.contiguous().T
            if tensor.ndim == 2
            else torch.cat([tensor, tensor])[: len(tensor)]
            if tensor.ndim
            else tensor
            for name, tensor in tensors.items()
        }

    x = expected(*checkpoint)["x"]
    right, other = loaded(checkpoint, tmp_path / "a", dict), loaded(checkpoint, tmp_path / "b", views)
    torch.testing.assert_close(other.encode(x), right.encode(x), rtol=1e-5, atol=1e-5)
