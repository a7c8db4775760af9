"""Files that hold many images each: their paths, and the split that their names tell."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from harness.datasets.split_names import AmbiguousSplitsError, choose_splits, join, roles_of
from methods.errors import UserError

MOST_SHARDS = 100_000


def shard_files(identifier: str, suffix: str) -> dict[str, Path]:
    """Return the files that an identifier names, by their titles: the file name, with its folder if there are several.

    Args:
        identifier: path of a file, of a folder with files in it or one folder below, or a pattern with ``*``.
        suffix: of the files, e.g. ``.tar``.

    Raises:
        UserError: if there is no file, or there are more than :data:`MOST_SHARDS`.
    """
    kind = suffix.removeprefix(".")
    path = Path(identifier).expanduser()
    matches: list[Path] = []
    if path.is_dir():
        matches = [*path.glob(f"*{suffix}"), *path.glob(f"*/*{suffix}")]
    elif path.exists():
        matches = [path]
    else:
        start = Path(path.anchor)
        with contextlib.suppress(ValueError):  # of a pattern such as "**x"
            matches = [match for match in start.glob(str(path.relative_to(start))) if match.is_file()]
    if not matches:
        raise UserError(
            f"There is no {kind} file {identifier!r}: give the path of a {suffix} file, of a folder with such files, "
            "or a pattern with * (quoted in a shell)."
        )
    if len(matches) > MOST_SHARDS:
        raise UserError(f"{identifier!r} has {len(matches):,} {kind} files, and at most {MOST_SHARDS:,} are read.")
    base = Path(os.path.commonpath([match.parent for match in matches]))
    titles = {match.relative_to(base).as_posix(): match for match in sorted(matches)}
    return {as_text(title if title.endswith(suffix) else f"{title}{suffix}"): match for title, match in titles.items()}


def group_of(title: str, suffix: str) -> str:
    """Return the name of a file without its number: ``train-007.tar``, ``train/7-of-9.tar`` are both of train."""
    return re.sub(r"[\W_]*[0-9]+(-of-[0-9]+)?([\W_]+[0-9a-f]{8,})?$", "", title.removesuffix(suffix))


def splits_of(groups: list[str], identifier: str) -> tuple[str | None, frozenset[str]]:
    """Return the group of the training files, or None without a predefined split, and the groups that are left out.

    Raises:
        UserError: if the groups name splits in a way that can be read in two ways.
    """
    groups = list(dict.fromkeys(groups))
    roles = roles_of(groups)
    if len(groups) == 1 or not roles:
        return None, frozenset()
    try:
        choice = choose_splits(roles)
    except AmbiguousSplitsError as error:
        raise UserError(
            f"The shards of {identifier!r} cannot be divided: {error}. Give a pattern of one split."
        ) from None
    if choice.evaluation is None:
        raise UserError(
            f"The shards of {identifier!r} are named {join(groups)}, of which only {choice.probing} is a split: give a "
            "pattern of one of them."
        )
    return choice.probing, frozenset(groups) - {choice.probing, choice.evaluation}


def as_text(name: str) -> str:
    r"""Escape bytes of a name that are invalid UTF-8 (as ``\udcff``), so that it can be hashed, printed and stored."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
