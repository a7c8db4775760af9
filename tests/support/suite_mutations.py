"""Mutations of suite files: broken values, keys, headers, lines and characters."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

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


def mutated(text: str, draw: random.Random) -> bytes:
    """Return a suite file with one or two mutations, and sometimes a byte that is not UTF-8."""
    for _ in range(draw.choice([1, 1, 1, 2])):
        text = draw.choice(MUTATIONS)(text, draw)
    content = text.encode()
    if draw.random() < 0.05:
        at = draw.randrange(len(content))
        content = content[:at] + bytes([draw.randrange(128, 256)]) + content[at:]
    return content
