"""``harness export --figure``: files by their suffix, options that belong to a figure, and what is printed."""

from __future__ import annotations

from pathlib import Path

import app_store
import pytest
from command_line import harness
from figure_texts import svg_texts
from PIL import Image

from results import open_store
from results.export import figure


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("command")
    app_store.make_store(folder / "results.duckdb")
    app_store.make_images(folder / "pictures")
    return folder


def run(folder: Path, *arguments: str, code: int = 0, **environment: str) -> str:
    done = harness("export", *arguments, "--store", "results.duckdb", cwd=folder, code=code, **environment)
    return done.stdout + done.stderr


def test_the_command_writes_what_the_function_returns(folder: Path) -> None:
    store = open_store(folder / "results.duckdb")
    options = ["--figure", "units", "--cell", "elude-42", "--parent", "1", "--heat", "--images", "pictures"]
    text = run(folder, "new/units.png", *options, "--dpi", "100")
    assert text == "Written: new/units.png\n"
    images = folder / "pictures"
    drawn = figure(store, "units", dpi=100, cell="elude-42", parent=1, heat=True, images=images)
    assert (folder / "new" / "units.png").read_bytes() == drawn.content
    run(folder, "front.SVG", "--figure", "front", "--x", "accuracy", "--backbone", "vit")
    assert (folder / "front.SVG").read_bytes() == figure(store, "front", "svg", x="accuracy", backbone="vit").content
    run(folder, "front.pdf", "--figure", "front")
    assert (folder / "front.pdf").read_bytes() == figure(store, "front", "pdf").content


def test_images_are_looked_for_in_the_folder_of_the_environment(folder: Path) -> None:
    options = ["units.svg", "--figure", "units", "--cell", "elude-42"]
    text = run(folder, *options)
    assert "image files are missing, for example 00.png. Give the folder" in text and "--images FOLDER" in text
    assert "02.png" in svg_texts((folder / "units.svg").read_bytes())
    assert run(folder, *options, HARNESS_IMAGES=str(folder / "pictures")) == "Written: units.svg\n"
    assert "02.png" not in svg_texts((folder / "units.svg").read_bytes())
    # It is no option, so it does not disturb what has no images.
    assert run(folder, "front.svg", "--figure", "front", HARNESS_IMAGES="pictures") == "Written: front.svg\n"
    assert run(folder, "board.csv", HARNESS_IMAGES="pictures") == "Written: board.csv\n"


def test_a_caption_that_is_not_drawn_is_printed(folder: Path) -> None:
    whole, part = "whole.png", "part.png"
    assert run(folder, whole, "--figure", "front") == f"Written: {whole}\n"
    text = run(folder, part, "--figure", "front", "--no-caption")
    assert "A ViT at blocks.9.mlp.fc2 on folder:pictures. Bold names: on the Pareto front." in " ".join(text.split())
    with Image.open(folder / whole) as one, Image.open(folder / part) as other:
        assert one.width == other.width and one.height > other.height


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["u.png", "--figure", "unit"], "There is no figure 'unit'. Did you mean units? Available: front, frontier,"),
        (["u.jpg", "--figure", "front"], "A figure cannot be written to 'u.jpg': use the suffix .png, .svg or .pdf."),
        (["-", "--figure", "front"], "A figure cannot be printed: name a file (.png, .svg or .pdf) instead of `-`."),
        (["u.png", "--figure", "front", "--k", "3", "--heat"], "--k, --heat: no option of --figure front, which has"),
        (["u.png", "--figure", "front", "--what", "boards"], "--what: no option of --figure front"),
        (["u.png", "--figure", "front", "--metric", "r2", "--format", "html"], "--format, --metric: no option of"),
        (["u.png", "--figure", "units", "--cell", "elude-42", "--x", "r2"], "--x: no option of --figure units"),
        (["u.svg", "--figure", "front", "--dpi", "300"], "dpi is the resolution of a PNG file"),
        (["u.csv", "--cell", "elude-42"], "--cell: only for figures; add --figure front, frontier, robustness,"),
        (["u.html", "--dpi", "100", "--no-caption"], "--dpi, --caption: only for figures"),
        (["u.png", "--figure", "units"], "The figure of units needs a cell"),
        (["u.png", "--figure", "units", "--cell", "elude"], "'elude' matches 2 cells: give the id of one of them."),
        (["u.png", "--figure", "units", "--cell", "elude-42", "--k", "4"], "numbers of sub-units are 2 (6 neurons)."),
        (["u.png", "--figure", "units", "--cell", "elude-42", "--images", "no"], "There is no folder 'no' of images"),
        (["u.png", "--figure", "front", "--site", "conv"], "--site conv: no cell in this store has it."),
        (["results.duckdb/u.png", "--figure", "front"], "cannot be written"),
    ],
)  # fmt: skip
def test_wrong_requests_are_one_sentence(folder: Path, arguments: list[str], sentence: str) -> None:
    text = " ".join(run(folder, *arguments, code=2).split())
    assert sentence in text and "Traceback" not in text
    assert not (folder / arguments[0]).exists() or arguments[0] == "-"


def test_axes_without_a_figure_are_those_of_the_page(folder: Path) -> None:
    text = run(folder, "board.csv", "--x", "r2", code=2)
    assert "--x and --y choose the axes of the front, which only an HTML page of boards and --figure front" in text
