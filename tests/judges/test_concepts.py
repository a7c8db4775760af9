"""Prompts that name and detect concepts, their replies, and questions about one picture."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from judges.base import Question
from judges.concepts import DETECT, EXPLAIN
from judges.grids import Album, Grid, Tile
from judges.panel import Wanted, make_panel
from judges.parsing import MAX_CONCEPT_CHARS, clean_concept, parse_concept, parse_detection
from judges.prompt import PROTOCOLS, prompt_for, reply_schema


def test_the_prompts_must_not_change_without_a_new_version() -> None:
    """These must not change: stored replies belong to the text they answered."""
    known = {
        prompt.version: (hashlib.blake2b(prompt.text.encode(), digest_size=8).hexdigest(), prompt.max_attempts)
        for prompt in (EXPLAIN, DETECT)
    }
    assert known == {"explain-1": ("6f743089f79644af", 3), "detect-1": ("75f82affee26454d", 3)}
    assert not {"explain", "detect", "explain-1", "detect-1"} & set(PROTOCOLS.names())


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('{"answer": "yes"}', "yes"),
        ('```json\n{"answer": "No"}\n```', "no"),
        ('<think>a dog?</think>{"answer": "no"}', "no"),
        ('The answer is yes: {"answer": "yes"}', "yes"),
        ('{"answer": "yes"', "yes"),
        ('The answer is no: {"answer": "yes"}', None),
        ('{"answer": "yes"} or {"answer": "no"}', None),
        ('{"answer": "yes", "answer": "no"}', None),
        ('{"answer": "A"}', None),
        ('{"answer": true}', None),
        ('{"answer": ["yes"]}', None),
        ("yes", None),
        ("", None),
        (None, None),
    ],
)
def test_detections_are_yes_or_no(text: str | None, answer: str | None) -> None:
    verdict = parse_detection(text)
    assert verdict.answer == answer and (verdict.problem is None) == verdict.valid


@pytest.mark.parametrize(
    ("text", "concept"),
    [
        ('{"concept": "dogs on grass"}', "dogs on grass"),
        ('Sure: {"concept": "  \\"dogs\\"\\n on\\u0000\\tgrass "}', 'dogs" on� grass'),
        ('{"concept": "x", "concept": "x"}', "x"),
        ('{"concept": "x", "concept": "y"}', None),
        ('{"concept": ""}', None),
        ('{"concept": "..."}', None),
        ('{"concept": 3}', None),
        (json.dumps({"concept": "a" * MAX_CONCEPT_CHARS}), "a" * MAX_CONCEPT_CHARS),
        (json.dumps({"concept": "a" * (MAX_CONCEPT_CHARS + 1)}), None),
        ('{"concept": "cut o', None),
        ("dogs", None),
        (None, None),
    ],
)
def test_concepts_are_one_short_line(text: str | None, concept: str | None) -> None:
    verdict = parse_concept(text)
    assert verdict.answer == concept and (verdict.problem is None) == verdict.valid


@given(st.text(max_size=300))
def test_any_concept_is_quoted_as_one_line_of_data(text: str) -> None:
    concept = clean_concept(text)
    if concept is None:
        return
    assert len(concept) <= MAX_CONCEPT_CHARS and concept.isprintable() and clean_concept(concept) is not None
    prompt = DETECT.text_for(concept)
    (line,) = [line for line in prompt.split("\n") if line.startswith("Concept: ")]
    assert json.loads(line.removeprefix("Concept: ")) == concept
    # Nothing else of the prompt has changed.
    assert prompt.replace(line, "Concept: {concept}") == DETECT.text


@given(st.text() | st.none())
def test_no_reply_raises(text: str | None) -> None:
    for parse in (parse_concept, parse_detection):
        verdict = parse(text)
        assert verdict.valid or verdict.problem
    wrapped = json.dumps({"concept": text, "answer": text})
    assert parse_concept(wrapped).answer == (None if text is None else clean_concept(text))


class Reds:
    def open(self, index: int) -> Image.Image:
        return Image.new("RGB", (40, 40), (250, 0, 0))


def test_a_single_picture_is_one_tile_and_has_a_key_of_its_own(tmp_path: Path) -> None:
    single, grid = (Grid((Tile("a", 0),), side=side) for side in (1, 3))
    assert single.key != grid.key == Grid((Tile("a", 0),)).key
    with Image.open(Album(Reds(), tmp_path).file(single)) as drawn:
        assert drawn.size == (336, 336) and drawn.getpixel((335, 335))[0] > 240  # type: ignore[index]


def test_keys_differ_by_picture_and_concept() -> None:
    (judge,) = make_panel("openai", Wanted("vit", ({"name": "m", "base_url": "http://host/v1"},))).judges
    a, b = Grid((Tile("a", 0),)), Grid((Tile("b", 1),))
    questions = [
        Question(a),
        Question(a, b),
        Question(a, concept="x"),
        Question(a, concept="y"),
        Question(b, concept="x"),
    ]
    keys = {judge.key(question, DETECT) for question in questions}
    assert len(keys) == 5 and judge.key(questions[1], DETECT).grid_b == b.key
    assert questions[2].pictures == (a,) and judge.key(questions[0], DETECT).grid_b == ""


@pytest.mark.parametrize(
    ("model", "tokens"), [("Qwen/Qwen3-VL-30B", (1024, 100)), ("google/gemma-3-27b", (256, 256)),
                          ("OpenGVLab/InternVL3-14B", (2560, 256)), ("other", (1000, 111))],
)  # fmt: skip
def test_the_cost_is_that_of_the_pictures_shown(model: str, tokens: tuple[int, int]) -> None:
    (judge,) = make_panel("vllm", Wanted("vit", ({"name": model},))).judges
    grid, single = tokens
    assert judge.estimate(prompt_for("plain")).prompt_tokens == 2 * grid + len(prompt_for("plain").text) // 4
    assert judge.estimate(EXPLAIN).prompt_tokens == grid + len(EXPLAIN.text) // 4
    assert judge.estimate(DETECT) == (single + len(DETECT.text) // 4, 8)


def test_schemas_bound_texts_and_not_choices() -> None:
    bounded = reply_schema(120, EXPLAIN.schema)
    assert bounded["properties"]["concept"] == {"type": "string", "maxLength": 120}
    assert reply_schema(120, DETECT.schema) == DETECT.schema
