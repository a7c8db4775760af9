"""Weights from a local file, read without executing any code that a pickle may carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from methods.errors import UserError, first_line
from methods.requirements import is_finite
from methods.torch_files import load_torch

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
# Keys under which training scripts store the weights in a checkpoint; averaged weights first, as timm does.
_NESTED = ("state_dict_ema", "model_ema", "ema_model", "ema", "state_dict", "model")
# Levels of dictionaries in one another; a pickle may hold one that contains itself.
_DEEPEST = 16


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file, by name, on the CPU.

    A nested checkpoint gives its (averaged) weights; a ``module.`` prefix that all names share is removed. If it is
    nested in another way, the keys are joined by dots (``teacher.backbone.norm.weight``), and
    :func:`~harness.backbones.sources.wrapper_prefixes.unwrap` finds the model among them.

    Raises:
        UserError: if the file is missing, of another kind, unreadable, holds anything but tensors and plain
            containers (such a pickle is refused, not run), or holds no tensors.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"There is no checkpoint file {str(path)!r}. Give a {', '.join(SUFFIXES)} file.")
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{file.name!r} is no checkpoint this reads: give a {', '.join(SUFFIXES)} file.")
    loaded = _read_safetensors(file) if suffix == ".safetensors" else load_torch(file)
    for _ in range(_DEEPEST):
        if (nested := _weights_inside(loaded)) is None:
            break
        loaded = nested
    try:
        state = dict(_named_tensors(loaded)) if isinstance(loaded, dict) else {}
    except RecursionError as error:
        raise UserError(
            f"{file.name!r} holds dictionaries that contain themselves: save its state_dict alone."
        ) from error
    if not state:
        raise UserError(f"{file.name!r} holds no tensors by name, so it is no checkpoint of a model's weights.")
    wrapped = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module."): tensor for name, tensor in state.items()} if wrapped else state


def _weights_inside(loaded: object) -> dict[Any, Any] | None:
    """Return the dictionary of weights inside a training script's checkpoint, None if it is not nested."""
    if not isinstance(loaded, dict):
        return None
    return next((loaded[key] for key in _NESTED if isinstance(loaded.get(key), dict) and loaded[key]), None)


def _named_tensors(loaded: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in loaded.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, dict):
            yield from _named_tensors(value, f"{prefix}{key}.")


def _read_safetensors(file: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(file), device="cpu")
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{file.name!r} cannot be read as safetensors ({first_line(error)}).") from error


def fill(model: nn.Module, state: dict[str, Tensor], *, checkpoint: str, architecture: str) -> None:
    """Load ``state`` into ``model``; names and shapes must match exactly.

    Raises:
        UserError: if names are missing or unexpected, or shapes differ (the message gives counts and the first few), or
            if a value is NaN or infinite.
    """
    expected = model.state_dict()
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    kinds = [
        f"{name} {state[name].dtype}"
        for name, tensor in expected.items()
        if name in state and tensor.is_floating_point() and not state[name].is_floating_point()
    ]
    groups = {"missing": missing, "unexpected": unexpected, "of another shape": shapes, "not real numbers": kinds}
    problems = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in groups.items()
        if names
    ]
    if problems:
        raise UserError(f"{checkpoint!r} does not fit {architecture}: parameters {'; '.join(problems)}.")
    model.load_state_dict(state, strict=True)
    require_finite(model, f"The checkpoint {checkpoint!r}")


def require_finite(model: nn.Module, what: str) -> None:
    """Check that no parameter of a model is NaN or infinite, and no buffer NaN (masks may hold -inf).

    Args:
        model: the model with its weights.
        what: start of the message, such as ``"The checkpoint 'x.pth'"``.

    Raises:
        UserError: naming the first such tensor and the counts.
    """
    parameters = {name for name, _ in model.named_parameters()}
    state = model.state_dict()
    invalid = {}
    for name, tensor in state.items():
        if is_finite(tensor):  # one pass, without a mask
            continue
        count = int((~torch.isfinite(tensor) if name in parameters else torch.isnan(tensor)).sum())
        if count:
            invalid[name] = count
    if invalid:
        name, count = next(iter(invalid.items()))
        raise UserError(
            f"{what} holds NaN or infinite values in {len(invalid)} of {len(state)} tensors (first: {name}, {count} of "
            f"{state[name].numel()} values). The file is damaged or its training diverged: use other weights."
        )
