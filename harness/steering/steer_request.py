"""Request of the page Steer to its worker: checked JSON. Whoever can open the app can send one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.errors import UserError
from harness.steering.steered import SteerSettings
from results.visible_text import names_text

#: Most images and concepts of a request, and most characters of a text in it.
MOST_IMAGES, MOST_CONCEPTS, MOST_CHARACTERS = 20, 20, 300
#: Largest factor, and most units per concept and patches per unit.
MOST_FACTOR, MOST_COUNT = 10_000.0, 100_000
#: Text matchers that a request may name. Others read a folder or load a model: the command line chooses them.
MATCHERS = ("words", "sentences")

_NAMES = ("cell", "amplify", "suppress", "alpha", "gamma", "kappa", "nu", "images", "scorer", "matcher")


class SteerRequest(NamedTuple):
    """Cell, settings and images of one steering."""

    cell: str
    settings: SteerSettings
    images: tuple[str, ...]


def parsed_request(body: bytes) -> SteerRequest:
    """Return the request in a body of JSON.

    Keys: ``cell`` and ``images`` (names) are needed; ``amplify`` and ``suppress`` (lists of concepts, at least one of
    both), ``alpha``, ``gamma``, ``kappa``, ``nu`` (null: all patches), ``scorer`` and ``matcher`` have the defaults of
    :class:`~harness.steering.steered.SteerSettings`.

    Raises:
        UserError: if the body is no JSON object, or a key or value is invalid.
    """
    values = _object(body)
    if unknown := sorted(set(values) - set(_NAMES)):
        raise UserError(f"The request has unknown keys ({names_text(unknown, 5)}): use {', '.join(_NAMES)}.")
    default = SteerSettings()
    settings = SteerSettings(
        amplify=_texts(values, "amplify", MOST_CONCEPTS),
        suppress=_texts(values, "suppress", MOST_CONCEPTS),
        alpha=_factor(values, "alpha", default.alpha),
        gamma=_factor(values, "gamma", default.gamma),
        kappa=_count(values, "kappa", default.kappa, least=1),
        nu=None if "nu" in values and values["nu"] is None else _count(values, "nu", default.nu or 0, least=0),
        scorer=_optional_text(values, "scorer"),
        matcher=_optional_text(values, "matcher"),
    )
    if settings.matcher not in (None, *MATCHERS):
        raise UserError(
            f"The matcher {names_text([settings.matcher])} cannot be used here: use {' or '.join(MATCHERS)}."
        )
    if not (settings.amplify or settings.suppress):
        raise UserError("The request names no concept: give one to amplify or to suppress.")
    images = _texts(values, "images", MOST_IMAGES)
    if not images:
        raise UserError(f"The request names no image: give 1 to {MOST_IMAGES} names of evaluation images.")
    cell = _optional_text(values, "cell")
    if cell is None:
        raise UserError("The request names no cell: give the id of a finished cell.")
    return SteerRequest(cell, settings, images)


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        values = json.loads(body.decode())
    # Too many digits of a number raise ValueError, too many brackets RecursionError.
    except (ValueError, RecursionError) as error:
        raise UserError("The body of the request is no JSON in UTF-8: send an object.") from error
    if not isinstance(values, dict):
        raise UserError("The body of the request is no JSON object: send one.")
    return values


def _texts(values: Mapping[str, Any], name: str, most: int) -> tuple[str, ...]:
    given = values.get(name, [])
    if not isinstance(given, list) or len(given) > most or not all(_is_text(text) for text in given):
        raise UserError(
            f"{name} of the request must be a list of at most {most} texts of 1 to {MOST_CHARACTERS} characters."
        )
    return tuple(dict.fromkeys(text.strip() for text in given))


def _optional_text(values: Mapping[str, Any], name: str) -> str | None:
    given = values.get(name)
    if given is None:
        return None
    if not _is_text(given):
        raise UserError(f"{name} of the request must be a text of 1 to {MOST_CHARACTERS} characters.")
    return str(given)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MOST_CHARACTERS and bool(value.strip())


def _factor(values: Mapping[str, Any], name: str, default: float) -> float:
    given = values.get(name, default)
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    # A huge integer is compared before it becomes a float, which would overflow.
    if not is_number or not abs(given) <= MOST_FACTOR or not math.isfinite(given):
        raise UserError(f"{name} of the request must be a number from {-MOST_FACTOR:g} to {MOST_FACTOR:g}.")
    return float(given)


def _count(values: Mapping[str, Any], name: str, default: int, *, least: int) -> int:
    given = values.get(name, default)
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= MOST_COUNT:
        more = ", or null for all" if name == "nu" else ""
        raise UserError(f"{name} of the request must be a whole number from {least} to {MOST_COUNT}{more}.")
    return given
