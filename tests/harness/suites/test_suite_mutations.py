"""Three hundred broken suite files give three hundred clear messages: never another exception, never a wrong line."""

from __future__ import annotations

import random
import re
import tomllib
from pathlib import Path

import pytest
from suite_mutations import GOOD, mutated

from harness.errors import UserError
from harness.suites import SUITES, Suite, load_suite
from harness.suites.toml_lines import lines_of


def outcome(file: Path) -> Suite | str:
    """A valid suite or the message; any other exception fails the test."""
    try:
        return load_suite(str(file))
    except UserError as error:
        return str(error)


def test_three_hundred_mutants_give_a_message_or_are_valid(tmp_path: Path) -> None:
    file = tmp_path / "mutant.toml"
    refused = 0
    for seed in range(600):
        content = mutated(GOOD, random.Random(seed))
        file.write_bytes(content)
        found = outcome(file)
        if isinstance(found, Suite):
            assert found.targets or found.parts
            continue
        refused += 1
        assert "mutant.toml" in found, (seed, found)
        assert "Traceback" not in found and len(found) < 4000, (seed, found)
        for place in re.finditer(r"mutant\.toml, line (\d+)", found):
            assert 1 <= int(place[1]) <= content.count(b"\n") + 1, (seed, found)
    assert refused >= 300


@pytest.mark.parametrize(
    ("before", "after", "line", "message"),
    [
        ("crops = 3", "crop = 3", 16, "There is no setting 'probing.crop'. Did you mean crops"),
        ("pairs = 50", "pairs = 0", 26, "judging.pairs = 0: it must be at least 1"),
        ("          999]", "          -9]", 8, "seeds.tokens.2 = -9"),
        ("top_k = 600,", "top_kk = 600,", 58, "elude has no setting 'top_kk'. Did you mean top_k"),
        ("k = 20", "k = 0", 53, "topk_sae.k = 0"),
        ("top_k = 500", "top_k = 0", 33, "elude.top_k = 0"),
        ("settings.elude", "settings.elud", 33, "the target has no method 'elud'. Did you mean elude"),
        ('name = "random_split"', 'name = "random_spilt"', 41, "Did you mean random_split"),
        ("parts = 4", 'parts = "many"', 41, "random_split.parts = 'many'"),
        ('"efficientnet_lite0"', '"efficientnet_lite"', 36, "Did you mean efficientnet_lite0"),
        ('"r2"', '"r3"', 22, "Did you mean r2"),
        ('panel = "proxy"', 'panel = "prox"', 25, "Did you mean proxy"),
        ('dataset = "photos"', 'dataset = "photo"', 12, "Did you mean photos"),
        ('[[methods]]\nname = "identity"', '[[methods]]\nnam = "identity"', 45, "'methods.0.name' is missing"),
        ("crops = 3", 'crops = "3"', 16, "probing.crops = '3'"),
        ("crops = 3", "crops = true", 16, "probing.crops = True"),
        ("crops = 3", "crops = null", 16, "instead of null"),
        ("init = [42]", "init = [42]\ninit = [7]", 10, "The key occurs twice"),
        ("evaluation = 100", "evaluation = 1.5", 13, "a share must be between 0 and 1"),
        ("select = true", "select = 1", 50, "methods.1.select = 1"),
        ('name = "identity"\n\n', 'name = "identity"\nselect = true\n\n', 46, "identity has no grid"),
        ('head = "probe"', 'head = "prob"', 32, "no head 'prob'. Did you mean probe"),
    ],
)  # fmt: skip
def test_the_line_is_the_right_one(tmp_path: Path, before: str, after: str, line: int, message: str) -> None:
    assert before in GOOD
    file = tmp_path / "mutant.toml"
    file.write_text(GOOD.replace(before, after))
    found = outcome(file)
    assert isinstance(found, str) and message in found
    assert f"mutant.toml, line {line}: " in found, found


def test_windows_line_ends_and_a_wrong_encoding(tmp_path: Path) -> None:
    file = tmp_path / "mutant.toml"
    file.write_bytes(GOOD.replace("crops = 3", "crop = 3").replace("\n", "\r\n").encode())
    assert "line 16: There is no setting 'probing.crop'" in str(outcome(file))
    file.write_bytes(GOOD.encode().replace(b"photos", b"ph\xf6tos"))
    assert "mutant.toml, line 12: the byte 0xf6 is not valid UTF-8" in str(outcome(file))
    file.write_bytes(GOOD.encode("utf-16"))
    assert "mutant.toml, line 1" in str(outcome(file))


def test_every_value_has_the_line_it_is_written_in() -> None:
    """The scanner against tomllib itself: cut the text above a value's line, and the value is not there yet."""

    def paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [*([path] if path else []), *(found for key, item in inner for found in paths(item, (*path, key)))]

    for text in [GOOD, *(file.read_text() for file in SUITES.glob("*.toml"))]:
        found = lines_of(text)
        values = tomllib.loads(text)
        assert set(paths(values)) == set(found)
        rows = text.split("\n")
        for path, line in found.items():
            key = next(part for part in reversed(path) if isinstance(part, str))
            entry = isinstance(path[-1], int)
            assert entry or key in rows[line - 1], (path, line)
            try:
                above = tomllib.loads("\n".join(rows[: line - 1]))
            except tomllib.TOMLDecodeError:
                continue  # the cut is inside a list over several lines
            assert path not in paths(above), (path, line)
