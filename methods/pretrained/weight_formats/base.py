"""Contract of a format of weights: recognise it, and read it into one normal form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from methods.errors import UserError
from methods.pretrained.source import Source
from methods.pretrained.trained_dictionary import TrainedConfig, TrainedDictionary


class Trained(NamedTuple):
    """Trained dictionary, and what its files say about where it belongs."""

    dictionary: TrainedDictionary
    site: str | None = None
    """name of the site in the words of the program that trained it"""
    backbone: str | None = None
    notes: tuple[str, ...] = ()
    """sentences for readers of its results"""


class WeightsFormat(ABC):
    """Format in which a program saves the dictionaries that it trains."""

    name: ClassVar[str]
    description: ClassVar[str]
    proof: ClassVar[str]
    """Source of the files that the reader was tested on: the program itself, or its documented layout."""
    settings: ClassVar[Mapping[str, str]] = {}
    """Name -> meaning of what a user may say and the files do not."""
    refines: ClassVar[frozenset[str]] = frozenset()
    """Formats that recognise files of this one as well: this one is chosen then."""

    @classmethod
    def files_of(cls, names: Sequence[str]) -> Sequence[str]:
        """Return the files that the format reads, of a folder with files of these names.

        Empty if the folder cannot be of this format. Only these files are downloaded from a repository.
        """
        return ()

    @abstractmethod
    def recognises(self, source: Source) -> bool:
        """Return True if a file or folder is of this format. It must not raise for any content."""

    @abstractmethod
    def read(self, source: Source) -> Trained:
        """Return the dictionary.

        Raises:
            UserError: if the content is not as the format says, or needs what the harness does not compute. The message
                is the end of a sentence that starts with the file.
        """


class WritableFormat(WeightsFormat):
    """Format in which a dictionary can be written as well, so that its program loads it."""

    writes_folder: ClassVar[bool] = False
    """If true, :meth:`write` is given a folder, else a file that ends in ``.safetensors``."""

    @abstractmethod
    def write(self, trained: Trained, target: Path, provenance: Mapping[str, str]) -> None:
        """Write a dictionary.

        Args:
            trained: the dictionary, with the path of its site and the name of its backbone as the harness has them.
            target: file that does not exist yet, or an empty folder.
            provenance: texts on its origin, which readers do not need.

        Raises:
            UserError: if the format has no place for the computation of this dictionary. The message is the end of a
                sentence that starts with the format.
        """


def tensors_of(dictionary: TrainedDictionary) -> dict[str, Tensor]:
    """Return the fitted tensors by name, as contiguous float32 on the CPU that shares no memory."""
    return {name: getattr(dictionary, name).detach().cpu().float().clone().contiguous() for name in dictionary.fitted}


def normal_form(
    *,
    encoder: Tensor,
    encoder_bias: Tensor | None,
    decoder: Tensor,
    output_bias: Tensor | None,
    input_bias: Tensor | None = None,
    input_scale: float = 1.0,
    unit_scale: Tensor | None = None,
    config: dict[str, Any] | None = None,
    activation: Mapping[str, Tensor] | None = None,
) -> TrainedDictionary:
    """Return the dictionary ``codes = act(encoder (x * input_scale - input_bias) + encoder_bias)``, folded.

    Args:
        encoder: (n_units, d_in).
        encoder_bias: (n_units,); None: zeros.
        decoder: (n_units, d_out).
        output_bias: (d_out,), in the space of the scaled input; None: zeros.
        input_bias: (d_in,) subtracted from the scaled input; None: zeros.
        input_scale: factor of the input; outputs are divided by it.
        unit_scale: (n_units,) factor of each pre-activation, by which the atoms are divided; None: ones.
        config: settings of :class:`TrainedConfig`.
        activation: further tensors of the activation, named as the attributes of :class:`TrainedDictionary`.

    Raises:
        UserError: if shapes do not fit together.
    """
    matrices = {"encoder": encoder, "decoder": decoder}
    for name, matrix in matrices.items():
        if matrix.ndim != 2 or not matrix.is_floating_point():
            raise UserError(f"its {name} has the shape {tuple(matrix.shape)} and type {matrix.dtype}, and is no matrix")
    if len(encoder) != len(decoder):
        raise UserError(f"its encoder has {len(encoder)} units and its decoder {len(decoder)}")
    encoder, decoder = encoder.float(), decoder.float()
    vectors: dict[str, tuple[Tensor | None, int]] = {
        "encoder bias": (encoder_bias, len(encoder)),
        "output bias": (output_bias, decoder.shape[1]),
        "input bias": (input_bias, encoder.shape[1]),
        "scale of the units": (unit_scale, len(encoder)),
    }
    for name, (vector, size) in vectors.items():
        if vector is not None and tuple(vector.shape) != (size,):
            raise UserError(f"its {name} has the shape {tuple(vector.shape)}, and it must be ({size},)")
    further = {name: tensor.float() for name, tensor in (activation or {}).items()}
    bias = encoder.new_zeros(len(encoder)) if encoder_bias is None else encoder_bias.float()
    if input_bias is not None:
        shift = encoder @ input_bias.float()
        bias = bias - shift
        if "value_bias" in further:
            further["value_bias"] = further["value_bias"] - further["value_scale"] * shift
    scale = encoder.new_ones(len(encoder)) if unit_scale is None else unit_scale.float()
    offset = decoder.new_zeros(decoder.shape[1]) if output_bias is None else output_bias.float()
    tensors = {
        "encoder_weight": encoder * scale[:, None] * input_scale,
        "encoder_bias": bias * scale,
        "atoms": decoder / scale[:, None] / input_scale,
        "output_bias": offset / input_scale,
        **further,
    }
    return TrainedDictionary.of(TrainedConfig(**(config or {})), tensors)
