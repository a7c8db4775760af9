"""Requests of the page Steer: checked JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.steering.steer_request import MATCHERS, MOST_IMAGES, parsed_request
from harness.steering.steered import SteerSettings

LEAST: dict[str, Any] = {"cell": "abcd", "amplify": ["dog"], "images": ["a.jpg"]}


def body(**changes: Any) -> bytes:
    return json.dumps({**LEAST, **changes}).encode()


def test_what_is_left_out_has_the_defaults() -> None:
    request = parsed_request(body())
    assert request.cell == "abcd" and request.images == ("a.jpg",)
    assert request.settings == SteerSettings(amplify=("dog",))


def test_every_value_is_taken() -> None:
    values = {"suppress": [" cat ", "cat"], "alpha": 2, "gamma": -3.5, "kappa": 7, "nu": 0, "scorer": "clip"}
    chosen = parsed_request(body(**values, matcher="words")).settings
    assert chosen[:8] == (("dog",), ("cat",), 2.0, -3.5, 7, 0, "clip", "words")
    assert parsed_request(body(nu=None)).settings.nu is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device": "cuda"}, "unknown keys (device)"),
        ({"cell": 5}, "cell of the request must be a text"),
        ({"cell": None}, "names no cell"),
        ({"cell": "x" * 301}, "cell of the request must be a text of 1 to 300"),
        ({"amplify": "dog"}, "amplify of the request must be a list"),
        ({"amplify": ["dog", 5]}, "amplify of the request must be a list"),
        ({"amplify": [" "]}, "amplify of the request must be a list"),
        ({"amplify": ["x"] * 21}, "at most 20 texts"),
        ({"amplify": []}, "names no concept"),
        ({"images": []}, "names no image"),
        ({"images": [str(number) for number in range(MOST_IMAGES + 1)]}, "images of the request"),
        ({"alpha": "5"}, "alpha of the request must be a number"),
        ({"alpha": True}, "alpha of the request must be a number"),
        ({"alpha": None}, "alpha of the request must be a number"),
        ({"gamma": float("nan")}, "gamma of the request must be a number"),
        ({"gamma": float("inf")}, "gamma of the request must be a number"),
        ({"gamma": 10**4000}, "gamma of the request must be a number from -10000 to 10000"),
        ({"kappa": 0}, "kappa of the request must be a whole number from 1"),
        ({"kappa": 2.0}, "kappa of the request must be a whole number"),
        ({"kappa": None}, "kappa of the request must be a whole number"),
        ({"nu": -1}, "or null for all"),
        ({"nu": 10**9}, "or null for all"),
        ({"matcher": "hf:someone/model"}, "cannot be used here: use words or sentences"),
        ({"matcher": "sentences:/etc"}, "cannot be used here"),
        ({"scorer": ["clip"]}, "scorer of the request must be a text"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        parsed_request(body(**changes))
    assert words in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[]", b"5", b"[" * 100_000, b'{"kappa": ' + b"9" * 5000 + b"}", b"null"]
)
def test_what_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(UserError, match="the request"):
        parsed_request(content)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from([*LEAST, "alpha", "nu", "kappa", "matcher"]), SCALARS | st.lists(SCALARS, max_size=3)
    )
)
def test_any_json_is_a_request_or_a_sentence(changes: dict[str, Any]) -> None:
    try:
        request = parsed_request(body(**changes))
    except UserError as error:
        assert "\n" not in str(error) and str(error).endswith(".")
    else:
        chosen = request.settings
        assert 1 <= len(request.images) <= MOST_IMAGES and (chosen.amplify or chosen.suppress)
        assert abs(chosen.alpha) <= 1e4 and chosen.kappa >= 1 and chosen.matcher in (None, *MATCHERS)
