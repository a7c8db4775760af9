"""Suitability of methods for a site: some need a linear layer, and trained dictionaries a layer of their width."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from harness.activations.site import needs_linear
from harness.activations.sites import nearest_linear
from harness.errors import UserError
from harness.identity import canonical
from harness.suites import MethodEntry, Suite
from harness.suites.schema import names_of
from methods import METHODS
from methods.base import make_config
from methods.file_settings import plain_config
from methods.plugin_calls import calling

if TYPE_CHECKING:
    from harness.activations.site import Site
    from harness.backbones.base import Backbone
    from harness.cells.plan import PreparedTarget
    from harness.datasets.base import ImageSet


class LayerWithImages(Protocol):
    """Layer of a loaded backbone, with the images to fit on."""

    @property
    def backbone(self) -> Backbone: ...

    @property
    def site(self) -> Site: ...

    @property
    def probing(self) -> ImageSet: ...


class _Widths(NamedTuple):
    """Widths of the layer that a method needs; None: any."""

    d_in: int | None
    d_out: int | None


#: Method and settings -> widths of the layer that they need.
_widths: dict[str, _Widths] = {}


def suitable_entries(suite: Suite, target: PreparedTarget) -> list[MethodEntry]:
    """Return the entries of a target that its site suits.

    Raises:
        UserError: if an entry does not suit the site, and the target does not say that such entries are skipped; or if
            weights of a trained dictionary cannot be read.
    """
    entries = suite.methods_of(target.target)
    unsuitable = unsuitable_entries(entries, target)
    suitable = [entry for entry in entries if entry not in unsuitable]
    if unsuitable and not (target.target.skip_unsuitable and suitable):
        raise UserError(_refusal(unsuitable, suitable, target))
    return suitable


def unsuitable_entries(entries: Sequence[MethodEntry], target: LayerWithImages) -> list[MethodEntry]:
    """Return the entries that do not suit the site of a target."""
    return [
        entry
        for entry in entries
        if _lacks_layer(entry, target) or _lacks_names(entry, target) or _other_widths(entry, target) is not None
    ]


def refusal(entry: MethodEntry, target: LayerWithImages) -> str:
    """Return the sentence that says why an entry does not suit a layer; empty if it does.

    Raises:
        UserError: if weights of a trained dictionary cannot be read.
    """
    return _refusal([entry], [], target) if unsuitable_entries([entry], target) else ""


def require_named(suite: Suite, prepared: Sequence[PreparedTarget], named: Collection[str]) -> None:
    """Check that each method that the user names suits at least one of the targets that list it.

    Raises:
        UserError: if one does not; the others may be left out of targets that do not suit them.
    """
    for name in named:
        listed = [
            (target, [entry for entry in suite.methods_of(target.target) if name in names_of(entry)])
            for target in prepared
        ]
        left_out = [(target, unsuitable_entries(entries, target)) for target, entries in listed if entries]
        if left_out and sum(len(entries) for _, entries in listed) == sum(len(entries) for _, entries in left_out):
            target, entries = left_out[0]
            raise UserError(f"{name!r} would run nowhere: {_refusal(entries, [], target)}")


def skipped_sentence(suite: Suite, target: PreparedTarget) -> str:
    """Return a sentence on the entries that are left out of a target; empty if there is none."""
    names = _names(unsuitable_entries(suite.methods_of(target.target), target))
    return (
        f"Left out at {target.site.path} of {target.backbone.title}, which does not suit them: {names}."
        if names
        else ""
    )


def _lacks_layer(entry: MethodEntry, target: LayerWithImages) -> bool:
    """Return True if an entry needs a linear layer, and the site is none."""
    if target.site.kind == "linear":
        return False
    method = METHODS.get(entry.name)
    with calling(METHODS, entry.name):
        return needs_linear(method.spec_with(make_config(method, entry.config)))


def _lacks_names(entry: MethodEntry, target: LayerWithImages) -> bool:
    """Return True if an entry reads class names, and the images have none."""
    if target.probing.classes:
        return False
    method = METHODS.get(entry.name)
    with calling(METHODS, entry.name):
        return bool(method.spec_with(make_config(method, entry.config)).reads_class_names)


def _other_widths(entry: MethodEntry, target: LayerWithImages) -> _Widths | None:
    """Return the widths that an entry needs, if the site has others."""
    method = METHODS.get(entry.name)
    with calling(METHODS, entry.name):
        config = make_config(method, entry.config)
        # By the content of files, which are read once, however many layers and seeds a suite has.
        key = canonical({"method": entry.name, "config": plain_config(config)})
        if key not in _widths:
            _widths[key] = _Widths(method.layer_input_width(config), method.layer_width(config))
    wanted, site = _widths[key], target.site
    has_input = wanted.d_in is None or site.kind != "linear" or wanted.d_in == site.d_in
    return None if has_input and wanted.d_out in (None, site.d_out) else wanted


def _refusal(unsuitable: Sequence[MethodEntry], suitable: Sequence[MethodEntry], target: LayerWithImages) -> str:
    for entry in unsuitable:
        if _lacks_names(entry, target):
            return (
                f"{_name(entry)} reads class names, and the images {target.probing.name} have none: give images in "
                "class folders, with --dataset folder:PATH."
            )
    of_width = [entry for entry in unsuitable if not _lacks_layer(entry, target)]
    for entry in of_width:
        if (widths := _other_widths(entry, target)) is not None:
            return _refused_width(entry, widths, target, can_skip=bool(suitable))
    others = " ".join(f"--method {name}" for name in dict.fromkeys(entry.name for entry in suitable))
    site = target.site
    verb = "needs" if len({_name(entry) for entry in unsuitable}) == 1 else "need"
    nearest = nearest_linear(site.path, target.backbone.model)
    choose = f"Choose a linear layer, such as {', '.join(nearest)}" if nearest else "Choose another backbone"
    keep = f", or leave them out with --skip-missing or {others}" if suitable else ""
    return (
        f"{_names(unsuitable)} {verb} the input or the weights of a linear layer, and {site.path!r} of "
        f"{target.backbone.title} is a {type(site.module).__name__}, of which only the output is decomposed. "
        f"{choose}{keep}."
    )


def _refused_width(entry: MethodEntry, widths: _Widths, target: LayerWithImages, *, can_skip: bool) -> str:
    site, title = target.site, target.backbone.title
    keep = ", or leave it out of this layer with --skip-missing" if can_skip else ""
    advice = f"Give the layer that it was trained on, with --backbone and --site{keep}."
    if widths.d_in is None:
        return f"{_name(entry)} reads {widths.d_out} features, and {site.path!r} of {title} has {site.d_out}. {advice}"
    return (
        f"{_name(entry)} is a transcoder from {widths.d_in} to {widths.d_out} features, and {site.path!r} of {title} "
        f"has {site.d_in} inputs and {site.d_out} outputs. {advice}"
    )


def _names(entries: Sequence[MethodEntry]) -> str:
    return ", ".join(dict.fromkeys(map(_name, entries)))


def _name(entry: MethodEntry) -> str:
    return entry.label or METHODS.get(entry.name).spec.title
