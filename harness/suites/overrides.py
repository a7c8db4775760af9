"""Changes of a suite by command-line options, and by ``--set`` for single settings."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.suites.dictionaries import METHOD as DICTIONARY
from harness.suites.dictionaries import dictionary_entries
from harness.suites.entry_references import resolve_missing
from harness.suites.known_names import METHOD, require_known
from harness.suites.names import Check, check
from harness.suites.parsing import error_of, parse_suite
from harness.suites.schema import MethodEntry, Suite, Target, names_of
from harness.suites.toml_limits import MOST_LETTERS, require_short_keys, value_problem
from methods.registry import did_you_mean

#: Share of the evaluation images if the command line gives other images than the suite.
OTHER_IMAGES_EVALUATION = 0.4

_NOT_SETTABLE = ("name", "description", "targets", "methods", "parts", "extra")


def with_overrides(
    suite: Suite,
    *,
    dataset: str | None = None,
    evaluation: float | None = None,
    backbone: str | None = None,
    checkpoint: str | Path | None = None,
    site: str | None = None,
    head: str | None = None,
    weights: bool = True,
    token_seeds: tuple[int, ...] | None = None,
    methods: tuple[str, ...] | None = None,
    extra_methods: tuple[str, ...] = (),
    dictionaries: tuple[str, ...] = (),
    check: Check = check,
) -> Suite:
    """Return the suite with the options of the command line applied, to every part of a suite that has parts.

    Images other than those of the suite are split 60 to 40 into probing and evaluation. ``evaluation`` sets another
    number (1 and above) or share (below 1) of evaluation images. Data sets that have a split of their own keep it.

    A backbone replaces the targets of the suite, with the suite's methods; of a suite with parts, only the parts that
    have it remain. A site applies to the only target of the suite, a head or checkpoint to its only backbone.

    ``dictionaries``, each ``FILE[:LABEL]``, are added to all targets, whichever methods are chosen.

    Raises:
        UserError: if a checkpoint or site is given and the backbone is ambiguous, or a value is invalid.
    """
    if suite.parts and backbone is not None:
        suite = _parts_with_backbone(suite, backbone)
    change = partial(
        _with_options,
        dataset=dataset,
        evaluation=evaluation,
        backbone=backbone,
        layer={"checkpoint": checkpoint, "site": site, "head": head},
        weights=weights,
        token_seeds=token_seeds,
        methods=methods,
        check=check,
    )
    suite = each_leaf(suite, change)
    added = dictionary_entries(dictionaries)
    if methods is None and not extra_methods:
        return each_leaf(suite, partial(_with_entries, added=added)) if added else suite
    labels = {entry.label for entry in added}
    if added and not {DICTIONARY, *labels}.isdisjoint({*(methods or ()), *extra_methods}):
        # Its rows are those of the dictionaries, which are added whichever of them are chosen.
        suite, added = each_leaf(suite, partial(_with_entries, added=added)), ()
        methods = methods and tuple(dict.fromkeys(DICTIONARY if name in labels else name for name in methods))
    listed = _method_names(suite)
    if DICTIONARY in (methods or ()) and DICTIONARY not in listed:
        raise UserError(f"--method {DICTIONARY} needs weights: give them as --dictionary FILE, without --method.")
    for name in methods or ():
        if name not in listed:
            require_known(METHOD, name)
    # Never empty: methods that are listed nowhere are added to all targets.
    suite = filter_leaves(suite, partial(_with_methods, chosen=methods, extra=extra_methods, listed=listed)) or suite
    return each_leaf(suite, partial(_with_entries, added=added)) if added else suite


def each_leaf(suite: Suite, change: Callable[[Suite], Suite]) -> Suite:
    """Apply a change to every part of the suite that has no parts itself."""
    if not suite.parts:
        return change(suite)
    return suite.model_copy(update={"parts": tuple(each_leaf(part, change) for part in suite.parts)})


def filter_leaves(suite: Suite, change: Callable[[Suite], Suite | None]) -> Suite | None:
    """Apply a change as :func:`each_leaf` and remove the parts for which it returns None; None if nothing is left."""
    if not suite.parts:
        return change(suite)
    parts = tuple(changed for part in suite.parts if (changed := filter_leaves(part, change)) is not None)
    return suite.model_copy(update={"parts": parts}) if parts else None


def _parts_with_backbone(suite: Suite, backbone: str) -> Suite:
    parts = tuple(leaf for leaf in suite.leaves if backbone in [target.backbone for target in leaf.targets])
    if not parts:
        hint = did_you_mean(backbone, _backbones(suite))
        raise UserError(f"No part of {suite.name} has the backbone {backbone!r}. {hint}")
    return suite.model_copy(update={"parts": parts})


def _with_options(
    suite: Suite,
    *,
    dataset: str | None,
    evaluation: float | None,
    backbone: str | None,
    layer: dict[str, str | Path | None],
    weights: bool,
    token_seeds: tuple[int, ...] | None,
    methods: tuple[str, ...] | None,
    check: Check,
) -> Suite:
    values = _values(suite)
    if backbone is not None:
        matching = [target for target in values["targets"] if target["backbone"] == backbone]
        site = layer["site"]
        if site is not None and matching:
            # A new layer of a backbone of the suite gets the settings of the first target of that backbone.
            matching = [target for target in matching if target["site"] == site] or matching[:1]
        values["targets"] = matching or [{"backbone": backbone}]
        values["methods"] = (
            values["methods"] or values["targets"][0].get("methods") or suite.entries_of(suite.targets[0])
        )
    requested = {key: str(value) for key, value in layer.items() if value is not None}
    n_backbones = len({target["backbone"] for target in values["targets"]})
    # With --backbone, all targets are of this backbone and have one site: those that differ were left out above.
    n_sites = len({(target["backbone"], target.get("site")) for target in values["targets"]})
    if (requested or not weights) and (n_backbones > 1 or (backbone is None and "site" in requested and n_sites > 1)):
        raise UserError(
            f"--{next(iter(requested), 'no-weights')} needs --backbone: {suite.name} has {len(values['targets'])} "
            f"targets ({', '.join(target['backbone'] for target in values['targets'])})."
        )
    for target in values["targets"]:
        if requested.get("head", target.get("head")) != target.get("head"):
            target["head_settings"] = {}  # settings of the replaced head
        target.update(requested)
        if not weights:
            target["weights"] = False
    if dataset is not None and dataset != suite.data.dataset:
        # The number of evaluation images of the suite only applies to its own images.
        values["data"] |= {"dataset": dataset, "evaluation": OTHER_IMAGES_EVALUATION}
    if evaluation is not None:
        if evaluation >= 1 and not float(evaluation).is_integer():
            raise UserError(f"--evaluation {evaluation}: must be a whole number of images, or a share below 1.")
        values["data"]["evaluation"] = int(evaluation) if evaluation >= 1 else evaluation
    if token_seeds is not None:
        values["seeds"]["tokens"] = token_seeds
        for target in values["targets"]:
            target["token_seeds"] = None
    changed = parse_suite(values, source="command line")
    # Report unknown names before weights or images are looked for.
    if (backbone is not None or dataset is not None) and (problems := check(changed, methods)):
        raise error_of(problems, values, "command line")
    return changed


def _with_methods(
    suite: Suite, *, chosen: tuple[str, ...] | None, extra: tuple[str, ...], listed: Sequence[str]
) -> Suite | None:
    # A method that no part of the suite lists is added to all targets with its default settings.
    named = dict.fromkeys((*extra, *(chosen or ())))
    added = tuple(MethodEntry(name=name) for name in named if name not in listed)
    targets: list[Target] = []
    for target in suite.targets:
        entries = (*suite.entries_of(target), *added)
        if chosen is not None:
            kept = [entry for entry in entries if not names_of(entry).isdisjoint(chosen)]
            entries = resolve_missing(kept, among=entries)
        # `entries_of` has already applied the target's settings to the entries.
        if entries:
            targets.append(target.model_copy(update={"methods": entries, "settings": {}}))
    return suite.model_copy(update={"targets": tuple(targets)}) if targets else None


def _with_entries(suite: Suite, *, added: tuple[MethodEntry, ...]) -> Suite:
    """Return a suite with entries added to each target; `entries_of` applies the target's settings to the others."""
    targets = tuple(
        target.model_copy(update={"methods": (*suite.entries_of(target), *added), "settings": {}})
        for target in suite.targets
    )
    return suite.model_copy(update={"targets": targets})


def with_settings(suite: Suite, assignments: Sequence[str], *, check: Check = check) -> Suite:
    """Apply ``KEY=VALUE`` settings of the command line in order, heads first, to every part that has the key.

    ``KEY`` is dotted: a setting of a section (``seeds.tokens``, ``evaluation.top_images``), ``method.NAME.SETTING`` for
    all entries of a method by name or label, or ``target.BACKBONE.KEY``. ``VALUE`` is TOML (``[42]``, ``1e-3``,
    ``true``); anything else is a string.

    Raises:
        UserError: if a key is unknown (the nearest key is suggested) or a value is not allowed.
    """
    parsed = [(text, *_parse(text)) for text in assignments]
    # Another head replaces the settings of the suite's head, but not those of the command line.
    parsed.sort(key=lambda assignment: not _is_head(assignment[1]))
    for text, path, value in parsed:
        source = f"--set {text}"
        if path[0] in ("method", "target"):
            names, change = (
                (_method_names(suite), _set_method) if path[0] == "method" else (_backbones(suite), _set_target)
            )
            if len(path) < 3:
                raise UserError(f"{source}: must be {path[0]}.NAME.SETTING=VALUE. NAME is one of {', '.join(names)}.")
            if path[1] not in names:
                raise UserError(f"{source}: the suite has no {path[0]} {path[1]!r}. {did_you_mean(path[1], names)}")
        else:
            change = _set_section
            sections = [name for name in Suite.model_fields if name not in _NOT_SETTABLE]
            sections += sorted({name for leaf in suite.leaves for name in leaf.extra})
            if path[0] not in sections:
                hint = did_you_mean(path[0], ["method", "target", *sections])
                raise UserError(f"{source}: there is no setting {path[0]!r}. {hint}")
        suite = each_leaf(suite, partial(_changed, change=change, path=path, value=value, source=source, check=check))
    return suite


def _is_head(path: list[str]) -> bool:
    return path[0] == "target" and path[2:] == ["head"]


def _parse(text: str) -> tuple[list[str], Any]:
    key, equals, written = text.partition("=")
    if not equals:
        raise UserError(f"--set {text}: must be KEY=VALUE, as in --set method.elude.top_k=60000.")
    if len(text) > MOST_LETTERS:
        raise UserError(f"--set {text[:40]}...: {len(text)} letters, at most {MOST_LETTERS} are allowed.")
    require_short_keys(key, f"--set {text[:40]}")
    path: list[str] = []
    try:
        table: Any = tomllib.loads(f"{key} = 0")
        while isinstance(table, dict):
            [name] = table
            path.append(name)
            table = table[name]
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"--set {text}: {key!r} is not a valid key; quote names with colons or dots, as in "
            'target."timm:NAME".checkpoint=FILE.'
        ) from error
    try:
        [value] = tomllib.loads(f"value = {written}").values()
    except (ValueError, RecursionError):
        value = written
    if problem := value_problem({key.strip(): value}):
        raise UserError(f"--set {problem[1]}")
    return path, value


def _method_names(suite: Suite) -> list[str]:
    entries = [entry for leaf in suite.leaves for target in leaf.targets for entry in leaf.methods_of(target)]
    return sorted({name for entry in entries for name in names_of(entry)})


def _backbones(suite: Suite) -> list[str]:
    return sorted({target.backbone for leaf in suite.leaves for target in leaf.targets})


def _values(leaf: Suite) -> dict[str, Any]:
    """Return the plain values of a suite, with the sections of plugins as they are."""
    return {**leaf.model_dump(), "extra": dict(leaf.extra)}


def _changed(
    leaf: Suite,
    *,
    change: Callable[[dict[str, Any], list[str], Any], None],
    path: list[str],
    value: Any,
    source: str,
    check: Check,
) -> Suite:
    values = _values(leaf)
    change(values, path, value)
    changed = parse_suite(values, source=source)
    if problems := check(changed):
        raise error_of(problems, values, source)
    return changed


def _set_method(values: dict[str, Any], path: list[str], value: Any) -> None:
    _, name, *keys = path
    shared = [target for target in values["targets"] if target["methods"] is None]
    groups = [(values["methods"], shared), *((target["methods"] or (), [target]) for target in values["targets"])]
    for entries, targets in groups:
        for entry in entries:
            if name not in (entry["name"], entry["label"]):
                continue
            if keys[0] in MethodEntry.model_fields and keys != ["config"]:
                _put(entry, keys, value)
            else:
                _put(entry["config"], keys, value)
            for target in targets:
                # Remove the target's setting, which would override that of the command line.
                for key in (entry["name"], entry["label"]):
                    target["settings"].get(key, {}).pop(keys[0], None)


def _set_target(values: dict[str, Any], path: list[str], value: Any) -> None:
    for target in values["targets"]:
        if target["backbone"] == path[1]:
            if _is_head(path) and value != target.get("head"):
                target["head_settings"] = {}  # settings of the replaced head
            _put(target, path[2:], value)


def _set_section(values: dict[str, Any], path: list[str], value: Any) -> None:
    if path[0] in values["extra"]:
        values[path[0]] = values["extra"].pop(path[0]).model_dump()
    _put(values, path, value)


def _put(table: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        inner = table.get(key)
        table[key] = dict(inner) if isinstance(inner, dict) else {}
        table = table[key]
    table[path[-1]] = value
