"""Push of one cell: its files in a folder, and from there to the Hub."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from harness.errors import UserError
from harness.hub import card, config_file
from harness.hub.cell import PushedCell, cell_of
from harness.hub.upload import Uploaded, require_upload, target_of, upload
from harness.hub.weights import FILE as WEIGHTS
from harness.hub.weights import is_pretrained_loadable, write_weights
from methods.atomic import partial_file
from results.store import Store

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")


class Pushed(NamedTuple):
    """Result of a push."""

    repository: str
    cell_id: str
    files: tuple[Path, ...]
    """in the folder of a dry run; names only after an upload"""
    uploaded: Uploaded | None
    """None after a dry run"""
    reference: str | None
    """``hf:USER/NAME@REVISION`` for ``pretrained_sae``; None if it cannot load the method"""


def push(
    store: Store,
    cell: str,
    to: str,
    *,
    dry_run: Path | None = None,
    private: bool = False,
    replace: bool = False,
    title: str | None = None,
    license_id: str | None = None,
) -> Pushed:
    """Write the weights, configuration and model card of a finished cell, and upload them to the Hugging Face Hub.

    Args:
        store: the results; fitted methods are in ``artifacts/`` beside it.
        cell: id of the cell or its first digits, or the name of a row that has one finished cell.
        to: ``hf:USER/NAME``.
        dry_run: folder to write the files to instead, without a network; new or empty, or that of an earlier dry run.
        private: make a new repository private.
        replace: replace the files of a repository that this harness has not written.
        title: heading of the card; default: the method and its backbone.
        license_id: licence of the weights as the Hub names it, e.g. ``cc-by-4.0``; default: not stated.

    Raises:
        UserError: if the cell has no weights, the target is invalid, or the upload fails.
    """
    repository = target_of(to)
    if license_id is not None and not _LICENSE.fullmatch(license_id):
        raise UserError(f"--license {license_id!r}: give an identifier as the Hub names it, such as apache-2.0 or mit.")
    if dry_run is None:
        require_upload()
    pushed = cell_of(store, cell)
    cell_id = pushed.text("cell_id")
    reference = f"hf:{repository}" if is_pretrained_loadable(pushed.text("method")) else None
    if dry_run is not None:
        _require_folder(dry_run)
        return Pushed(repository, cell_id, _written(pushed, repository, dry_run, title, license_id), None, reference)
    with tempfile.TemporaryDirectory(prefix="harness-push-") as folder:
        files = _written(pushed, repository, Path(folder), title, license_id)
        message = f"Push the cell {cell_id} of disentanglement-harness"
        uploaded = upload(files, repository, private=private, message=message, replace=replace)
    names = tuple(Path(file.name) for file in files)
    return Pushed(repository, cell_id, names, uploaded, reference and f"{reference}@{uploaded.revision}")


def _written(
    pushed: PushedCell, repository: str, folder: Path, title: str | None, license_id: str | None
) -> tuple[Path, ...]:
    """Write the three files to a folder and return them; the card last, so that a folder with a card is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = write_weights(pushed, folder)
    config, readme = folder / config_file.FILE, folder / card.FILE
    for file, content in (
        (config, config_file.config_text(pushed, weights, license_id)),
        (readme, card.card_text(pushed, repository, title=title, license_id=license_id)),
    ):
        with partial_file(file) as partial:
            partial.write_text(content, encoding="utf-8", newline="\n")
    return readme, config, weights


def _require_folder(folder: Path) -> None:
    """Check that a dry run overwrites nothing but the files of an earlier one."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"--dry-run {str(folder)!r} is no folder: give a new or empty one.")
    others = [path.name for path in folder.iterdir() if path.name not in (card.FILE, config_file.FILE, WEIGHTS)]
    if others:
        raise UserError(f"The folder {str(folder)!r} has other files ({others[0]!r}): give a new or empty one.")
