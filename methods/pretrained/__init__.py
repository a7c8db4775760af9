"""Sparse autoencoders and dictionaries in files: those of other programs loaded, and those fitted here written.

>>> from methods import pretrained
>>> sae = pretrained.load("hf:USER/NAME")                  # doctest: +SKIP
>>> codes = sae.encode(layer_output)                       # doctest: +SKIP
>>> pretrained.save(method, "sae/", format="saelens")      # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from methods.base import Device, Method
    from methods.pretrained.pretrained_sae import PretrainedSAE

__all__ = ["formats", "load", "save", "writable_formats"]


def formats() -> list[str]:
    """Return the formats of weights that can be read; ``harness`` is what :meth:`methods.base.Method.save` writes."""
    from methods.pretrained.reading import format_names

    return format_names()


def writable_formats() -> list[str]:
    """Return the formats of :func:`formats` in which :func:`save` writes."""
    from methods.pretrained.writing import writable_names

    return writable_names()


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


def save(
    method: Method,
    path: str | Path,
    format: str = "plain",
    *,
    site: str | None = None,
    backbone: str | None = None,
    provenance: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a fitted sparse autoencoder or dictionary so that another program loads it, and return the path.

    What was written is read back, and gives the same codes and reconstructions, before it is moved to ``path``.

    Args:
        method: the fitted method; it must have a form as a trained dictionary
            (:meth:`methods.base.Method.as_trained_dictionary`).
        path: file or folder to write, as the format has it.
        format: one of :func:`writable_formats`.
        site: path of the module that it was fitted on, for readers of the file.
        backbone: name of the backbone.
        provenance: further texts on its origin, by name.
        overwrite: replace an existing file, or these files of an existing folder.

    Raises:
        UserError: if the format cannot be written or has no place for the method, if the path exists or cannot be
            written, or if what was written gives other codes or reconstructions.
    """
    from methods.pretrained.writing import write_dictionary

    return write_dictionary(
        method,
        Path(path),
        format,
        site=site,
        backbone=backbone,
        provenance=provenance,
        overwrite=overwrite,
    )
