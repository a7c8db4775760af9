"""Parts of a suite whose cells judges look at, and judges as the command line names them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import UserError

if TYPE_CHECKING:
    from harness.datasets.base import ImageSet
    from harness.suites import Suite
    from results import Store


class StoredPart(NamedTuple):
    """Part of a suite that has finished cells in a store."""

    suite: Suite
    cell_ids: list[str]
    images: ImageSet
    """evaluation split of the part"""


def stored_parts(suite: Suite, name: str, opened: Store, path: Path) -> list[StoredPart]:
    """Return the parts of a suite with finished cells; if some have a judging section, the others are left out.

    Args:
        suite: the suite.
        name: name of the suite as typed.
        opened: the store.
        path: its path as typed.

    Raises:
        UserError: the store has no finished cell of the suite.
    """
    from harness import judging
    from harness.run.selection import selected_in_store

    judged = [part for part in suite.leaves if part.judging is not None]
    parts = []
    for part in judged or suite.leaves:
        images = judging.evaluation_images(part)
        ready = selected_in_store(part, opened, path, images)
        if cell_ids := judging.cells_in_store(opened, ready, images):
            parts.append(StoredPart(part, cell_ids, images))
    if not parts:
        raise UserError(
            f"{path.name} has no finished cell of the suite {suite.name!r}: run `harness run --suite {name}` "
            "first, and give --dataset, --scale and --set the values of that run."
        )
    return parts


def judges_of(members: list[str] | None) -> tuple[dict[str, str], ...] | None:
    """Return the settings of the judges given as ``MODEL`` or ``MODEL@URL``; None without any."""
    if not members:
        return None
    judges = []
    for member in members:
        name, _, url = member.partition("@")
        judges.append({"name": name, **({"base_url": url} if url else {})})
    return tuple(judges)
