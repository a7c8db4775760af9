"""Every number that a user can set has bounds: of suites, methods, heads, judge panels and the command line."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import annotated_types
import numpy as np
import pytest
from documents import VERBS
from pydantic import BaseModel
from variants import REFUSED, built_in

import harness.planted  # noqa: F401 - registers the method `oracle`
import methods
from harness.activations.heads import HEADS
from harness.errors import UserError
from harness.suites import load_suite, parse_suite, with_settings
from harness.suites.schema import Suite
from harness.suites.sections import SECTIONS
from harness.suites.toml_limits import MOST_BYTES
from judges.panel import PANELS, SETTINGS
from methods.base import make_config

NUMBERS = (int, float)
BELOW = (annotated_types.Ge, annotated_types.Gt)
ABOVE = (annotated_types.Le, annotated_types.Lt)


def numbers_in(annotation: Any, metadata: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield each number of a type with the constraints on it; nested models are walked on their own."""
    if hasattr(annotation, "__metadata__"):
        constraints = [getattr(entry, "metadata", [entry]) for entry in annotation.__metadata__]
        yield from numbers_in(annotation.__origin__, (*metadata, *(each for entry in constraints for each in entry)))
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for inner in typing.get_args(annotation):
            yield from numbers_in(inner, metadata)
    elif typing.get_origin(annotation) in (tuple, list):
        for inner in typing.get_args(annotation):
            yield from numbers_in(inner, ())
    elif annotation in NUMBERS:
        yield annotation, metadata


def models() -> Iterator[type[BaseModel]]:
    """Every model of settings that is registered, plugins excluded."""
    waiting: list[Any] = [Suite, *(methods.METHODS.get(name).Config for name in built_in())]
    waiting += [methods.METHODS.get("oracle").Config, *(HEADS.get(name).Settings for name in HEADS.names())]
    assert PANELS.names()
    waiting += [*(SECTIONS.get(name) for name in SECTIONS.names()), *SETTINGS.values()]
    known: list[Any] = []
    while waiting:
        model = waiting.pop()
        if isinstance(model, type) and issubclass(model, BaseModel) and model not in known:
            known.append(model)
            yield model
            waiting += [inner for field in model.model_fields.values() for inner in typing.get_args(field.annotation)]
            waiting += [field.annotation for field in model.model_fields.values()]
        else:
            waiting += typing.get_args(model)


def test_every_number_of_every_setting_has_an_upper_and_a_lower_bound() -> None:
    walked = 0
    for model in models():
        for name, field in model.model_fields.items():
            for number, constraints in numbers_in(field.annotation, tuple(field.metadata)):
                walked += 1
                what = f"{model.__name__}.{name}: {number.__name__} {constraints}"
                assert any(isinstance(entry, BELOW) for entry in constraints), what
                assert any(isinstance(entry, ABOVE) for entry in constraints), what
    assert walked > 80


def test_every_number_of_the_command_line_has_an_upper_and_a_lower_bound() -> None:
    ranges = 0
    for verb, command in VERBS.items():
        for item in command.params:
            if re.search(r"\b(int|float)\b", str(item.type_descriptor.annotation)):
                ranges += 1
                assert item.min is not None and item.max is not None, f"{verb} {item.name}"
    assert ranges > 15


ABSURD = [2**63, 2**31, -(2**63), 10**12, 10**400, 1e300, float("nan"), float("inf"), 5e-324, True, "3", "1e3", None]


@pytest.mark.parametrize("name", built_in())
def test_absurd_values_of_method_settings_are_refused_with_the_bound(name: str) -> None:
    cls = methods.METHODS.get(name)
    for setting, field in cls.Config.model_fields.items():
        [*kinds] = numbers_in(field.annotation, tuple(field.metadata))
        if not kinds or any(typing.get_origin(kind) is tuple for kind in _members(field.annotation)):
            continue
        whole = kinds[0][0] is int
        for value in ABSURD:
            optional = value is None and type(None) in typing.get_args(field.annotation)
            # A largest cosine of -1 and the like is a number like any other.
            if optional or (value == 2**31 and not whole):
                continue
            with pytest.raises(UserError) as refused:
                make_config(cls, {setting: value})
            said = str(refused.value)
            assert said.startswith(f"{name}.{setting} = ") and len(said) < 250
            if isinstance(value, int) and value is not True and 2**62 < value < 10**300:
                assert "at most" in said or "below" in said
        for value in (np.float32(0.25), np.int64(3)) if not whole else (np.int64(3),):
            others = {"min_cluster_size": 2} if (name, setting) == ("elude", "top_k") else NEEDED.get(setting, {})
            if _is_allowed(kinds[0][1], value) and (name, setting) not in REFUSED:
                assert type(getattr(make_config(cls, {**others, setting: value}), setting)) is kinds[0][0]


def _members(annotation: Any) -> tuple[Any, ...]:
    """Return the types of an optional annotation, or the annotation alone."""
    return (
        typing.get_args(annotation)
        if typing.get_origin(annotation) in (typing.Union, types.UnionType)
        else (annotation,)
    )


#: What a setting has no effect without, and is refused.
NEEDED: dict[str, dict[str, Any]] = {
    "auxk_weight": {"auxk": 1},
    "auxk_tokens": {"auxk": 1},
    "k_start": {"k_warmup": 0.5},
}


def _is_allowed(constraints: tuple[Any, ...], value: Any) -> bool:
    lows = [getattr(entry, "ge", getattr(entry, "gt", None)) for entry in constraints if isinstance(entry, BELOW)]
    highs = [getattr(entry, "le", getattr(entry, "lt", None)) for entry in constraints if isinstance(entry, ABOVE)]
    return bool(max(lows) < value < min(highs))


SUITE: dict[str, Any] = {
    "name": "mine",
    "targets": [{"backbone": "dinov2_small_saliency"}],
    "methods": [{"name": "identity"}],
}


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("probing", "tokens_per_image", 2**63, "tokens_per_image = 9223372036854775808: it must be at most 1000000."),
        ("probing", "crops", 2**31, "probing.crops = 2147483648: it must be at most 10000."),
        ("evaluation", "batch_size", 10**12, "evaluation.batch_size = 1000000000000: it must be at most 65536."),
        ("evaluation", "top_images", 10**9, "at most 100000"),
        ("data", "evaluation", 10**15, "at most 100000000"),
        ("seeds", "tokens", [2**64], "seeds.tokens.0 = 18446744073709551616: it must be below 4294967296."),
        ("seeds", "tokens", list(range(20_000)), "it must have at most 10000 entries"),
        ("sweep", "target_l0", float("nan"), "finite"),
        ("judging", "pairs", 2**63, "at most 1000000"),
        ("planted", "resamples", 2**63, "at most 1000000"),
    ],
)  # fmt: skip
def test_absurd_values_of_a_suite_are_refused_with_the_bound(section: str, key: str, value: Any, message: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_suite({**SUITE, section: {key: value}})
    assert message in str(refused.value) and len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("judging.options={ timeout_s = 1e300 }", "judging.options.timeout_s: it must be at most 86400."),
        ("judging.options={ tries = 9223372036854775808 }", "at most 100"),
        ("judging.options={ concurrenc = 3 }", "Did you mean concurrency"),
        ('judging.judges=[{ name = "m", backoff_s = nan }]', "finite"),
    ],
)
def test_settings_of_a_panel_are_checked_with_the_suite(assignment: str, message: str) -> None:
    suite = with_settings(load_suite("demo"), ["judging.judges=[]", "judging.options={}"])
    with pytest.raises(UserError, match=message):
        with_settings(with_settings(suite, ["judging.panel=openai"]), [assignment])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("judging.options.x=1979-05-27", "no setting is a date or time"),
        (f"{'a.' * 5000}a=1", "a key has more than 32 parts"),
        (f"method.elude.top_k={'x' * 100_000}", "100019 letters, at most 20000 are allowed"),
    ],
)
def test_values_of_the_command_line_have_the_limits_of_a_file(assignment: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        with_settings(load_suite("demo"), [assignment])
    assert len(str(refused.value)) < 300


def test_the_number_of_cells_is_bounded() -> None:
    with pytest.raises(UserError, match=r"up to 100000000 cells .*, at most 100000 are allowed"):
        parse_suite({**SUITE, "seeds": {"tokens": list(range(10_000)), "init": list(range(10_000))}})


def write(folder: Path, text: str, name: str = "mine.toml") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#" * (MOST_BYTES + 1), "the file is larger than 512.0 KiB"),
        (f"{'a.' * 100_000}a = 1", "a key has more than 32 parts"),
        (f"[{'a.' * 200_000}a]", "a key has more than 32 parts"),
        (f"a = {'[' * 100_000}", "nested too deeply"),
        (f"a = {'[' * 60}{']' * 60}", "nested deeper than 32 levels"),
        ("name = 1979-05-27", "name = 1979-05-27: no setting is a date or time"),
        (f'name = "{"x" * 30_000}"', "the text has 30000 letters, at most 20000"),
        ("[[targets]]\n" * 2_000, "more problems"),
        ("".join(f"k{number} = 1\n" for number in range(2_000)), "more problems"),
        ("# ...........................................\n# " + "." * 200, "'name' is missing"),
    ],
)
def test_no_file_takes_long_or_has_a_long_answer(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        load_suite(write(tmp_path, text))
    assert "mine.toml" in str(refused.value) and len(str(refused.value)) < 4000


def test_suites_that_include_others_many_times_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.suites.loading.MOST_FILES", 40)
    for number in range(20):
        write(tmp_path, f'name = "s"\nparts = ["{number + 1}.toml", "{number + 1}.toml"]', f"{number}.toml")
    write(tmp_path, 'name = "s"\nextends = "demo"', "20.toml")
    with pytest.raises(UserError, match=r"0\.toml: a suite may consist of 40 files"):
        load_suite(str(tmp_path / "0.toml"))
    for number in range(40):
        write(tmp_path, f'extends = "{number + 1}.toml"', f"{number}.toml")
    write(tmp_path, 'name = "s"\nextends = "demo"', "40.toml")
    with pytest.raises(UserError, match="32 of them based on each other"):
        load_suite(str(tmp_path / "0.toml"))
