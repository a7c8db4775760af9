"""Names and types of the options of ``load_suite``: Python code can pass what no command line can."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError

from harness.suites.schema import Flag, Seed, Whole
from methods.errors import UserError
from methods.registry import did_you_mean
from methods.setting_problems import quoted

_MOST_IMAGES = 100_000_000


def _as_tuple(value: Any) -> Any:
    """Return a list as a tuple; a single text is not taken for a list of its letters."""
    return tuple(value) if isinstance(value, list) else value


Text = Annotated[str, Strict()]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_as_tuple), Strict()]
Seeds = Annotated[tuple[Seed, ...], BeforeValidator(_as_tuple), Strict()]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    dataset: Text | None = None
    evaluation: Annotated[Whole | Annotated[float, Strict()], Field(gt=0, le=_MOST_IMAGES)] | None = None
    backbone: Text | None = None
    checkpoint: Text | Path | None = None
    site: Text | None = None
    head: Text | None = None
    weights: Flag = True
    token_seeds: Seeds | None = None
    methods: Texts | None = None
    extra_methods: Texts = ()
    dictionaries: Texts = ()
    scale: Text | None = None
    settings: Texts = ()


_EXPECTED = {
    "evaluation": f"a number of images or a share, above 0 and at most {_MOST_IMAGES}",
    "checkpoint": "the path of a file",
    "weights": "True or False",
    "token_seeds": f"a list of whole numbers from 0 to {2**32 - 1}",
    "methods": "a list of names",
    "extra_methods": "a list of names",
    "dictionaries": 'a list of texts "FILE" or "FILE:LABEL"',
    "settings": 'a list of texts "KEY=VALUE"',
}


def checked_options(options: Mapping[str, Any], *, caller: str = "load_suite") -> dict[str, Any]:
    """Return the options of :func:`harness.load_suite` with lists as tuples.

    ``caller`` is the name of the function whose arguments they are, for messages.

    Raises:
        UserError: an option has an unknown name or a value of another type.
    """
    evaluation = options.get("evaluation")
    if isinstance(evaluation, float) and not math.isfinite(evaluation):
        raise _wrong(caller, "evaluation", evaluation)
    try:
        checked = _Options(**options)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = str(problem["loc"][0])
        if problem["type"] == "extra_forbidden":
            raise UserError(
                f"{caller} has no option {name!r}. {did_you_mean(name, list(_Options.model_fields))}"
            ) from None
        raise _wrong(caller, name, options[name]) from None
    return {name: getattr(checked, name) for name in options}


def _wrong(caller: str, name: str, value: Any) -> UserError:
    expected = _EXPECTED.get(name, "a text")
    return UserError(f"{caller}: {name} = {quoted(value)}: give {expected}.")
