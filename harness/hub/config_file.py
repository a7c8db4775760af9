"""``config.json`` of a pushed cell: everything that identifies it, for programs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any

from safetensors import safe_open

from harness import provenance
from harness.hub.cell import PushedCell
from harness.hub.weights import is_pretrained_loadable, reads_of
from methods import METHODS

FILE = "config.json"
#: Value of ``format``, by which a repository of this harness is recognised.
FORMAT = "disentanglement-harness"
FORMAT_VERSION = 1

_SCORE_FIELDS = ("metric", "version", "params", "value", "uncertainty", "uncertainty_kind", "n", "unit", "direction")


def config_text(pushed: PushedCell, weights: Path, license_id: str | None) -> str:
    """Return the content of ``config.json``; undefined numbers are null."""
    cell = pushed.cell
    spec = METHODS.get(str(cell["method"])).spec
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "harness_version": provenance.versions().get("harness"),
        "method": {
            "name": cell["method"],
            "version": pushed.method_version,
            "label": cell["label"],
            "family": spec.family,
            "reads": reads_of(pushed),
            "pretrained_sae": is_pretrained_loadable(str(cell["method"])),
        },
        "config": cell["config"],
        "weights": _weights(weights),
        "backbone": {"name": cell["backbone"], "title": cell["backbone_title"]},
        "site": cell["site"],
        "d_in": cell["d_in"],
        "d_out": cell["d_out"],
        "n_units": cell["n_units"],
        "dataset": {
            "name": cell["dataset"],
            "probing_fingerprint": cell["probing_fingerprint"],
            "evaluation_fingerprint": cell["evaluation_fingerprint"],
        },
        "seeds": {"token": cell["token_seed"], "init": cell["init_seed"]},
        "cell_id": cell["cell_id"],
        "config_id": cell["config_id"],
        "fit_id": cell["fit_id"],
        "identity": cell["identity"],
        "scores": [{name: score[name] for name in _SCORE_FIELDS} for score in pushed.scores],
        "flags": [dataclasses.asdict(flag) for flag in pushed.row.flags] if pushed.row else [],
        "license": license_id,
    }
    return json.dumps(_plain(content), indent=2, sort_keys=False, allow_nan=False) + "\n"


def _weights(file: Path) -> dict[str, Any]:
    with open(file, "rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    tensors = {}
    with safe_open(str(file), framework="pt") as opened:
        for name in sorted(opened.keys()):
            part = opened.get_slice(name)
            tensors[name] = {"dtype": part.get_dtype(), "shape": part.get_shape()}
    return {"file": file.name, "sha256": sha256, "tensors": tensors}


def _plain(value: Any) -> Any:
    """Return a value of JSON: numbers of NumPy as Python's, undefined and missing ones as None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return int(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if hasattr(value, "dtype") and value.dtype.kind in "iu" else number
