"""Parsing of plain values into a typed suite; errors give file, line and the nearest valid name."""

from __future__ import annotations

import itertools
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from harness.errors import UserError
from harness.suites.schema import Judging, MethodEntry, Suite, names_of
from harness.suites.sections import SECTIONS
from harness.suites.toml_lines import Path, TomlLine, line_at
from methods.registry import did_you_mean
from methods.setting_problems import problems_of, quoted, reason

#: Errors of pydantic that are put in words, more than are listed: several may give one sentence.
_MOST_ERRORS = 100
#: Problems that are listed; of more, the number is given.
MOST_PROBLEMS = 20
#: Cells of a suite: methods times layers times seeds.
MOST_CELLS = 100_000


class SuiteProblem(NamedTuple):
    """Error message with the path of keys and list positions that it is about."""

    path: Path
    sentence: str


def parse_suite(values: Mapping[str, Any], *, source: str = "suite") -> Suite:
    """Return a suite from plain values.

    Args:
        values: sections of the suite, as in a TOML file.
        source: name of the source in error messages.

    Raises:
        UserError: if keys or values are invalid; one line per problem, with the nearest valid key.
    """
    plain = _plain(values)
    problems: list[SuiteProblem] = []
    extra = dict(plain.pop("extra", None) or {})
    registered = SECTIONS.names() if set(plain) - set(Suite.model_fields) else []
    for name in [key for key in plain if key in registered]:
        model = SECTIONS.get(name)
        try:
            extra[name] = model(**plain.pop(name))
        except (ValidationError, TypeError) as error:
            problems += _problems(error, model, (name,))
    try:
        suite = Suite(**plain, extra=extra)
        problems += [*_unknown_settings(suite), *_too_many_cells(suite)]
    except ValidationError as error:
        problems += _problems(error, Suite, ())
    except TypeError as error:
        problems.append(SuiteProblem((), f"{error}."))
    if problems:
        raise error_of(problems, values, source)
    return suite


def judging_of(values: Mapping[str, Any], *, source: str) -> Judging:
    """Return the judging section from plain values.

    Raises:
        UserError: as :func:`parse_suite`.
    """
    try:
        return Judging(**values)
    except ValidationError as error:
        raise error_of(_problems(error, Judging, ("judging",)), values, source) from error


def error_of(problems: Iterable[SuiteProblem], values: Any, source: str) -> UserError:
    """Return one error with a line per problem, each with its location."""
    lines = dict.fromkeys(
        f"{line_at(values, problem.path) or TomlLine(source)}: {problem.sentence}" for problem in problems
    )
    more = [f"{source}: {len(lines) - MOST_PROBLEMS} more problems."] if len(lines) > MOST_PROBLEMS else []
    return UserError("\n".join([*itertools.islice(lines, MOST_PROBLEMS), *more]))


def _too_many_cells(suite: Suite) -> list[SuiteProblem]:
    """Return the problem of a suite that has more than :data:`MOST_CELLS` cells."""
    n_cells = sum(leaf.most_cells for leaf in suite.leaves)
    if n_cells <= MOST_CELLS:
        return []
    sentence = (
        f"the suite has up to {n_cells} cells (methods times layers times seeds), at most {MOST_CELLS} are allowed: "
        "shorten the lists of seeds, methods or targets, or divide it into several suites."
    )
    return [SuiteProblem((), sentence)]


def _unknown_settings(suite: Suite) -> list[SuiteProblem]:
    """Return problems of target settings for methods that the target does not run."""
    problems = []
    for number, target in enumerate(suite.targets):
        entries: tuple[MethodEntry, ...] = target.methods if target.methods is not None else suite.methods
        names = sorted({name for entry in entries for name in names_of(entry)})
        problems += [
            SuiteProblem(
                ("targets", number, "settings", key),
                f"targets.{number}.settings: the target has no method {key!r}. {did_you_mean(key, names)}",
            )
            for key in target.settings
            if key not in names
        ]
    return problems


def _plain(value: Any) -> Any:
    """Convert to plain dictionaries and lists, so that a suite holds no file locations."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _problems(error: ValidationError | TypeError, model: type[BaseModel], prefix: Path) -> list[SuiteProblem]:
    if isinstance(error, TypeError):
        return [SuiteProblem(prefix, f"{'.'.join(map(str, prefix))} must be a table.")]
    problems = []
    for problem in problems_of(error)[:_MOST_ERRORS]:
        # Pydantic adds the branch of a union to the path; no key has such a name.
        location = tuple(part for part in problem["loc"] if part not in ("int", "float", "constrained-int"))
        path = (*prefix, *location)
        problems.append(SuiteProblem(path, _sentence(problem, location, path, model)))
    return problems


def _sentence(problem: Any, location: Path, path: Path, model: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in path) or "the suite"
    kind = problem["type"]
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        allowed = keys_at(model, location[:-1])
        return f"There is no setting {where!r}. {did_you_mean(str(path[-1]), allowed)}"
    if kind == "missing":
        return f"The setting {where!r} is missing."
    if kind in ("model_type", "dict_type"):
        message = "it must be a table of settings"
    else:
        message = reason(problem).removeprefix("input ")
        message = f"it {message}" if message.startswith("should") else message
        if isinstance(problem["input"], Mapping):
            return f"{where}: {message}."
    return f"{where} = {quoted(problem['input'])}: {message}."


def keys_at(model: type[BaseModel], path: Path) -> list[str]:
    """Return the setting names allowed at a path inside a model; for an invalid path, those of the last valid model."""
    current: type[BaseModel] = model
    for part in path:
        if isinstance(part, int):
            continue
        inner = current.model_fields.get(part)
        if inner is None:
            break
        current = _model_in(inner.annotation) or current
    names = [name for name in current.model_fields if not (current is Suite and name == "extra")]
    # extends and replaces are resolved before a suite is typed, so they are not fields.
    return [*names, "extends", "replaces", *SECTIONS.names()] if current is Suite else names


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (tuple, list, typing.Union, types.UnionType, typing.Annotated):
        for inner in typing.get_args(annotation):
            if (model := _model_in(inner)) is not None:
                return model
    return None
