"""Mutants of the shipped suites: each is valid and can be estimated, or is refused with a sentence."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from harness.doctor.estimate import estimate
from harness.errors import UserError
from harness.suites import SUITES, Suite, load_suite

VALUES = (
    '"x"', "-1", "0", "3.5", "nan", "-inf", "true", "[]", "{}", "[[1]]", "1979-05-27", "1979-05-27T07:32:00Z",
    "07:32:00", "9223372036854775808", "1e300", "5e-324", '"3"', '"1e3"', "1e3", "10" * 40, f'"{"x" * 5000}"',
    '"\u202e猫"', '["a", 2]', "{ a = { b = { c = 1 } } }", "[{}, {}]", '{ entry = "elude" }', "1_000_000_000_000",
    '{ name = "elude", config = { top_k = true } }', "0x7fffffffffffffff", '"\\u0000"', '"../../etc/passwd"',
)  # fmt: skip
FIRST_LINES = (
    'extends = "mine.toml"', 'parts = ["mine.toml"]', 'extends = "demo"', 'parts = ["paper", "paper"]', "judging = 3",
    'replaces = ["methods"]', "extra = { planted = 1 }", "seeds.tokens = [42, 42]", "judging.judges = [1]",
    "judging.options = { timeout_s = nan }", "planted.resamples = 1e300",
)  # fmt: skip


def mutated(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    with_values = [number for number, line in enumerate(lines) if re.match(r"\s*[\w\".]+ *= ", line)]
    headers = [number for number, line in enumerate(lines) if line.startswith("[")]
    kind = draw.choice(["value", "value", "value", "inner value", "key", "repeat", "header", "first line"])
    if kind == "first line" or not with_values or (kind == "header" and not headers):
        return "\n".join([draw.choice(FIRST_LINES), *lines])
    number = draw.choice(with_values)
    key, value = re.split(r" *= ", lines[number], maxsplit=1)
    if kind == "value":
        lines[number] = f"{key} = {draw.choice(VALUES)}"
    elif kind == "inner value" and (inner := list(re.finditer(r"(\w+) = ([^,}\]]+)", value))):
        match = draw.choice(inner)
        lines[number] = f"{key} = {value[: match.start(2)]}{draw.choice(VALUES)}{value[match.end(2) :]}"
    elif kind == "key":
        at = draw.randrange(len(key))
        lines[number] = f"{key[:at]}{draw.choice(['x', 'ж', '-', ''])}{key[at + 1 :]} = {value}"
    elif kind == "header":
        number = draw.choice(headers)
        name = lines[number].strip("[]")
        lines[number] = draw.choice([f"[{name}]", f"[[{name}]]", f"[{name}.x]", f"[x.{name}]", f"[{name}"])
    else:
        lines.insert(draw.randrange(len(lines)), lines[number])
    return "\n".join(lines)


@pytest.mark.parametrize("seeds", [range(25), pytest.param(range(25, 500), marks=pytest.mark.slow)])
def test_mutants_of_shipped_suites_are_valid_or_refused(tmp_path: Path, seeds: range) -> None:
    files = sorted(SUITES.glob("[a-z]*.toml"))
    file = tmp_path / "mine.toml"
    refused = 0
    for seed in seeds:
        draw = random.Random(seed)
        text = draw.choice(files).read_text()
        for _ in range(draw.choice([1, 1, 2, 3])):
            text = mutated(text, draw)
        file.write_text(text)
        try:
            suite = load_suite(str(file))
        except UserError as error:
            refused += 1
            assert re.search(r"\w\.toml", str(error)) and len(str(error)) < 10_000, (seed, str(error))
        else:
            assert isinstance(suite, Suite) and estimate(suite).cells > 0, seed
    assert refused > len(seeds) / 3
