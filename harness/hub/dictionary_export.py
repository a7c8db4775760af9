"""Export of one cell: its dictionary as a file or folder that another program loads."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from harness.errors import UserError, first_line
from harness.hub.cell import PushedCell, cell_of
from harness.provenance import versions
from methods import METHODS, pretrained
from methods.base import Method
from methods.plugin_calls import calling
from results.store import Store


class ExportedDictionary(NamedTuple):
    """Result of an export."""

    cell_id: str
    method: str
    format: str
    path: Path
    n_units: int
    width: int
    """features of the layer's output"""


def export_dictionary(
    store: Store, cell: str, out: Path, *, format: str = "plain", force: bool = False
) -> ExportedDictionary:
    """Write the fitted sparse autoencoder or dictionary of a finished cell in a format of another program.

    Args:
        store: the results; fitted methods are in ``artifacts/`` beside it.
        cell: id of the cell or its first digits, or the name of a row that has one finished cell.
        out: file or folder to write, as the format has it.
        format: one of :func:`methods.pretrained.writable_formats`.
        force: replace an existing file, or these files of an existing folder.

    Raises:
        UserError: if the cell has no weights, or :func:`methods.pretrained.save` refuses them or the path.
    """
    pushed = cell_of(store, cell)
    method = _fit(pushed)
    provenance = {
        "harness_version": versions().get("harness", "unknown"),
        "cell_id": pushed.text("cell_id"),
        "method": pushed.text("method"),
        "method_version": str(pushed.method_version),
    }
    pretrained.save(
        method,
        out,
        format,
        site=pushed.text("site"),
        backbone=pushed.text("backbone"),
        provenance=provenance,
        overwrite=force,
    )
    atoms = method.require_dictionary().atoms
    return ExportedDictionary(pushed.text("cell_id"), pushed.text("method"), format, out, *atoms.shape)


def _fit(pushed: PushedCell) -> Method:
    """Return the saved fit of a cell.

    Raises:
        UserError: if it cannot be read.
    """
    name = pushed.text("method")
    cls = METHODS.get(name)
    try:
        with calling(METHODS, name), torch.no_grad():
            method: Method = cls.load(pushed.weights)
    except UserError:
        raise
    except Exception as error:  # the files beside a store may come from anyone
        raise UserError(
            f"The saved fit of the cell {pushed.text('cell_id')} cannot be used ({first_line(error)}): run it again."
        ) from error
    return method
