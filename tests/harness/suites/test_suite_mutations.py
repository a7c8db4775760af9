"""Three hundred broken suite files give three hundred clear messages: never another exception, never a wrong line."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.suites import SUITES, Suite, load_suite
from harness.suites.toml_lines import lines_of

GOOD = '''\
name = "mine"  # a comment = with an equals sign
description = """
Two lines, one of which looks like a [table]
key = "and a key" """

[seeds]
tokens = [42, 123,
          999]
init = [42]

[data]
dataset = "photos"
evaluation = 100

[probing]
crops = 3
tokens_per_image = 64
dtype = "float32"

[evaluation]
top_images = 20
metrics = ["r2", "ms_score"]

[judging]
panel = "proxy"
pairs = 50
options = { }

[[targets]]
backbone = "dinov2_small_saliency"
site = "blocks.9.mlp.fc2"
head = "probe"
settings.elude = { top_k = 500 }

[[targets]]
backbone = "efficientnet_lite0"
site = 'conv_head'
token_seeds = [42]
methods = [
  { name = "identity" },
  { name = "random_split", config = { parts = 4 } },
]

[[methods]]
name = "identity"

[[methods]]
name = "topk_sae"
label = "TopK"
select = true
[methods.config]
expansion_factor = 4
k = 20
"learning_rate" = 1e-3

[[methods]]
name = "elude"
config = { top_k = 600, min_cluster_size = 25 }
'''

VALUES = (
    '"x"', "-1", "0", "3.5", "nan", "inf", "-inf", "true", "[]", "{}", "[[1]]", '["a", 2]', "1979-05-27", "null",
    "None", "", '"', "'a", "10" * 40, "9" * 5000, "1_000", "0x", "[1, 2", "{ a = 1", '""', '"""', "2e400", "[" * 3000,
    "07", '"\\q"', '"\\ud800"', "{ a.b.c = 1 }", "[{}, {}]", "True", "[ , ]", '"\x00"', "1 2", "{ name = 3 }",
)  # fmt: skip


def change_value(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    number = draw.choice([i for i, line in enumerate(lines) if re.match(r"\s*[\w\".]+ = ", line)])
    lines[number] = lines[number].split(" = ")[0] + " = " + draw.choice(VALUES)
    return "\n".join(lines)


def change_key(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    number = draw.choice([i for i, line in enumerate(lines) if re.match(r"\w+ = ", line)])
    key, _, rest = lines[number].partition(" = ")
    at = draw.randrange(len(key))
    new = draw.choice(
        [key[:at] + key[at + 1 :], key[:at] + "x" + key[at:], key.upper(), f"{key}.{key}", "", "ключ", '""']
    )
    lines[number] = f"{new} = {rest}"
    return "\n".join(lines)


def change_header(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    number = draw.choice([i for i, line in enumerate(lines) if line.startswith("[")])
    name = lines[number].strip("[]")
    new = draw.choice(
        [f"[{name}", f"[[{name}]]", f"[{name}]", f"[{name}s]", f"[{name}.{name}]", "[]", f"[{name[:-1]}]"]
    )
    lines[number] = new
    return "\n".join(lines)


def repeat_line(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    number = draw.randrange(len(lines))
    lines.insert(draw.randrange(len(lines)), lines[number])
    return "\n".join(lines)


def drop_line(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    del lines[draw.randrange(len(lines))]
    return "\n".join(lines)


def drop_character(text: str, draw: random.Random) -> str:
    at = draw.choice([i for i, char in enumerate(text) if char in "\"'[]{}=,"])
    return text[:at] + text[at + 1 :]


def add_character(text: str, draw: random.Random) -> str:
    at = draw.randrange(len(text))
    return text[:at] + draw.choice("\"'[]{}=,.#\\\x00\x07é\r\t") + text[at:]


def cut_off(text: str, draw: random.Random) -> str:
    return text[: draw.randrange(len(text))]


def nest(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    number = draw.choice([i for i, line in enumerate(lines) if re.match(r"\w+ = ", line)])
    key, _, rest = lines[number].partition(" = ")
    lines[number] = draw.choice([f"{key} = {{ {key} = {rest} }}", f"{key} = [{rest}]", f"outer.{key} = {rest}"])
    return "\n".join(lines)


def build_on(text: str, draw: random.Random) -> str:
    value = draw.choice(
        ['"dmo"', '"demo"', "3", '""', '["demo"]', '"mutant.toml"', '"../x"', '"_paper"', '"a\\u0000b"']
    )
    return f"{draw.choice(['extends', 'parts', 'replaces', 'extend'])} = {value}\n{text}"


MUTATIONS: tuple[Callable[[str, random.Random], str], ...] = (
    change_value, change_value, change_value, change_key, change_key, change_header, repeat_line, drop_line,
    drop_character, add_character, cut_off, nest, build_on,
)  # fmt: skip


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
        draw = random.Random(seed)
        text = GOOD
        for _ in range(draw.choice([1, 1, 1, 2])):
            text = draw.choice(MUTATIONS)(text, draw)
        content = text.encode()
        if draw.random() < 0.05:
            at = draw.randrange(len(content))
            content = content[:at] + bytes([draw.randrange(128, 256)]) + content[at:]
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
