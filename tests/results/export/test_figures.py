"""Figures in general: formats, options, the same bytes, and texts of a store that stay texts."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import app_store
import matplotlib
import pytest
from figure_texts import drawn_boxes, outside, overlaps, pixels, svg_texts
from hostile_stores import SECRET, combined, hostile_store
from hostile_texts import hostile_texts
from PIL import Image
from robust_store import record_robust_scores
from unit_store import Unit, make_store, record

from results import Store, StoreError, open_store
from results.export import FIGURES, figure, figure_form
from results.export.figures import front, options_of, page, units
from results.store.explanations import ExplanationRecord, record_explanations
from results.store.steerings import SteeringRecord, record_steering

DRAWN: dict[str, dict[str, Any]] = {
    "front": {},
    "frontier": {"x": "expansion_factor"},
    "robustness": {},
    "units": {"cell": "elude-42"},
    "steering": {"cell": "elude-42"},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("figures")
    app_store.make_images(folder / "pictures")
    path = app_store.make_store(folder / "results.duckdb").path
    record_steering(
        open_store(path, read_only=False),
        SteeringRecord(
            cell_id="elude-42",
            steering="s",
            kind="captions",
            settings={"amplify": ["dog"], "suppress": [], "alpha": 5.0, "gamma": 0.0, "nu": None},
            result={"units": [], "captions": [{"image": "a.png", "setting": "baseline", "caption": "A dog."}]},
            steered_at=datetime(2026, 1, 2, tzinfo=UTC),
        ),
    )
    record_robust_scores(open_store(path, read_only=False), "elude-42")
    return open_store(path)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_the_same_store_gives_the_same_bytes_without_a_date(store: Store, name: str, form: str) -> None:
    options = dict(DRAWN[name])
    if name == "units":
        options["images"] = store.path.parent / "pictures"
    first, second = (figure(store, name, form, **options) for _ in range(2))
    assert first == second and first.caption
    assert first.content.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[form])
    for trace in (b"CreationDate", b"dc:date", b"Matplotlib", b"matplotlib.org"):
        assert trace not in first.content
    if form == "pdf":
        assert b"FontFile2" in first.content, "fonts are embedded as TrueType"


def test_the_user_s_settings_of_matplotlib_change_nothing_and_stay(store: Store) -> None:
    plain = figure(store, "front").content
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30, "axes.facecolor": "black"}):
        assert figure(store, "front").content == plain
        assert matplotlib.rcParams["text.usetex"] and matplotlib.rcParams["font.size"] == 30


def test_the_size_of_a_png_follows_its_resolution(store: Store) -> None:
    sizes = [Image.open(io.BytesIO(figure(store, "front", dpi=dpi).content)).size for dpi in (72, 144)]
    assert sizes[1] == pytest.approx([2 * side for side in sizes[0]], abs=2)
    with Image.open(io.BytesIO(figure(store, "front").content)) as opened:
        assert opened.size[0] == pytest.approx(sizes[0][0] * 200 / 72, abs=2)
        assert opened.text["Description"].startswith("A ViT at blocks.9.mlp.fc2") and "Software" not in opened.text


@pytest.mark.parametrize(
    ("name", "form", "options", "sentence"),
    [
        (
            "unit",
            "png",
            {},
            "There is no figure 'unit'. Did you mean units? Available: front, frontier, robustness, steering, units.",
        ),
        ("front", "jpg", {}, "Unknown format 'jpg' of a figure; use one of png, svg, pdf."),
        ("front", "svg", {"dpi": 300}, "dpi is the resolution of a PNG file; a figure as SVG has none."),
        ("front", "png", {"dpi": 5}, "dpi 5 is not allowed; use a number from 50 to 600."),
        ("front", "png", {"k": 3, "heat": True}, "k, heat: no option of the figure 'front', whose options are x, y,"),
        ("units", "png", {"cell": "elude-42", "x": "r2"}, "x: no option of the figure 'units'"),
    ],
)
def test_wrong_requests_are_refused(store: Store, name: str, form: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StoreError) as caught:
        figure(store, name, form, **options)
    assert sentence in str(caught.value)


def test_the_suffix_names_the_format() -> None:
    assert [figure_form(Path(name)) for name in ("a.png", "b.SVG", "c.d.pdf")] == ["png", "svg", "pdf"]
    for name in ("a.jpg", "png", "a."):
        with pytest.raises(StoreError, match=r"use the suffix .png, .svg or .pdf"):
            figure_form(Path(name))


def test_each_figure_is_a_file_of_its_name_with_options_that_have_defaults() -> None:
    for name, module in FIGURES.items():
        assert module == f"results.export.figures.{name}"
        assert sys.modules[module].Options() == sys.modules[module].Options()
        assert "caption" in options_of(name)


def test_neither_matplotlib_nor_torch_is_imported_before_a_figure_is_drawn() -> None:
    begin = "import sys; from results.export.figures import options_of, page; "
    heavy = "print([name for name in {names} if name in sys.modules])"
    for work, names in (
        ("options_of('units'); options_of('front'); ", ["matplotlib", "torch", "streamlit", "altair"]),
        ("page.new_figure(9, 9); ", ["torch", "matplotlib.pyplot"]),
    ):
        code = begin + work + heavy.format(names=names)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("number", range(6))
def test_texts_of_a_store_are_texts(tmp_path: Path, number: int) -> None:
    texts = hostile_texts(180, seed=number)[number::6]
    label, *names = [text for text in texts if text.strip()]
    store = make_store(tmp_path / "s.duckdb", n_images=20, names=names[:20])
    parts = [Unit(unit, range(unit, unit + 4), parent=0) for unit in range(3)]
    record(store, "split-1", parts, label=label, backbone_title=names[0], site=names[1], backbone=names[2])
    concepts = [
        ExplanationRecord(
            cell_id="split-1", unit=unit, judge="j", prompt_version="1", images=4, concept=names[3 + unit]
        )
        for unit in range(3)
    ]
    record_explanations(store, "split-1", ["j"], "1", 4, concepts, [], replaces=[])
    for form in ("svg", "pdf"):
        drawn = figure(store, "units", form, cell="split-1")
        if form == "svg":
            assert ET.fromstring(drawn.content).tag.endswith("svg")
            assert b"<script" not in drawn.content and b"foreignObject" not in drawn.content
            assert all(character.isprintable() for text in svg_texts(drawn.content) for character in text.strip("\n"))
    frame, boxes = drawn_boxes(units, store, cell="split-1")
    assert not outside(frame, boxes) and not list(overlaps(boxes))


def test_a_dollar_sign_is_no_mathematics(tmp_path: Path) -> None:
    # As mathematics, an unknown command would raise, and a known one would be narrower than its letters.
    texts = [r"$\nocommand$", r"$\mathrm{iii}$ \input{a}"]
    store = make_store(tmp_path / "s.duckdb", names=texts[:1] * 100)
    record(store, "cell-1", [Unit(0, [1], parent=0)], label=texts[1], backbone_title=texts[0], site=texts[0])
    drawn = figure(store, "units", "svg", cell="cell-1")
    joined = " ".join(svg_texts(drawn.content))
    assert all(text in joined for text in texts) and drawn.missing == (texts[0],)
    _, boxes = drawn_boxes(units, store, cell="cell-1")
    (width,) = [box.width for text, box in boxes if text == texts[0]][:1]
    assert width == pytest.approx(page.text_width(texts[0], 4.5), rel=0.15)


# The catalogue of hostile stores is that of the site; all values are tried with --slow.
_SAMPLE = ("every column of type DOUBLE: 1.7e308", "every column of type FLOAT[]: [NULL]", "equal units")


def check_hostile(store: Store, folder: Path, mutation: Any) -> None:
    path = hostile_store(store.path, folder / "hostile.duckdb", mutation)
    pictures = store.path.parent / "pictures"
    requests = [
        ("units", {"cell": "elude-42", "heat": True, "images": pictures}),
        ("units", {"cell": "topk_sae-42", "images": pictures}),
        ("front", {}),
        ("frontier", {"x": "expansion_factor"}),
    ]
    for name, options in requests:
        try:
            content = figure(open_store(path), name, "svg", **options).content
        except StoreError as error:
            assert len(str(error)) < 2000
            continue
        ET.fromstring(content)
        assert SECRET.encode() not in content


@pytest.mark.parametrize(
    "mutation", [m for m in combined() if m.name in _SAMPLE or "VARCHAR" in m.name], ids=lambda mutation: mutation.name
)
def test_hostile_stores_are_drawn_or_refused(store: Store, tmp_path: Path, mutation: Any) -> None:
    check_hostile(store, tmp_path, mutation)


@pytest.mark.slow
@pytest.mark.parametrize("mutation", list(combined()), ids=lambda mutation: mutation.name)
def test_every_hostile_value_is_drawn_or_refused(store: Store, tmp_path: Path, mutation: Any) -> None:
    check_hostile(store, tmp_path, mutation)


def test_lines_are_as_wide_as_they_may_be_and_lose_no_word() -> None:
    text = "the quick brown fox jumps over the lazy dog and the end " * 4
    lines = page.wrapped(text, 7, 120)
    assert " ".join(lines) == " ".join(text.split()) and all(page.text_width(line, 7) <= 120 for line in lines)
    for line, following in itertools.pairwise(lines):
        assert page.text_width(f"{line} {following.split()[0]}", 7) > 120, "a line that has room for another word"
    assert page.wrapped("", 7, 120) == [] and page.wrapped(text, 7, 120, most=2)[1].endswith("…")
    for width in (10.0, 50.0, 90.0):
        cut = page.shortened(text, 7, width)
        assert page.text_width(cut, 7) <= width and cut.endswith("…")
        longer = text[: len(cut)].rstrip() + "…"
        assert page.text_width(longer, 7) > width or longer == cut
    assert page.shortened("short", 7, 90) == "short"


def test_no_text_of_the_examples_is_cut_off_or_overlaps(store: Store) -> None:
    for module, options in ((front, {}), (units, DRAWN["units"]), (units, {"cell": "topk_sae-42", "k": 11})):
        frame, boxes = drawn_boxes(module, store, **options)
        assert len(boxes) > 10 and not outside(frame, boxes) and not list(overlaps(boxes))


def test_without_a_caption_the_figure_is_smaller_and_the_same_above(store: Store) -> None:
    for name, options in DRAWN.items():
        whole, part = (pixels(figure(store, name, caption=caption, **options).content) for caption in (True, False))
        assert part.shape[0] < whole.shape[0] and part.shape[1] == whole.shape[1]
        assert figure(store, name, caption=False, **options).caption == figure(store, name, **options).caption
