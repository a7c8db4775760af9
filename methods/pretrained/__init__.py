"""Sparse autoencoders and dictionaries that were fitted elsewhere, loaded from a file or from the Hugging Face Hub.

>>> from methods import pretrained
>>> sae = pretrained.load("hf:USER/NAME")                  # doctest: +SKIP
>>> codes = sae.encode(layer_output)                       # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from methods.base import Device
    from methods.pretrained.pretrained_sae import PretrainedSAE

__all__ = ["formats", "load"]


def formats() -> list[str]:
    """Return the formats of weights that can be read; ``harness`` is what :meth:`methods.base.Method.save` writes."""
    from methods.pretrained.reading import format_names

    return format_names()


def load(
    path: str | Path, format: str = "auto", *, device: Device = "cpu", **settings: bool | int | float | str
) -> PretrainedSAE:
    """Return a fitted method from a file or folder of weights, or from ``hf:USER/NAME[@REVISION][/PATH]``.

    Args:
        path: the weights; those of the Hub are downloaded to its cache.
        format: one of :func:`formats`, or ``"auto"``, which recognises them.
        device: device of the tensors.
        settings: what the files of some formats do not say, such as ``k`` (docs/dictionaries.md).

    Raises:
        UserError: if the weights cannot be had, or are not those of a sparse autoencoder or dictionary.
    """
    from methods.base import make_config
    from methods.pretrained.pretrained_sae import PretrainedSAE

    return PretrainedSAE(make_config(PretrainedSAE, {"weights": path, "format": format, "settings": settings})).read(
        device
    )
