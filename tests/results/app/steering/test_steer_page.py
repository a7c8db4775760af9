"""The page Steer with a stub worker: form, effect, units, links, and what it says if something is missing."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("streamlit")

import app_pages
from app_pages import opened, require_sound, show, store_in
from app_store import SCRIPT
from labelled_store import add_labels
from PIL import Image
from streamlit.testing.v1 import AppTest
from stub_worker import answer, cell, stub_worker

from harness.errors import UserError
from harness.steering.steer_request import SteerRequest
from results import Store

pytestmark = pytest.mark.run

CELLS = [cell("topk_sae-42", label="TopK SAE"), cell("elude-42", "clip", "classes")]


class Stub:
    """Worker that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[SteerRequest] = []
        self.answer: Callable[[SteerRequest], dict[str, Any]] = answer

    def steer(self, request: SteerRequest) -> dict[str, Any]:
        self.asked.append(request)
        return self.answer(request)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = store_in(tmp_path_factory.mktemp("app"))
    labels = {4: ["dog"], 7: ["dog house, kennel"], 8: ["dog"], 1: [SCRIPT], 2: ["weak"]}
    add_labels(store, "elude-42", labels, p_values={2: 0.5})
    add_labels(store, "elude-42", {4: ["cat"]}, scorer="classes", days=-1)
    return store


@pytest.fixture
def stub(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    show(store, monkeypatch)
    made = Stub()
    with stub_worker(made.steer, CELLS) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield made


def texts(test: AppTest) -> str:
    return app_pages.texts(test).replace("\\", "")


def errors(test: AppTest) -> list[str]:
    assert [element.message for element in test.exception] == []
    return [str(element.value) for element in test.error]


def widget(test: AppTest, kind: str, label: str) -> Any:
    (one,) = [each for each in test.get(kind) if each.label == label]
    return one


def image_with(test: AppTest, words: str) -> np.ndarray:
    (url,) = [image.url for element in test.get("image") for image in element.proto.imgs if words in image.alt]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))).convert("RGB")).astype(int)


def test_without_a_worker_the_page_teaches_the_command(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    show(store, monkeypatch)
    test = opened("steer")
    require_sound(test)
    assert "`harness app --steer --suite demo --store results.duckdb`" in texts(test)
    assert "`harness label --suite demo --store results.duckdb`" in texts(test)


@pytest.mark.parametrize(("port", "token"), [("x", "t"), ("0", "t"), ("70000", "t"), ("80", ""), ("٣", "t")])
def test_odd_variables_are_no_worker(store: Store, monkeypatch: pytest.MonkeyPatch, port: str, token: str) -> None:
    show(store, monkeypatch)
    monkeypatch.setenv("HARNESS_STEER_PORT", port)
    monkeypatch.setenv("HARNESS_STEER_TOKEN", token)
    assert "harness app --steer" in texts(opened("steer"))


def test_nothing_is_computed_before_the_button(stub: Stub) -> None:
    test = opened("steer")
    require_sound(test)
    # The first cell that has labels, its newest scorer, and the first image.
    assert widget(test, "selectbox", "Method").value == "elude-42"
    assert widget(test, "selectbox", "Labels by").value == "clip"
    assert "**00.png**" in texts(test) and "press Steer" in texts(test)
    widget(test, "text_input", "Amplify").set_value("dog")
    widget(test, "select_slider", "Amplify by α").set_value(8)
    assert stub.asked == []


def test_the_button_steers_and_the_address_holds_everything(stub: Stub) -> None:
    test = opened("steer")
    widget(test, "text_input", "Amplify").set_value(" dog,  dog house,")
    widget(test, "text_input", "Suppress").set_value("cat")
    widget(test, "select_slider", "Amplify by α").set_value(8)
    widget(test, "select_slider", "Patches ν per unit").set_value(float("inf"))
    widget(test, "button", "Steer").click().run()
    require_sound(test)
    (request,) = stub.asked
    assert request.cell == "elude-42" and request.images == ("00.png",)
    settings = request.settings
    assert settings.amplify == ("dog", "dog house") and settings.suppress == ("cat",)
    assert (settings.alpha, settings.gamma, settings.kappa, settings.nu) == (8.0, -50.0, 50, None)
    assert (settings.scorer, settings.matcher) == ("clip", None)
    parameters = {name: test.query_params[name] for name in ("amplify", "suppress", "alpha", "nu")}
    assert parameters == {"amplify": "dog, dog house", "suppress": "cat", "alpha": "8", "nu": "all"}
    assert "gamma" not in test.query_params
    # A link gives the same; the effect is cached.
    again = opened("steer", **parameters)
    require_sound(again)
    assert again.subheader[0].value == test.subheader[0].value and len(stub.asked) == 1
    assert widget(again, "select_slider", "Patches ν per unit").value == float("inf")


def test_the_finding_is_the_title_and_units_and_patches_are_shown(stub: Stub) -> None:
    test = opened("steer", amplify="dog", alpha="5", image="03.png")
    require_sound(test)
    written = texts(test)
    assert test.subheader[0].value.replace("\\", "") == "“dog” rises from 2.00 % to 47.0 %; random units: 3.00 %"
    assert "3 of 16 patches were changed" in written and "0.500 nats" in written and "0.010 nats" in written
    assert "2 units changed" in written and "“dog”: × 5" in written and "Matched by words@1" in written
    table = test.get("dataframe")[0].value
    assert table["unit"].tolist() == ["units?cell=elude-42&unit=4", "units?cell=elude-42&unit=7"]
    assert table["label"].tolist() == ["dog", "dog house"] and table["factor"].tolist() == ["× 5", "× 5"]
    # Patch 15 was changed, in the last corner; the corner above it was not.
    plain, changed = image_with(test, "Chosen image: 03.png"), image_with(test, "Patches of 03.png")
    plain = np.asarray(Image.fromarray(plain.astype(np.uint8)).resize(changed.shape[1::-1])).astype(int)
    difference = np.abs(changed - plain).mean(2)
    side = len(difference) // 4
    assert difference[-side:, -side:].mean() > 20 > 10 > difference[:side, -side:].mean()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"alpha": "nan", "nu": "none", "kappa": "-4", "gamma": "1e999"}, (5.0, -50.0, 1, 50)),
        ({"alpha": "7", "nu": "1e9", "kappa": "51", "gamma": "-49"}, (8.0, -50.0, 50, 200)),
        ({"alpha": "", "nu": "all", "kappa": "x", "gamma": "0"}, (5.0, 0.0, 50, None)),
    ],
)
def test_odd_numbers_of_an_address_are_positions_of_the_sliders(
    stub: Stub, parameters: dict[str, str], expected: tuple[Any, ...]
) -> None:
    test = opened("steer", amplify="dog", **parameters)
    require_sound(test)
    settings = stub.asked[-1].settings
    assert (settings.alpha, settings.gamma, settings.kappa, settings.nu) == expected


def test_images_are_found_and_chosen(stub: Stub) -> None:
    test = opened("steer", amplify="dog", image="nowhere.png")
    require_sound(test)
    assert "have no nowhere.png" in texts(test) and stub.asked[-1].images == ("00.png",)
    widget(test, "text_input", "Find an image").set_value("07.PNG").run()
    (button,) = [button for button in test.button if str(button.key).startswith("steer image ")]
    assert button.label.replace("\\", "") == "Choose 07.png"
    button.click().run()
    require_sound(test)
    assert test.query_params["image"] == "07.png" and stub.asked[-1].images == ("07.png",)
    widget(test, "text_input", "Find an image").set_value("zebra' --").run()
    assert "No image has this name" in texts(test)


def test_frequent_labels_are_suggested_and_compute_nothing(stub: Stub) -> None:
    test = opened("steer")
    suggested = {button.label: button for button in test.button if str(button.key).startswith("suggested ")}
    # The script is no plain text, and the other label is not above its null.
    assert list(suggested) == ["dog", "dog house"]
    suggested["dog house"].click().run()
    require_sound(test)
    assert widget(test, "text_input", "Amplify").value == "dog house" and stub.asked == []


def test_another_scorer_and_matcher_are_asked_for(stub: Stub) -> None:
    test = opened("steer", amplify="cat", scorer="classes", matcher="words")
    require_sound(test)
    assert (stub.asked[-1].settings.scorer, stub.asked[-1].settings.matcher) == ("classes", "words")
    odd = opened("steer", amplify="cat", scorer="nobody", matcher="hf:a/b")
    require_sound(odd)
    assert (stub.asked[-1].settings.scorer, stub.asked[-1].settings.matcher) == ("clip", None)


def test_a_cell_without_labels_teaches_how_to_label_it(stub: Stub) -> None:
    test = opened("steer", cell="topk_sae-42", amplify="dog")
    require_sound(test)
    assert "`harness label --suite demo --cell topk_sae-42 --store results.duckdb`" in texts(test)
    assert stub.asked == []


def test_errors_of_the_worker_are_sentences_and_not_kept(stub: Stub) -> None:
    def fail(request: SteerRequest) -> dict[str, Any]:
        raise UserError("No unit's label is similar to '**zebra**': run `harness label` <b>again</b>.")

    stub.answer = fail
    test = opened("steer", amplify="zebra")
    (error,) = errors(test)
    assert "`harness label`" in error and "**zebra**" not in error and "<b>" not in error
    stub.answer = answer
    test.run()
    require_sound(test)
    assert test.subheader


def test_a_worker_that_has_ended_says_how_to_restart(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    show(store, monkeypatch)
    with stub_worker(answer, CELLS) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
    test = opened("steer", amplify="dog")
    assert "it has ended" in errors(test)[0] and "`harness app --steer`" in texts(test)


def test_a_wrong_token_is_said(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_STEER_TOKEN", "another")
    test = opened("steer", amplify="dog")
    assert "token" in errors(test)[0] and stub.asked == []


@pytest.mark.parametrize(
    "changes",
    [
        {"grid": 0},
        {"units": []},
        {"classes": []},
        {"classes": [{"name": SCRIPT * 50, "before": float("nan"), "after": 0.5, "control": 0.5}]},
        {"classes": [{"name": SCRIPT * 50, "before": 0.5, "after": 0.501, "control": 0.5}] * 3},
        {"units": [{"unit": 99, "concept": SCRIPT, "label": SCRIPT, "similarity": 1.0, "factor": -50.0}]},
    ],
)
def test_odd_effects_are_shown_without_an_error(stub: Stub, changes: dict[str, Any]) -> None:
    stub.answer = lambda request: answer(request, **changes)
    test = opened("steer", amplify=f"odd {sorted(changes)} {len(str(changes))}")
    require_sound(test)
    assert not any("<script>" in element.value or element.allow_html for element in test.markdown)


def test_an_image_on_which_the_units_are_silent(stub: Stub) -> None:
    image = {"image": 0, "name": "00.png", "divergence": 0.0, "control_divergence": float("nan"), "touched": []}
    stub.answer = lambda request: answer(request, images=[{**image, "classes": []}])
    test = opened("steer", amplify="silent")
    require_sound(test)
    assert "No patch was changed" in texts(test) and "undefined" in texts(test)
