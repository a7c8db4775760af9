"""Sites of a backbone: the one at a path, and the paths that can be one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from harness.activations.linear_site import LinearLayerSite, linear_obstacle
from harness.activations.output_site import OutputSite
from harness.activations.site import Site, SiteKind
from harness.errors import UserError
from methods.registry import did_you_mean, natural_key, nearest

if TYPE_CHECKING:
    from harness.backbones.base import Backbone


def open_site(backbone: Backbone, path: str) -> Site:
    """Return the site at ``path`` of a backbone: a linear site if the module is a linear map, else its output.

    The network is run on two blank images to find the positions of the tokens.

    Raises:
        UserError: if there is no such module (the message names the nearest ones), if it is not called exactly once, or
            if it does not return one tensor of tokens with known positions.
    """
    modules = dict(backbone.model.named_modules())
    if path not in modules or not path:
        raise UserError(f"The backbone has no layer {path!r}. {nearest_sentence(path, backbone.model)}")
    kind = OutputSite if linear_obstacle(modules[path]) else LinearLayerSite
    site = kind(backbone.model, path, n_prefix_tokens=backbone.n_prefix_tokens, grid_sides=backbone.grid_sides)
    site.backbone_name = backbone.name
    site.locate(backbone)
    return site


class SiteRow(NamedTuple):
    """Site of a backbone, as it is listed."""

    path: str
    kind: SiteKind
    d_in: int | None
    """width of the input of a linear site"""
    d_out: int


def all_sites(backbone: Backbone) -> list[SiteRow]:
    """Return all sites of a backbone, in natural order: the linear ones, and every module that changes tokens.

    Modules that return their argument (dropout, identity) are left out.
    """
    rows: dict[str, SiteRow] = {}
    calls: dict[str, list[OutputSite | None]] = {}

    def hook_of(site: OutputSite) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            changes = not any(value is output for value in inputs)
            calls.setdefault(site.path, []).append(site if changes and _is_usable(site, output) else None)

        return hook

    modules = {path: module for path, module in backbone.model.named_modules() if path}
    layout: dict[str, Any] = {"n_prefix_tokens": backbone.n_prefix_tokens, "grid_sides": backbone.grid_sides}
    handles = [
        module.register_forward_hook(hook_of(OutputSite(backbone.model, path, **layout)))
        for path, module in modules.items()
        if linear_obstacle(module)
    ]
    try:
        with torch.inference_mode():
            backbone.features(backbone.blank_images(2))
    finally:
        for handle in handles:
            handle.remove()
    for path, sites in calls.items():
        if len(sites) == 1 and sites[0] is not None:
            rows[path] = SiteRow(path, "output", None, sites[0].d_out)
    for path in linear_paths(backbone.model):
        site = LinearLayerSite(backbone.model, path, **layout)
        rows[path] = SiteRow(path, "linear", site.d_in, site.d_out)
    return [rows[path] for path in sorted(rows, key=natural_key)]


def _is_usable(site: OutputSite, output: Any) -> bool:
    """Return whether a module's output for two images is one vector per token with known positions."""
    try:
        tokens: Tensor = site.tokens_of(output, 2)
        site.positions(tokens.shape[1])
    except UserError:
        return False
    return True


def linear_paths(model: nn.Module) -> list[str]:
    """Return the module paths of all linear sites of a model, in natural order."""
    paths = [name for name, module in model.named_modules() if name and linear_obstacle(module) is None]
    return sorted(paths, key=natural_key)


def nearest_linear(path: str, model: nn.Module, count: int = 3) -> list[str]:
    """Return the linear sites nearest to a module: those inside it, the last one first, then those before it."""
    order = [name for name, _ in model.named_modules()]
    linear = [name for name in order if linear_obstacle(model.get_submodule(name)) is None] if order else []
    inside = [name for name in linear if name.startswith(f"{path}.")]
    position = order.index(path) if path in order else len(order)
    before = [name for name in linear if order.index(name) < position]
    return [*reversed(inside), *reversed(before)][:count]


def nearest_sentence(path: str, model: nn.Module) -> str:
    """Return a sentence that names the paths nearest to ``path``, or all of them if there are few."""
    paths = linear_paths(model)
    if len(paths) <= 12:
        return did_you_mean(path, paths)
    every = [name for name, _ in model.named_modules() if name]
    hint = nearest(path, every) or f"The last linear layers are {', '.join(paths[-3:])}. "
    return f"{hint}`harness list sites --backbone NAME` lists all sites."
