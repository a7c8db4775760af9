"""Completeness of the weights of a transformers model: what its checkpoint lacks, and what it has beside the model."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from methods.errors import UserError

# Parameters of a backbone that a forward pass without masking does not use, and buffers that follow from its shape.
_UNUSED = ("mask_token", "position_ids", "relative_position_index", "relative_coords_table", "num_batches_tracked")


def is_pooler(name: str) -> bool:
    """Return True if a weight belongs to a model's pooler, by its name."""
    return name.startswith("pooler.")


def can_pool(model: nn.Module) -> bool:
    """Return True if a pooler can be asked for when a model is built."""
    return "add_pooling_layer" in inspect.signature(type(model).__init__).parameters


def dropped_weights(model: nn.Module, unexpected: Any) -> list[str]:
    """Return the weights of the checkpoint that belong inside of the model, and that its configuration has no room for.

    Heads, decoders and text towers lie beside the model, and are dropped on purpose. A name belongs inside if it lies
    in one of the model's modules with parameters, for example in its list of layers, or in its pooler.
    """
    prefix = f"{getattr(model, 'base_model_prefix', '') or 'model'}."
    modules = dict(model.named_modules())
    dropped = []
    for key in sorted(unexpected):
        name = key if key.split(".")[0] in modules else key.removeprefix(prefix)
        *parents, last = name.split(".")
        paths = (".".join(parents[:depth]) for depth in range(len(parents), 0, -1))
        innermost = next((modules[path] for path in paths if path in modules), None)
        inside = innermost is not None and any(True for _ in innermost.parameters())
        if last not in _UNUSED and (inside or is_pooler(name)):
            dropped.append(name)
    return dropped


def require_complete(spec: str, missing: list[str], mismatched: list[str], dropped: list[str]) -> None:
    """Check the names of the weights of a model.

    Raises:
        UserError: if some are missing, of another shape, or have no place in the model.
    """
    if missing or mismatched:
        first = ", ".join((missing or mismatched)[:3])
        raise UserError(
            f"The weights of {spec!r} are incomplete: {len(missing) + len(mismatched)} parameters missing or "
            f"of another shape ({first})."
        )
    if dropped:
        raise UserError(
            f"The weights of {spec!r} do not fit its config.json: {len(dropped)} parameters of the checkpoint "
            f"have no place in the model ({', '.join(dropped[:3])}). Correct config.json, for example its number of "
            "layers."
        )
