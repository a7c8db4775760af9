"""Check of a fit that several workers compute together (:class:`methods.divisible.DivisibleFit`)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from harness.check.finding import NotApplicable, other_globals, require
from methods.base import make_config
from methods.divisible import DivisibleFit

if TYPE_CHECKING:
    from harness.check.methods import CheckedMethod


def same_fit_in_parts(of: CheckedMethod) -> None:
    """Check that a fit in two parts, and one of which a part was lost, give the same tensors as a fit as a whole."""
    if not issubclass(of.cls, DivisibleFit):
        raise NotApplicable("the fit does not divide")
    config = make_config(of.cls, dict(of.config))
    n_items = of.cls.fit_items(config, of.site)
    require(
        isinstance(n_items, int) and not isinstance(n_items, bool),
        f"fit_items returns {n_items!r}; it must return a whole number.",
    )
    if n_items < 2:
        raise NotApplicable("these settings give a fit of one item")
    half = n_items // 2
    for parts in ((range(half, n_items), range(half)), (range(half, n_items),)):
        with tempfile.TemporaryDirectory() as folder, other_globals(2000 + len(parts)):
            for items in parts:
                part = of.cls(config)
                part.work_dir = Path(folder)
                part.fit_part(of.given.tokens, of.given.site, items, seed=1, device=of.device)
                require(any(Path(folder).iterdir()), "fit_part leaves no file in work_dir, so its work is lost.")
            method = of.cls(config)
            method.work_dir = Path(folder)
            method.fit(of.given.tokens, of.given.site, seed=1, device=of.device)
        which = "two parts" if len(parts) == 2 else "one of two parts, of which the other was lost,"
        whole, joined = of.method.fitted_tensors(), method.fitted_tensors()
        for name in sorted({*whole, *joined}):
            same = name in whole and name in joined and torch.equal(_plain(joined[name]), _plain(whole[name]))
            require(
                same,
                f"A fit from {which} has another {name!r} than a fit as a whole: an item must depend neither on other "
                "items nor on the range that it is computed with.",
            )


def _plain(values: torch.Tensor) -> torch.Tensor:
    """Return the values with NaN replaced, which is equal to nothing."""
    return values.nan_to_num(nan=-1.0) if values.is_floating_point() else values
