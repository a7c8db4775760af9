"""Reading of trained dictionaries: the format is recognised, the content is checked, and no code of it is run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from methods.base import Device, Method
from methods.errors import UserError, first_line
from methods.pretrained.saved import origin_note, read_fit, require_consistent
from methods.pretrained.source import PICKLED, Setting, Source
from methods.pretrained.weight_formats import FORMATS
from methods.pretrained.weight_formats.base import WeightsFormat
from methods.registry import did_you_mean
from results.visible_text import one_line

#: Format of :meth:`methods.base.Method.save`, which can hold any method of the harness.
HARNESS = "harness"
#: Names of files of SAELens, which mean nothing without their configuration.
SAELENS_FILES = ("sae_weights.safetensors",)
AUTO = "auto"


class Loaded(NamedTuple):
    """Fitted method from a file, and what the file says of its origin."""

    method: Method
    format: str
    site: str | None
    backbone: str | None
    notes: tuple[str, ...]


def format_names() -> list[str]:
    """Return the names of all formats, that of the harness first."""
    return [HARNESS, *FORMATS.names()]


def read_weights(
    path: Path,
    format_name: str,
    device: Device,
    *,
    name: str,
    settings: Mapping[str, Setting] | None = None,
    names: Collection[str] | None = None,
) -> Loaded:
    """Return the fitted method in a file or folder.

    Args:
        path: the file or folder.
        format_name: one of :func:`format_names`, or ``auto``.
        settings: what the files do not say, see :attr:`WeightsFormat.settings`.
        device: device of the tensors.
        name: name of the file in messages.
        names: names of the files of the folder that are read; None: all.

    Raises:
        UserError: if the format is not recognised, or the content is not as it says.
    """
    if not path.exists():
        raise UserError(f"There are no weights at {name!r}: give the path of a file or folder that exists.")
    source = Source(path, settings, names=names)
    chosen = _recognised(source, name) if format_name == AUTO else format_name
    allowed = {} if chosen == HARNESS else FORMATS.get(chosen).settings
    if unknown := [setting for setting in source.settings if setting not in allowed]:
        raise UserError(
            f"Weights of the format {chosen} have no setting {unknown[0][:40]!r}. "
            f"{did_you_mean(unknown[0], list(allowed))}"
        )
    if chosen == HARNESS:
        notes = tuple(filter(None, [origin_note(path)]))
        return Loaded(read_fit(path, device, name=name), HARNESS, None, None, notes)
    reader = FORMATS.get(chosen)()
    try:
        with torch.no_grad():
            trained = reader.read(source)
            require_consistent(trained.dictionary)
    except UserError as error:
        raise UserError(
            f"{name!r} cannot be read as weights of the format {chosen}: {str(error).rstrip('.')}."
        ) from error
    except Exception as error:  # the file may come from anyone
        raise UserError(f"{name!r} cannot be read as weights of the format {chosen} ({first_line(error)}).") from error
    method = trained.dictionary.to(device)
    notes = (f"The weights are of the format {chosen} ({reader.description}).", *trained.notes)
    return Loaded(method, chosen, _text(trained.site), _text(trained.backbone), notes)


def is_folder_of_a_format(path: Path, names: Collection[str]) -> bool:
    """Return True if these files of a folder are those of a format that is read, and not of a pushed fit."""
    source = Source(path, names=names)
    return source.is_folder and HARNESS not in source.metadata and any(_recognises(f.load(), source) for f in FORMATS)


def _recognised(source: Source, name: str) -> str:
    """Return the name of the format of a file or folder.

    Raises:
        UserError: if it is of no format, or of several.
    """
    if not source.is_folder and "harness" in source.metadata:
        return HARNESS
    formats = [entry.load() for entry in FORMATS]
    _require_whole(source, formats, name)
    recognised = [each for each in formats if _recognises(each, source)]
    refined = frozenset[str]().union(*(each.refines for each in recognised))
    matching = [each.name for each in recognised if each.name not in refined]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise UserError(f"{name!r} may be of the formats {', '.join(matching)}: say which, with format=.")
    if source.names:
        try:
            source.tensors  # noqa: B018 - its error is the reason
        except UserError as error:
            raise UserError(f"{name!r} cannot be read as weights: {str(error).rstrip('.')}.") from error
    raise UserError(f"{name!r} is of no known format of weights: {_content(source)}. {_formats(formats)}")


def _require_whole(source: Source, formats: list[type[WeightsFormat]], name: str) -> None:
    """Refuse a file that is one part of a folder: without the others it would be read as weights of another kind."""
    if source.is_folder:
        return
    folder, name_of_file = source.path.parent, source.path.name
    parent, others = Source(folder), Source(folder, without=name_of_file)
    alone = {each.name for each in formats if _recognises(each, source)}
    around = next(
        (
            each.name
            for each in formats
            # A folder that is one without this file as well has it beside its own.
            if _recognises(each, parent)
            and not _recognises(each, others)
            and each.name not in alone
            and alone.isdisjoint(each.refines)
        ),
        None,
    )
    if around is None and source.path.name in SAELENS_FILES:
        around = "saelens"
    if around is not None:
        raise UserError(
            f"{name!r} is one file of a folder of the format {around}, whose configuration says how the weights are "
            "used: give the folder."
        )


def _recognises(reader: type[WeightsFormat], source: Source) -> bool:
    try:
        return reader().recognises(source)
    except Exception:  # the content may be anything
        return False


def _content(source: Source) -> str:
    """Return what is in a file or folder, in words."""
    if source.only(*PICKLED) is not None and not source.names:
        try:
            content = source.pickled
        except UserError as error:  # the reason why it cannot be read
            return str(error).rstrip(".")
        if isinstance(content, Mapping) and content:
            names = sorted(one_line(str(name))[:60] for name in content if isinstance(name, str))
            return f"its entries are {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
    if source.names:
        tensors = sorted(map(one_line, source.names))
        return f"its tensors are {', '.join(tensors[:8])}{' ...' if len(tensors) > 8 else ''}"
    listed = ", ".join(one_line(name)[:60] for name in source.files[:8])
    return f"it holds {listed or 'no file'}" if source.is_folder else "it holds no tensors"


def _formats(formats: list[type[WeightsFormat]]) -> str:
    return f"The formats are {', '.join(sorted(each.name for each in formats))}; docs/dictionaries.md has their files."


def _text(value: str | None) -> str | None:
    return None if value is None else one_line(value)[:200]
