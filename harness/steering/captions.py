"""Captions of a vision-language model before and after edits of its vision tower (ELUDe paper, App. C.3).

At a site of the tower, the output of every view becomes ``a + decode(codes') - decode(codes)``. In ``codes'`` the
activations of the units to amplify are scaled by alpha and those of the units to suppress by gamma, at the nu patches
of each view at which a unit is most active (:mod:`harness.activations.interventions`). They are counted per view and
not per image: the whole image and each of its crops are separate inputs of the tower, with a grid of patches each. The
paper states no rule for crops. Patches on the black margin of a crop may be among them; the model drops these later.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from harness.activations.interventions import Edit, edit_of, intervened, require_editable
from harness.activations.site import Site, Tap
from harness.errors import UserError
from harness.steering.caption_model import MAX_NEW_TOKENS, PROMPT, CaptionModel
from methods.additive import AdditiveSplit
from methods.base import Method
from results.tables import Table
from results.visible_text import one_line

__all__ = [
    "BASELINE",
    "MAX_NEW_TOKENS",
    "PROMPT",
    "CaptionModel",
    "Captioned",
    "Setting",
    "caption_settings",
    "captions_table",
    "require_fitting",
]

#: Name of the setting without an edit.
BASELINE = "baseline"


class Setting(NamedTuple):
    """Edit of some units, under a name."""

    name: str
    amplify: Sequence[int] = ()
    """units whose activations are scaled by alpha; also those that are in ``suppress``"""
    suppress: Sequence[int] = ()
    """units whose activations are scaled by gamma"""
    alpha: float = 5.0
    gamma: float = -5.0
    patches: int | None = None
    """nu: number of patches per unit and view; None: all"""

    def edit(self) -> Edit:
        """Return the edit.

        Raises:
            UserError: if alpha or gamma is not a finite number.
        """
        return edit_of(
            list(self.amplify), list(self.suppress), alpha=self.alpha, gamma=self.gamma, patches=self.patches
        )


class Captioned(NamedTuple):
    """Caption of one image under one setting."""

    image: str
    """name of the image"""
    setting: str
    caption: str
    touched: tuple[tuple[int, ...], ...]
    """per view, the positions of the patches at which a unit was edited (row by row from 0); empty for the baseline"""
    seconds: float


def caption_settings(
    model: CaptionModel, site: Site, method: Method, image: Image.Image, settings: Sequence[Setting], *, name: str = ""
) -> list[Captioned]:
    """Return the captions of an image without an edit and under each setting, in this order.

    Args:
        model: the vision-language model.
        site: layer of its vision tower, ``model.open_site(path)``.
        method: method fitted on that layer of that tower.
        image: RGB image.
        settings: the edits, under different names.
        name: name of the image in the results.

    Raises:
        UserError: before anything is computed, if a setting is invalid, the method is virtual or of another layer, or
            the layer has no effect on captions; also if the model fails.
    """
    require_settings(settings)
    require_fitting(method, site)
    device = model.backbone.device
    method.to(device)
    for setting in settings:
        _rehearse(method, site, setting.edit(), device)
    if settings:
        model.require_effect(site, image)
    return [_captioned(model, site, method, image, name, setting) for setting in (Setting(BASELINE), *settings)]


def _captioned(
    model: CaptionModel, site: Site, method: Method, image: Image.Image, name: str, setting: Setting
) -> Captioned:
    start = time.perf_counter()
    touched: list[tuple[int, ...]] = []
    tap = _tap_of(site, method, setting.edit(), touched)
    with nullcontext() if setting.name == BASELINE else model.tapped(site, tap):
        caption = model.caption(image)
    return Captioned(name, setting.name, caption, tuple(touched), time.perf_counter() - start)


def _tap_of(site: Site, method: Method, edit: Edit, touched: list[tuple[int, ...]]) -> Tap:
    """Return the function that edits the tokens of all views, and appends the touched positions of each to a list."""

    def tap(q: Tensor, a: Tensor) -> Tensor:
        positions = site.positions(a.shape[1])
        done = intervened(method, edit, q, a, positions)
        mask = done.touched.any(-1).cpu()
        touched.extend(tuple(positions[view].tolist()) for view in mask)
        return done.output

    return tap


def require_settings(settings: Sequence[Setting]) -> None:
    """Check the names and factors of settings.

    Raises:
        UserError: if a name is empty, occurs twice or is that of the baseline, or a factor is not a finite number.
    """
    names = [setting.name for setting in settings]
    for name in names:
        if not name.strip() or name == BASELINE or names.count(name) > 1:
            raise UserError(
                f"The setting {name!r} needs another name: not empty, not {BASELINE!r}, and used by one setting only."
            )
    for setting in settings:
        setting.edit()


def require_fitting(method: Method, site: Site) -> None:
    """Check that a method can be steered, and was fitted on a layer of a site's kind and widths.

    Raises:
        UserError: if it cannot, or was not.
    """
    require_editable(method)
    name = method.spec.name
    if method.spec.reads == "input" and site.kind == "output":
        raise UserError(
            f"{name} reads the input of a linear layer, and {site.path!r} is the output of a "
            f"{type(site.module).__name__}: use the layer that it was fitted on."
        )
    width = site.d_in if method.spec.reads == "input" else site.d_out
    end = "input" if method.spec.reads == "input" else "output"
    if method.input_width is not None and method.input_width != width:
        raise UserError(
            f"{name} was fitted on another layer than {site.path!r}: it reads an {end} of width {method.input_width}, "
            f"and that of the layer has the width {width}. Use the layer and the model that it was fitted on."
        )
    if isinstance(method, AdditiveSplit) and int(method.width) != site.d_out:
        raise UserError(
            f"{name} was fitted on another layer than {site.path!r}: it splits {int(method.width)} neurons, and the "
            f"layer has {site.d_out}. Use the layer and the model that it was fitted on."
        )


def _rehearse(method: Method, site: Site, edit: Edit, device: torch.device) -> None:
    """Make an edit of one random token, so that its errors come before anything is computed."""
    generator = torch.Generator().manual_seed(0)
    q, a = (torch.randn(1, 1, width, generator=generator).to(device, site.dtype) for width in (site.d_in, site.d_out))
    intervened(method, edit, q, a, torch.zeros(1, dtype=torch.int32))


def captions_table(captions: Sequence[Captioned]) -> Table:
    """Return a table of captions, one row per image and setting."""
    rows = [
        (one_line(row.image), one_line(row.setting), _patches(row), one_line(row.caption), f"{row.seconds:.1f}")
        for row in captions
    ]
    header = ("image", "setting", "edited patches", "caption", "s")
    return Table("Captions", header, rows, (False, False, False, False, True))


def _patches(row: Captioned) -> str:
    if not row.touched:
        return ""
    views = "1 view" if len(row.touched) == 1 else f"{len(row.touched)} views"
    return f"{sum(map(len, row.touched))} in {views}"
