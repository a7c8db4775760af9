"""Files of ``torch.save``: tensors and plain values only. The one place that reads pickled weights."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import torch

from methods.errors import UserError, first_line
from methods.torch_archives import require_bounded

#: Most values in a file, each counted as often as it is reached.
_MOST_VALUES = 1_000_000
#: Most bytes by which tensors that repeat their numbers (strides of 0) are larger than what the file holds.
_MOST_REPEATED = 1 << 28


class Record:
    """Object of a class that was not imported: its attributes alone, as they were saved."""


def load_torch(file: Path, *, offset: int = 0, records: Collection[str] = ()) -> Any:
    """Return the content of a file of ``torch.save``; nothing of it is executed.

    Args:
        file: the file.
        offset: number of bytes before the content.
        records: full names of classes whose objects are read as :class:`Record`, without their code.

    Raises:
        UserError: if it holds anything but tensors, plain values and these records, or is damaged.
    """
    try:
        source: Any = io.BytesIO(file.read_bytes()[offset:]) if offset else file.open("rb")
        with source:
            require_bounded(source)
            return _checked(_loaded(source, records))
    except UserError as error:
        raise UserError(f"{file.name!r} cannot be read as a checkpoint: {error}.") from error
    except Exception as error:  # damaged bytes raise RuntimeError, EOFError, IndexError and more from inside torch
        text = str(error)
        # UnpicklingError is raised for a refused global and for invalid pickle bytes; only the first mentions "global".
        if "Unsupported global" in text or "Unsupported class" in text or "GLOBAL" in text:
            raise UserError(
                f"{file.name!r} holds more than tensors{_named(text)}, and running what a pickle carries is refused: "
                "save its state_dict as .safetensors."
            ) from error
        if type(error).__name__ == "UnpicklingError":
            # Its message advises weights_only=False, which is the last thing to do with a damaged file.
            raise UserError(f"{file.name!r} cannot be read as a checkpoint: it is damaged or no torch file.") from error
        raise UserError(f"{file.name!r} cannot be read as a checkpoint ({first_line(error)}).") from error


def _loaded(source: BinaryIO, records: Collection[str]) -> Any:
    with torch.serialization.safe_globals([(Record, name) for name in records]) if records else nullcontext():
        return torch.load(source, map_location="cpu", weights_only=True)  # noqa: TID251 (the one place)


def _checked(content: Any) -> Any:
    """Return content whose size follows from that of its file.

    Raises:
        UserError: if a tensor is larger than its storage (strides of 0), or a value is reached by too many ways: values
            that contain each other twice, forty times over, are small in memory and endless in words.
    """
    seen = extra = 0
    pending = [content]
    while pending:
        seen += 1
        if seen > _MOST_VALUES:
            raise UserError(f"it holds more than {_MOST_VALUES} values, or values that contain themselves")
        value = pending.pop()
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
                raise UserError("a tensor in it is sparse, quantised or without numbers, and weights are dense")
            extra += max(value.numel() * value.element_size() - value.untyped_storage().nbytes(), 0)
            if extra > _MOST_REPEATED:
                raise UserError(f"a tensor of the shape {tuple(value.shape)} is larger than the numbers saved for it")
        elif isinstance(value, Record):
            pending.extend(vars(value).values())
        elif isinstance(value, Mapping):
            pending.extend(value.keys())
            pending.extend(value.values())
        elif isinstance(value, (list, tuple, set, frozenset)):
            pending.extend(value)
    return content


def _named(text: str) -> str:
    """Return the name of the object that torch refused, in parentheses; empty if its message has none."""
    start = text.find("GLOBAL ")
    name = text[start + len("GLOBAL ") :].split()[0] if start >= 0 else ""
    return f" ({name})" if name.replace(".", "").replace("_", "").isalnum() and len(name) < 100 else ""
