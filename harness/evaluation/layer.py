"""Settings of one layer, from a suite and the arguments of a Python caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import UserError
from harness.suites import Suite
from harness.suites.option_types import checked_options
from harness.suites.resolve import resolve_suite
from harness.suites.schema import Seeds
from methods.setting_problems import quoted


def layer_suite(
    suite: str | Path,
    *,
    caller: str,
    seed: int | Sequence[int],
    options: Mapping[str, Any],
    settings: Sequence[str],
    methods: Sequence[str] = (),
) -> Suite:
    """Return a suite without parts whose only target is one layer, with these token seeds.

    Args:
        suite: name or path of the suite whose settings are used; of a suite with parts, the first part that has the
            backbone.
        caller: name of the function that was called, for messages.
        seed: token seed, or several.
        options: options of ``harness.load_suite`` that select backbone, layer, images and head; None is left out.
        settings: ``"KEY=VALUE"`` as of ``--set``.
        methods: names of registered methods, which are added to the suite if it does not list them.

    Raises:
        UserError: for an unknown name, or a value of another type.
    """
    if not isinstance(suite, str | Path):
        raise UserError(f"{caller}: suite = {quoted(suite)}: give the name of a suite, or the path of its file.")
    if not isinstance(settings, list | tuple) or not all(isinstance(text, str) for text in settings):
        raise UserError(f"{caller}: settings = {quoted(settings)}: give a list of texts, such as ['probing.crops=1'].")
    if refused := [text for text in settings if text.strip().startswith("seeds.")]:
        raise UserError(f"{caller}: the setting {refused[0]!r} has no effect: give seed=SEED, or several.")
    given = {name: value for name, value in options.items() if value is not None}
    if "backbone" not in given:
        raise UserError(f"{caller}: backbone = None: give the name of a backbone (harness list backbones).")
    if isinstance(given.get("dataset"), str | Path) and Path(given["dataset"]).is_dir():
        raise UserError(f"{caller}: dataset = {str(given['dataset'])!r} is a folder: give 'folder:{given['dataset']}'.")
    seeds = _seeds(seed, caller)
    checked = checked_options({**given, "settings": settings, "token_seeds": seeds}, caller=caller)
    if methods:
        checked["extra_methods"] = tuple(dict.fromkeys(methods))
    resolved = resolve_suite(str(suite), **checked).suite
    leaf = resolved.leaves[0]
    target = leaf.targets[0].model_copy(update={"token_seeds": None})
    same_layer = [each for each in leaf.targets if (each.backbone, each.site) == (target.backbone, target.site)]
    entries = [entry for each in same_layer for entry in leaf.entries_of(each)]
    unique = tuple(entry for number, entry in enumerate(entries) if entry not in entries[:number])
    only = target.model_copy(update={"methods": unique, "settings": {}, "skip_unsuitable": False})
    return leaf.model_copy(
        update={
            "targets": (only,),
            "methods": (),
            "seeds": Seeds(tokens=tuple(checked["token_seeds"]), init=leaf.seeds.init),
            "judging": None,
            "stability": None,
        }
    )


def _seeds(seed: Any, caller: str) -> tuple[int, ...]:
    """Return the seeds as whole numbers. Raises UserError."""
    given = tuple(seed) if isinstance(seed, list | tuple | range | np.ndarray) else (seed,)
    whole = [int(each) for each in given if isinstance(each, int | np.integer) and not isinstance(each, bool)]
    if not whole or len(whole) < len(given) or not all(0 <= each < 2**32 for each in whole):
        raise UserError(f"{caller}: seed = {quoted(seed)}: give a whole number from 0 to {2**32 - 1}, or several.")
    if len(set(whole)) < len(whole):
        raise UserError(f"{caller}: seed = {quoted(seed)} contains a seed twice: give each once.")
    return tuple(whole)
