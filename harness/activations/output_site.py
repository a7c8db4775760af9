"""Output site: any module that returns one vector per token, such as a block, a norm or a stage.

It has no weights and no input of its own: methods that need one of them cannot be put on it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Never

import torch
from torch import Tensor, nn

from harness.activations.positions import is_grid
from harness.activations.site import Captured, Site, require_per_image
from harness.errors import UserError


class OutputSite(Site):
    """Output of a module: (B, T, d), (B, H, W, d), (B, d, H, W), or (B, d) for one vector per image.

    A tuple, list or mapping is the module's output too, if exactly one of its tensors has tokens: the hidden states of
    a transformer block, or ``last_hidden_state``. The others pass through unchanged.

    The widths are known after :meth:`locate`.
    """

    kind = "output"
    fields = ("output",)

    _width: int | None = None
    _dtype: torch.dtype = torch.float32
    _channels_first = False

    @property
    def weight(self) -> Never:
        raise UserError(f"The site {self.path!r} is the output of a {self._module_name}, which has no weight matrix.")

    @property
    def bias(self) -> Never:
        raise UserError(f"The site {self.path!r} is the output of a {self._module_name}, which has no bias.")

    @property
    def _module_name(self) -> str:
        return type(self.module).__name__

    @property
    def d_in(self) -> int:
        return self.d_out

    @property
    def d_out(self) -> int:
        if self._width is None:
            raise RuntimeError(f"the width of {self.path} is known after a forward pass: call locate(backbone) first")
        return self._width

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def layer_macs(self) -> None:
        return None

    def identity(self) -> dict[str, Any]:
        """Return path and kind, for identities of what is computed on the site."""
        return {**super().identity(), "kind": self.kind}

    def check(self, captured: Captured) -> None:
        """Check nothing: any function of the image is decomposed as it is."""

    def tokens_of(self, output: Any, n_images: int) -> Tensor:
        """Return the tokens (B, T, d) of what the module returned for ``n_images`` images.

        Raises:
            UserError: if it has no tensor of tokens, or several, or if their layout is not known.
        """
        return self._output(output, n_images)

    def put_back(self, output: Any, tokens: Tensor) -> Any:
        """Return what the module returned, with tokens (B, T, d) in place of its own."""
        return self._replaced(output, tokens)

    def _input(self, inputs: tuple[Any, ...], output: Any, n_images: int) -> Tensor:
        return self._output(output, n_images)

    def _output(self, output: Any, n_images: int) -> Tensor:
        tensor = self._tensor(output)
        require_per_image(tensor, n_images, self.path)
        self._channels_first = tensor.ndim == 4 and self._is_channels_first(tuple(tensor.shape[1:]))
        rows = tensor.movedim(1, -1) if self._channels_first else tensor
        self._token_shape = tuple(rows.shape[1:-1])
        self._width, self._dtype = int(rows.shape[-1]), rows.dtype
        return rows.reshape(n_images, -1, self._width)

    def _replaced(self, output: Any, tokens: Tensor) -> Any:
        original = self._tensor(output)
        if not self._channels_first:
            return _rebuilt(output, original, tokens.reshape(original.shape).to(original))
        width, height, depth = original.shape[1:]
        rows = tokens.reshape(len(original), height, depth, width).movedim(-1, 1)
        return _rebuilt(output, original, rows.to(original).contiguous(memory_format=_format_of(original)))

    def _copied(self, output: Any) -> Any:
        original = self._tensor(output)
        return _rebuilt(output, original, original.clone())

    def _tensor(self, output: Any) -> Tensor:
        """Return the tensor with the tokens among what the module returned."""
        if isinstance(output, Tensor):
            candidates = [output]
        else:
            values = list(output.values() if isinstance(output, Mapping) else output if _is_sequence(output) else ())
            candidates = [value for value in values if isinstance(value, Tensor) and value.is_floating_point()]
            # Attention maps and the like come after the hidden states, and have another number of dimensions.
            candidates = [value for value in candidates if value.ndim == candidates[0].ndim]
        if isinstance(self.module, (nn.Softmax, nn.LogSoftmax)) and candidates and candidates[0].ndim == 4:
            raise UserError(
                f"The module {self.path!r} ({self._module_name}) returns an attention map, with a value per pair "
                "of tokens: choose another one (`harness list sites` names them)."
            )
        if len(candidates) != 1 or not 2 <= candidates[0].ndim <= 4 or not candidates[0].is_floating_point():
            raise UserError(
                f"The module {self.path!r} ({self._module_name}) returns {_described(output)}, and a site is a module "
                "that returns one tensor of tokens per image: choose another one (`harness list sites` names them)."
            )
        return candidates[0]

    def _is_channels_first(self, shape: tuple[int, ...]) -> bool:
        """Return whether a feature map (d, H, W) or (H, W, d) is of the first kind.

        Raises:
            UserError: if neither or both have a token grid of the model.
        """
        if shape[1:] == (1, 1):
            return True
        first = shape[1] == shape[2] and is_grid(shape[1] * shape[2], self.grid_sides)
        last = shape[0] == shape[1] and is_grid(shape[0] * shape[1], self.grid_sides)
        if first != last:
            return first
        size = " x ".join(map(str, shape))
        reason = "both its first and its last two dimensions may be" if first else "no two of its dimensions are"
        raise UserError(
            f"The module {self.path!r} ({self._module_name}) returns {size} values per image, and {reason} a square "
            "token grid of the model: choose another module (`harness list sites` names them)."
        )


def _is_sequence(output: Any) -> bool:
    return isinstance(output, (tuple, list))


def _format_of(original: Tensor) -> torch.memory_format:
    is_last = original.is_contiguous(memory_format=torch.channels_last) and not original.is_contiguous()
    return torch.channels_last if is_last else torch.contiguous_format


def _rebuilt(output: Any, original: Tensor, replacement: Tensor) -> Any:
    """Return a copy of what a module returned, with ``replacement`` in place of the tensor ``original``."""
    if output is original:
        return replacement
    if isinstance(output, Mapping):
        rebuilt: Any = copy.copy(output)
        for key, value in output.items():
            if value is original:
                rebuilt[key] = replacement
        return rebuilt
    values = [replacement if value is original else value for value in output]
    if hasattr(output, "_fields"):
        return type(output)(*values)
    return type(output)(values)


def _described(output: Any) -> str:
    """Return what a module returned, in words."""
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)} and type {output.dtype}"
    if isinstance(output, Mapping) or _is_sequence(output):
        values = output.values() if isinstance(output, Mapping) else output
        shapes = [str(tuple(value.shape)) for value in values if isinstance(value, Tensor)]
        return f"a {type(output).__name__} with tensors of the shapes {', '.join(shapes[:8]) or 'none'}"
    return f"a {type(output).__name__}"
