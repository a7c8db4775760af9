"""Check of the names in a suite: methods and their settings, metrics, backbones, heads, image sets, judging."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from pydantic import ValidationError

from harness.errors import UserError
from harness.suites.entry_references import resolve_entry
from harness.suites.known_names import DATASET, HEAD, METHOD, METRIC, PANEL, PROTOCOL, require_known
from harness.suites.parsing import SuiteProblem
from harness.suites.schema import MethodEntry, Suite, names_of, with_target_settings
from harness.suites.toml_lines import Path
from methods.registry import did_you_mean
from methods.setting_problems import problems_of, quoted, reason
from methods.source_settings import setting_names, wrong_values

#: :func:`check` or :func:`check_sources`.
Check = Callable[..., list[SuiteProblem]]


class _LookUps(NamedTuple):
    """Functions that raise UserError for an unknown name of their kind."""

    dataset: Callable[[str], object]
    head: Callable[[str], object]
    metric: Callable[[str], object]
    panel: Callable[[str], object]
    protocol: Callable[[str], object]
    entry: Callable[[MethodEntry, Mapping[str, Mapping[str, Any]], Path, Path], list[SuiteProblem]]
    """returns the problems of a method and its settings"""


def check(suite: Suite, methods: Collection[str] | None = None) -> list[SuiteProblem]:
    """Return a problem for each unknown name or invalid setting in a suite; loads no weights and no images.

    Args:
        suite: a suite without parts.
        methods: names or labels of the methods to check; the others are not imported. Default: all.
    """
    from harness import datasets
    from harness.activations.heads import HEADS
    from harness.metrics.base import METRICS
    from judges.panel import PANELS
    from judges.prompt import PROTOCOLS

    look_ups = _LookUps(datasets.DATASETS.get, HEADS.get, METRICS.get, PANELS.get, PROTOCOLS.get, _entry)
    problems = _check(suite, methods, look_ups)
    return problems or _panel_settings(suite)


def check_sources(suite: Suite, methods: Collection[str] | None = None) -> list[SuiteProblem]:
    """Return those problems of :func:`check` that can be seen without importing torch: unknown names and settings."""
    from harness.backbones import PREFIXES

    list(PREFIXES)  # some prefixes bring methods of their own
    dataset, head, metric, panel, protocol = (
        partial(require_known, kind) for kind in (DATASET, HEAD, METRIC, PANEL, PROTOCOL)
    )
    return _check(suite, methods, _LookUps(dataset, head, metric, panel, protocol, _entry_in_source))


def _check(suite: Suite, methods: Collection[str] | None, look_ups: _LookUps) -> list[SuiteProblem]:
    dataset = suite.data.dataset.partition(":")[0]
    problems = _problems_of(("data", "dataset"), look_ups.dataset, dataset)
    if suite.data.evaluation_set is not None:
        other = suite.data.evaluation_set.partition(":")[0]
        problems += _problems_of(("data", "evaluation_set"), look_ups.dataset, other)
    for number, name in enumerate(suite.data.evaluation_sets):
        problems += _problems_of(("data", "evaluation_sets", number), look_ups.dataset, name.partition(":")[0])
    for number, metric in enumerate(suite.evaluation.metrics or ()):
        problems += _problems_of(("evaluation", "metrics", number), look_ups.metric, metric)
    if suite.evaluation.encoder is not None:
        problems += _problems_of(("evaluation", "encoder"), _check_backbone, suite.evaluation.encoder)
    if suite.judging is not None:
        problems += _problems_of(("judging", "panel"), look_ups.panel, suite.judging.panel)
        problems += _problems_of(("judging", "protocol"), look_ups.protocol, suite.judging.protocol)
    of_suite = _selected(suite.methods, methods, ("methods",), problems)
    for number, entry in of_suite:
        problems += look_ups.entry(entry, {}, ("methods", number), ())
    for position, target in enumerate(suite.targets):
        path: Path = ("targets", position)
        problems += _problems_of((*path, "backbone"), _check_backbone, target.backbone)
        if target.head is not None:
            problems += _problems_of((*path, "head"), look_ups.head, target.head)
        for number, entry in _selected(target.methods or (), methods, (*path, "methods"), problems):
            problems += look_ups.entry(entry, target.settings, (*path, "methods", number), (*path, "settings"))
        if target.settings and target.methods is None:
            for number, entry in of_suite:
                problems += look_ups.entry(entry, target.settings, ("methods", number), (*path, "settings"))
    return problems


def _panel_settings(suite: Suite) -> list[SuiteProblem]:
    """Return the problems of the panel's settings, if their types and bounds are known before the panel is made.

    Values are not quoted: one may be a key that was written in the wrong place.
    """
    from judges.panel import SETTINGS

    judging = suite.judging
    if judging is None or judging.panel not in SETTINGS:
        return []
    model = SETTINGS[judging.panel]
    given: list[tuple[Path, Mapping[str, Any]]] = [(("judging", "options"), judging.options)]
    given += [
        (("judging", "judges", number), {key: value for key, value in judge.items() if key != "name"})
        for number, judge in enumerate(judging.judges)
    ]
    problems = []
    for path, values in given:
        try:
            model(**values)
        except ValidationError as error:
            for problem in problems_of(error):
                where = ".".join(map(str, (*path, *problem["loc"])))
                unknown = problem["type"] == "extra_forbidden"
                hint = did_you_mean(str(problem["loc"][-1]), list(model.model_fields)) if unknown else ""
                sentence = f"There is no setting {where!r}. {hint}" if unknown else f"{where}: {reason(problem)}."
                problems.append(SuiteProblem((*path, *problem["loc"]), sentence))
    return problems


def _selected(
    entries: Sequence[MethodEntry], methods: Collection[str] | None, path: Path, problems: list[SuiteProblem]
) -> list[tuple[int, MethodEntry]]:
    """Return number and entry of the methods to check, with references to entries resolved.

    A reference that cannot be resolved is added to ``problems``, and its entry is left out.
    """
    selected = []
    for number, entry in enumerate(entries):
        if methods is None or not names_of(entry).isdisjoint(methods):
            try:
                selected.append((number, resolve_entry(entry, entries)))
            except UserError as error:
                problems.append(SuiteProblem((*path, number, "config"), str(error)))
    return selected


def _check_backbone(spec: str) -> None:
    from harness.backbones import BACKBONES, PREFIXES

    prefix, colon, identifier = spec.partition(":")
    if not colon:
        BACKBONES.get(spec)
    elif prefix not in PREFIXES or not identifier:
        raise UserError(f"{spec!r} is not a backbone: the prefixes are {', '.join(PREFIXES)}.")


def _problems_of(path: Path, look_up: Callable[[str], object], name: str) -> list[SuiteProblem]:
    try:
        look_up(name)
    except UserError as error:
        return [SuiteProblem(path, f"{'.'.join(map(str, path))}: {error}")]
    return []


def _entry(entry: MethodEntry, settings: Mapping[str, Mapping[str, Any]], path: Path, over: Path) -> list[SuiteProblem]:
    """Return the problems of one method, with the settings of a target merged over its configuration."""
    from harness.suites.grids import GRIDS
    from methods import METHODS
    from methods.plugin_calls import calling

    if problems := _problems_of((*path, "name"), METHODS.get, entry.name):
        return problems
    if entry.select and entry.name not in GRIDS:
        hint = did_you_mean(entry.name, list(GRIDS))
        return [SuiteProblem((*path, "select"), f"{entry.name} has no grid to select from. {hint}")]
    layers = _layers(entry, settings)
    if over and not layers and path[0] != "targets":
        return []  # the entry without target settings was checked before
    method = METHODS.get(entry.name)
    try:
        with calling(METHODS, entry.name):
            return _config_problems(method, entry, settings, path, over, layers)
    except UserError as error:
        return [SuiteProblem((*path, "config"), str(error))]


def _config_problems(
    method: Any,
    entry: MethodEntry,
    settings: Mapping[str, Mapping[str, Any]],
    path: Path,
    over: Path,
    layers: list[tuple[str, Mapping[str, Any]]],
) -> list[SuiteProblem]:
    try:
        method.Config(**with_target_settings(entry, settings).config)
    except ValidationError as error:
        names = list(method.Config.model_fields)
        return [_setting(problem, entry, path, over, layers, names) for problem in problems_of(error)]
    except TypeError as error:
        return [SuiteProblem((*path, "config"), f"{entry.name}: {error}.")]
    return []


def _entry_in_source(
    entry: MethodEntry, settings: Mapping[str, Mapping[str, Any]], path: Path, over: Path
) -> list[SuiteProblem]:
    """Return the problems of one method that its source shows: an unknown name, or settings that it does not have."""
    if problems := _problems_of((*path, "name"), partial(require_known, METHOD), entry.name):
        return problems
    names = setting_names(METHOD.package, entry.name)
    layers = _layers(entry, settings)
    if names is None or (over and not layers and path[0] != "targets"):
        return []
    config = with_target_settings(entry, settings).config
    unknown = [{"type": "extra_forbidden", "loc": (key,)} for key in config if key not in names]
    wrong = wrong_values(METHOD.package, entry.name, config)
    return [_setting(problem, entry, path, over, layers, names) for problem in (*wrong, *unknown)]


def _layers(entry: MethodEntry, settings: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the settings of a target for a method, later layers first: a problem is reported where it was written."""
    return [(key, settings[key]) for key in dict.fromkeys((entry.label, entry.name)) if key and key in settings]


def _setting(
    problem: Any,
    entry: MethodEntry,
    path: Path,
    over: Path,
    layers: list[tuple[str, Mapping[str, Any]]],
    field_names: list[str],
) -> SuiteProblem:
    location = problem["loc"]
    key_path: Path = (*path, "config", *location)
    for key, values in layers:
        if location and location[0] in values:
            key_path = (*over, key, *location)
            break
    where = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        return SuiteProblem(key_path, f"{entry.name} has no setting {where!r}. {did_you_mean(where, field_names)}")
    if not where:
        return SuiteProblem(key_path, f"{entry.name}: {reason(problem)}.")
    return SuiteProblem(key_path, f"{entry.name}.{where} = {quoted(problem.get('input'))}: {reason(problem)}.")
