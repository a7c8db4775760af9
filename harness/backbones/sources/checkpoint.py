"""Weights from a local file, read without executing any code that a pickle may carry."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from methods.errors import UserError, first_line

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
# Keys under which training scripts store the weights in a checkpoint; averaged weights first, as timm does.
_NESTED = ("state_dict_ema", "model_ema", "state_dict", "model")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file, by name, on the CPU.

    A nested checkpoint gives its (averaged) weights; a ``module.`` prefix of data-parallel training is removed.

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
    loaded = _read_safetensors(file) if suffix == ".safetensors" else _read_torch(file)
    for key in _NESTED:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    state = {k: v for k, v in loaded.items() if isinstance(v, Tensor)} if isinstance(loaded, dict) else {}
    if not state:
        raise UserError(f"{file.name!r} holds no tensors by name, so it is no checkpoint of a model's weights.")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def _read_safetensors(file: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(file), device="cpu")
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{file.name!r} cannot be read as safetensors ({first_line(error)}).") from error


def _read_torch(file: Path) -> object:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)  # noqa: TID251 (the one place)
    except Exception as error:  # damaged bytes raise RuntimeError, EOFError, IndexError and more from inside torch
        # UnpicklingError is raised for a refused global and for invalid pickle bytes; only the first mentions "global".
        if "Unsupported global" in str(error) or "Unsupported class" in str(error) or "GLOBAL" in str(error):
            raise UserError(
                f"{file.name!r} holds more than tensors, and running what a pickle carries is refused: "
                "save its state_dict as .safetensors."
            ) from error
        if type(error).__name__ == "UnpicklingError":
            # Its message advises weights_only=False, which is the last thing to do with a damaged file.
            raise UserError(f"{file.name!r} cannot be read as a checkpoint: it is damaged or no torch file.") from error
        raise UserError(f"{file.name!r} cannot be read as a checkpoint ({first_line(error)}).") from error


def fill(model: nn.Module, state: dict[str, Tensor], *, checkpoint: str, architecture: str) -> None:
    """Load ``state`` into ``model``; names and shapes must match exactly.

    Raises:
        UserError: if names are missing or unexpected, or shapes differ; the message gives counts and the first few.
    """
    expected = model.state_dict()
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    problems = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if names
    ]
    if problems:
        raise UserError(f"{checkpoint!r} does not fit {architecture}: parameters {'; '.join(problems)}.")
    model.load_state_dict(state, strict=True)
