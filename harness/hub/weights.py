"""The file of weights that is pushed: the tensors of a saved fit, and a header without paths of this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from harness.errors import UserError, first_line
from harness.hub.cell import PushedCell
from methods import METHODS
from methods.atomic import partial_file
from methods.base import Method, read_header
from methods.plugin_calls import calling
from methods.pretrained.saved import is_loadable, read_fit

#: Name of the file in the repository.
FILE = "model.safetensors"
#: Rows of random numbers whose codes the written file must reproduce.
ROWS = 64
#: Most features of a layer.
MOST_FEATURES = 1_000_000


def write_weights(pushed: PushedCell, folder: Path) -> Path:
    """Write the weights to a folder, check that they give the same codes to the bit, and return the file.

    Settings are those of the cell's record, where the hash of a file stands for its path.

    Raises:
        UserError: if the fit cannot be read, or its method is not registered.
    """
    header = read_header(pushed.weights)
    target = folder / FILE
    with safe_open(str(pushed.weights), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a safetensors file is no mapping
    written: dict[str, Any] = {
        "method": header["method"],
        "config": _config(pushed),
        "extra": header.get("extra", {}),
        "origin": {
            "method": header["method"],
            "method_version": pushed.method_version,
            "backbone": pushed.cell["backbone"],
            "site": pushed.cell["site"],
            "cell_id": pushed.cell["cell_id"],
        },
    }
    with partial_file(target) as partial:
        save_file(tensors, partial, metadata={"harness": json.dumps(written, sort_keys=True)})
    _require_same_codes(pushed, target)
    return target


def is_pretrained_loadable(name: str) -> bool:
    """Return True if ``pretrained_sae`` can load the weights of a method."""
    cls = METHODS.get(name)
    return name == "pretrained_sae" or is_loadable(cls)


def reads_of(pushed: PushedCell) -> str:
    """Return the side of the layer that a saved fit reads, ``input`` or ``output``: weights say their own."""
    spec = METHODS.get(pushed.text("method")).spec
    if not spec.fitted_elsewhere:
        return spec.reads
    loaded = read_header(pushed.weights).get("extra", {}).get("loaded", {})
    return "input" if loaded.get("config", {}).get("reads") == "input" else spec.reads


def _config(pushed: PushedCell) -> Any:
    """Return the recorded settings; weights that were loaded have a name with the ending that the setting requires."""
    config = dict(pushed.cell["config"])
    if pushed.cell["method"] == "pretrained_sae" and not str(config.get("weights")).startswith("hf:"):
        config["weights"] = FILE
    return config


def _require_same_codes(pushed: PushedCell, target: Path) -> None:
    name = str(pushed.cell["method"])
    cls = METHODS.get(name)
    try:
        with calling(METHODS, name), torch.no_grad():
            before: Method = cls.load(pushed.weights)
            after = read_fit(target, "cpu", name=FILE) if is_pretrained_loadable(name) else cls.load(target)
            width = before.input_width or pushed.cell["d_in" if before.spec.reads == "input" else "d_out"]
            rows = torch.randn(ROWS, min(int(width), MOST_FEATURES), generator=torch.Generator().manual_seed(0))
            first, second = before.encode(rows), after.encode(rows)
    except UserError:
        raise
    except Exception as error:  # the files beside a store may come from anyone
        raise UserError(
            f"The saved fit of the cell {pushed.cell['cell_id']} cannot be used ({first_line(error)}): run it again."
        ) from error
    if first.dtype != second.dtype or not torch.equal(first.nan_to_num(), second.nan_to_num()):
        raise UserError(f"The weights of {name}, written for the Hub, give other codes than the saved fit.")
