"""Fits that a harness saved, read from a file of anyone: known methods, known tensors, finite values, no code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from methods import METHODS
from methods.base import Device, Method, read_header
from methods.errors import UserError, first_line
from methods.linear_decoder import LinearDecoder
from methods.plugin_calls import calling
from methods.pretrained.trained_dictionary import TrainedDictionary
from methods.requirements import is_finite
from results.visible_text import one_line

#: Registry name of the method that this package registers; it may be saved and loaded like any other.
_WRAPPER = "pretrained_sae"
#: Most units of loaded weights.
MOST_UNITS = 10_000_000
#: Most characters of a text of a file in a note.
_LONGEST = 80


def read_fit(path: str | Path, device: Device, *, name: str) -> Method:
    """Return the fitted sparse autoencoder or dictionary in a file.

    Args:
        path: the safetensors file.
        device: device of the tensors.
        name: name of the file in messages.

    Raises:
        UserError: if the file was not written by :meth:`methods.base.Method.save`, if its method reads the layer's
            input or has no linear decoder, or if its tensors do not fit together.
    """
    header = _description(read_header(path), name)
    method_name = header["method"]
    cls = TrainedDictionary if method_name == TrainedDictionary.spec.name else METHODS.get(method_name)
    if not is_loadable(cls):
        raise UserError(
            f"{name!r} contains the method {method_name!r}, which is no sparse autoencoder or dictionary of the "
            f"layer's output, so pretrained_sae cannot take it: use methods.METHODS.get({method_name!r}).load(PATH)."
        )
    try:
        with calling(METHODS, method_name), torch.no_grad():
            method = cls.from_header(header, path, device=device)
            require_consistent(method)
    except UserError:
        raise
    except ValidationError as error:
        raise UserError(
            f"{name!r} contains invalid settings of {method_name}: {error.error_count()} errors."
        ) from error
    except Exception as error:  # the file may come from anyone
        raise UserError(f"The weights in {name!r} are damaged ({first_line(error)}).") from error
    return method


def is_loadable(cls: type[Method]) -> bool:
    """Return True if the weights of a method can be taken by ``pretrained_sae``."""
    return issubclass(cls, LinearDecoder) and cls.spec.reads == "output"


def origin_note(path: str | Path) -> str:
    """Return a sentence on where pushed weights were fitted, for readers of results; empty if they do not say it."""
    origin = read_header(path).get("origin")
    if not isinstance(origin, dict):
        return ""

    def text(key: str) -> str:
        value = one_line(str(origin.get(key))[: 2 * _LONGEST])
        return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."

    return (
        f"The weights say that they were fitted by {text('method')} (version {text('method_version')}) on "
        f"{text('backbone')} at {text('site')}, in the cell {text('cell_id')}."
    )


def _description(header: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the description of the method that was saved, also if it had been loaded from a file itself."""
    if header["method"] != _WRAPPER:
        return header
    extra = header.get("extra")
    loaded = extra.get("loaded") if isinstance(extra, dict) else None
    if not isinstance(loaded, dict) or not isinstance(loaded.get("method"), str) or loaded["method"] == _WRAPPER:
        raise UserError(f"{name!r} does not say which method its weights are of.")
    if not isinstance(loaded.get("config"), dict):
        raise UserError(f"{name!r} does not contain the settings of its method.")
    return loaded


def require_consistent(method: Method) -> None:
    """Check that a method from a file has finite tensors, and gives codes and outputs of the right shape."""
    for tensor_name, tensor in method.fitted_tensors().items():
        if tensor.is_complex() or (tensor.ndim > 1 and not tensor.is_floating_point()):
            raise UserError(
                f"The tensor {tensor_name!r} of the weights has the type {tensor.dtype}; weights are real "
                "floating-point numbers."
            )
        if not is_finite(tensor):
            raise UserError(f"The tensor {tensor_name!r} of the weights contains NaN or infinity.")
    width, n_units, atoms = method.input_width, method.n_units, method.require_dictionary().atoms
    if width is None or not 0 < n_units <= MOST_UNITS or atoms.ndim != 2:
        raise UserError("The weights have no atoms (n_units, width).")
    rows = torch.arange(2.0 * width, device=atoms.device).reshape(2, width)
    codes = method.encode(rows)
    output = method.reconstruct(codes, rows)
    if codes.shape != (2, n_units) or output.shape != (2, atoms.shape[1]):
        raise UserError(
            f"The tensors of the weights do not fit together: codes {tuple(codes.shape)}, outputs "
            f"{tuple(output.shape)}."
        )
    if method.spec.reads == "output" and output.shape[1] != width:
        raise UserError(f"The weights read {width} features and write {output.shape[1]}: both must be of one layer.")
