"""From plain values to a typed suite: every mistake is a sentence with its file, line, and the nearest right name."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from harness.errors import UserError
from harness.suites.schema import Judging, MethodEntry, Suite, names_of
from harness.suites.sections import SECTIONS
from harness.suites.toml_lines import Path, Place, place_of
from methods.registry import did_you_mean


class Problem(NamedTuple):
    """A mistake, and the path of keys and list positions to it."""

    path: Path
    sentence: str


def parse_suite(values: Mapping[str, Any], *, source: str = "suite") -> Suite:
    """A suite from plain values.

    Raises:
        UserError: naming each wrong key (with the nearest right one) or value, one a line.
    """
    plain = _plain(values)
    problems: list[Problem] = []
    extra = dict(plain.pop("extra", None) or {})
    known = SECTIONS.names() if set(plain) - set(Suite.model_fields) else []
    for name in [key for key in plain if key in known]:
        model = SECTIONS.get(name)
        try:
            extra[name] = model(**plain.pop(name))
        except (ValidationError, TypeError) as error:
            problems += _problems(error, model, (name,))
    suite: Suite | None = None
    try:
        suite = Suite(**plain, extra=extra)
    except ValidationError as error:
        problems += _problems(error, Suite, ())
    except TypeError as error:
        problems.append(Problem((), f"{error}."))
    if suite is not None:
        problems += _unknown_settings(suite)
    if problems or suite is None:
        raise error_of(problems, values, source)
    return suite


def judging_of(values: Mapping[str, Any], *, source: str) -> Judging:
    """How units are judged, from plain values.

    Raises:
        UserError: as :func:`parse_suite`.
    """
    try:
        return Judging(**values)
    except ValidationError as error:
        raise error_of(_problems(error, Judging, ("judging",)), values, source) from error


def error_of(problems: Iterable[Problem], values: Any, source: str) -> UserError:
    """One error of all problems, each with its place."""
    lines = []
    for problem in problems:
        place = place_of(values, problem.path) or Place(source)
        lines.append(f"{place}: {problem.sentence}")
    return UserError("\n".join(dict.fromkeys(lines)))


def _unknown_settings(suite: Suite) -> list[Problem]:
    """Settings of a target for methods it does not run."""
    found = []
    for number, target in enumerate(suite.targets):
        entries: tuple[MethodEntry, ...] = target.methods if target.methods is not None else suite.methods
        known = sorted({name for entry in entries for name in names_of(entry)})
        found += [
            Problem(
                ("targets", number, "settings", key),
                f"targets.{number}.settings: the target has no method {key!r}. {did_you_mean(key, known)}",
            )
            for key in target.settings
            if key not in known
        ]
    return found


def _plain(value: Any) -> Any:
    """Plain dictionaries and lists: what is kept in a suite must not remember files."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _problems(error: ValidationError | TypeError, model: type[BaseModel], prefix: Path) -> list[Problem]:
    if isinstance(error, TypeError):
        return [Problem(prefix, f"{'.'.join(map(str, prefix))} is no table.")]
    problems = []
    found = error.errors()
    for problem in found:
        # A list whose only entry is wrong is empty to pydantic; the entry has a sentence of its own.
        inside = len(problem["loc"])
        if problem["type"] == "too_short" and any(
            len(other["loc"]) > inside and other["loc"][:inside] == problem["loc"] for other in found
        ):
            continue
        # Pydantic names the branch of a union as part of the path; no key has such a name.
        location = tuple(part for part in problem["loc"] if part not in ("int", "float", "constrained-int"))
        path = (*prefix, *location)
        problems.append(Problem(path, _sentence(problem, location, path, model)))
    return problems


def _sentence(problem: Any, location: Path, path: Path, model: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in path) or "the suite"
    kind = problem["type"]
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        known = keys_at(model, location[:-1])
        return f"There is no setting {where!r}. {did_you_mean(str(path[-1]), known)}"
    if kind == "missing":
        return f"The setting {where!r} is missing."
    if kind in ("model_type", "dict_type"):
        return f"{where} = {_short(problem['input'])}: it must be a table of settings."
    if kind == "tuple_type":
        return f"{where} = {_short(problem['input'])}: it must be a list, in square brackets."
    if kind == "too_short":
        least = problem["ctx"]["min_length"]
        return f"{where} = {_short(problem['input'])}: it needs at least {least} entr{'y' if least == 1 else 'ies'}."
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if isinstance(problem["input"], Mapping):
        return f"{where}: {message[0].lower()}{message[1:]}."
    return (
        f"{where} = {_short(problem['input'])}: it {message}."
        if message.startswith("should")
        else (f"{where} = {_short(problem['input'])}: {message[0].lower()}{message[1:]}.")
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def keys_at(model: type[BaseModel], path: Path) -> list[str]:
    """The setting names allowed at a place inside a model; those of the model itself where the path leads nowhere."""
    found: type[BaseModel] = model
    for part in path:
        if isinstance(part, int):
            continue
        inner = found.model_fields.get(part)
        if inner is None:
            break
        found = _model_in(inner.annotation) or found
    names = [name for name in found.model_fields if not (found is Suite and name == "extra")]
    # extends and replaces are gone by the time a suite is typed.
    return [*names, "extends", "replaces", *SECTIONS.names()] if found is Suite else names


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (tuple, list, typing.Union, types.UnionType, typing.Annotated):
        for inner in typing.get_args(annotation):
            if (found := _model_in(inner)) is not None:
                return found
    return None
