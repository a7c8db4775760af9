"""The page Units: the gallery with its search, filters and favourites, and one unit with everything around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit")

import app_pages
from app_pages import opened, require_sound, show, store_in
from streamlit.testing.v1 import AppTest

from results import Store, open_store

pytestmark = pytest.mark.run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_in(tmp_path_factory.mktemp("app"))


@pytest.fixture
def here(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    return show(store, monkeypatch)


def altered(store: Store, folder: Path, patch: pytest.MonkeyPatch, *statements: str) -> Store:
    """Let the app show a copy of the store that SQL has changed."""
    path = folder / "results.duckdb"
    path.write_bytes(store.path.read_bytes())
    with open_store(path, read_only=False).writing() as connection:
        for statement in statements:
            connection.execute(statement)
    return show(open_store(path), patch)


def texts(test: AppTest) -> str:
    """Everything that is written on a page, without the escapes of Markdown."""
    return app_pages.texts(test).replace("\\", "")


def alts(test: AppTest) -> list[str]:
    """Descriptions of all pictures of a page."""
    return [image.alt for element in test.get("image") for image in element.proto.imgs]


def pictures(test: AppTest) -> dict[str, str]:
    """Description -> address of all pictures of a page."""
    return {image.alt: image.url for element in test.get("image") for image in element.proto.imgs}


def stars(test: AppTest) -> dict[str, Any]:
    """Unit -> its star."""
    return {button.key.split()[-1]: button for button in test.button if str(button.key).startswith("star ")}


def test_the_gallery_has_a_tile_per_unit_with_its_label_score_and_pictures(here: Store) -> None:
    test = opened("units", cell="elude-42")
    require_sound(test)
    written = texts(test)
    assert "11 of 12 units" in written
    assert "MS: how alike" in written and "Chance: the same for random images" in written
    assert len(stars(test)) == 11
    assert "of 9 images)**" in written and "MS 0" in written
    # Even units have maps: their tile has a histogram, whose description has the finding.
    described = "\n".join(alts(test))
    assert (
        "Histogram of the images by the maximum activation of unit 4. Above 50 % of its maximum on 3 of 20 images"
        in described
    )
    assert "Histogram of the images by the maximum activation of unit 5" not in described
    assert "Heat maps show where the unit is active" in written and "where no map is stored" in written


def test_a_search_finds_classes_file_names_and_numbers(here: Store) -> None:
    for search in ("dog", "DOG"):
        test = opened("units", cell="elude-42", find=search)
        require_sound(test)
        assert "most matching images first" in texts(test) and "found in" in texts(test)
    assert set(stars(opened("units", cell="elude-42", find="5.png"))) <= {str(unit) for unit in range(12)}
    by_number = opened("units", cell="elude-42", find="11")
    assert "11" in stars(by_number)
    nothing = opened("units", cell="elude-42", find="zebra <b>")
    require_sound(nothing)
    assert "No unit in this list has “zebra <b>”" in texts(nothing)


def test_chips_filter_and_are_kept_in_the_address(here: Store) -> None:
    test = opened("units", cell="elude-42")
    test.get("button_group")[0].set_value([]).run()
    require_sound(test)
    assert test.query_params["show"] == "all"
    assert len(stars(test)) == 12
    test.get("button_group")[0].set_value(["with heat map"]).run()
    assert test.query_params["show"] == "with heat map"
    assert set(stars(test)) == {"0", "2", "4", "6", "8"}
    # Names that are no filters are ignored.
    assert len(stars(opened("units", cell="elude-42", show="nonsense,alive"))) == 11
    assert "No unit of this cell is of this kind" in texts(opened("units", cell="elude-42", show="CLS units"))


def test_units_at_cls_are_marked_and_their_maps_not_drawn(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered(
        store,
        tmp_path,
        monkeypatch,
        "UPDATE units SET prefix_share = 1, top_position = list_transform(top_position, lambda x: -1) "
        "WHERE cell_id = 'elude-42' AND unit = 4",
    )
    test = opened("units", cell="elude-42", show="CLS units")
    require_sound(test)
    assert set(stars(test)) == {"4"} and ":violet-badge[CLS unit]" in texts(test)
    assert "no heat map is drawn" in texts(test) and "Heat maps show" not in texts(test)
    single = opened("units", cell="elude-42", unit="4")
    require_sound(single)
    assert "12 of 12 maxima are at the CLS token or a register" in texts(single)
    # There is no place in the image to speak of.
    assert "Where in the image?" not in texts(single)
    assert "4" not in stars(opened("units", cell="elude-42", show="patch units"))


def test_a_star_keeps_a_unit_in_the_session_and_in_the_address(here: Store) -> None:
    test = opened("units", cell="elude-42")
    stars(test)["3"].click().run()
    stars(test)["7"].click().run()
    require_sound(test)
    assert test.query_params["stars"] == "3,7"
    assert "Starred" in stars(test)["3"].label and "Starred" not in stars(test)["4"].label
    # Another cell has no favourites yet, whatever the address had.
    test.query_params["cell"] = "topk_sae-42"
    test.run()
    require_sound(test)
    assert "stars" not in test.query_params
    test.query_params["cell"] = "elude-42"
    test.run()
    assert test.query_params["stars"] == "3,7"
    test.get("button_group")[0].set_value(["favourites"]).run()
    assert set(stars(test)) == {"3", "7"}
    stars(test)["3"].click().run()
    assert set(stars(test)) == {"7"} and test.query_params["stars"] == "7"
    shared = opened("units", cell="elude-42", stars="5,x,99999999999,2", show="favourites")
    require_sound(shared)
    assert set(stars(shared)) == {"2", "5"}


def test_a_unit_stands_beside_its_parent_with_its_siblings_and_neighbours(here: Store) -> None:
    test = opened("units", cell="elude-42", unit="4")
    require_sound(test)
    written = texts(test)
    assert test.title[0].value.startswith("Unit 4 ·")
    assert "Parent: original unit 2" in written and "Its 2 sub-units" in written
    assert "1 of 12 maxima are at CLS" in written
    assert "Above 50 % of its maximum on 3 of 20 images." in written
    assert "Most active at the" in written
    assert "Nearest units" in written and "of 12 images shared" in written
    assert len([alt for alt in alts(test) if "strongest image of unit 4" in alt]) == 9
    without_maps = texts(opened("units", cell="elude-42", unit="5"))
    assert "Not stored for this unit" in without_maps and "The magenta frame marks" in without_maps


def test_missing_units_have_their_sentence(here: Store) -> None:
    assert "no unit 99" in texts(opened("units", cell="elude-42", unit="99"))
    for unit in ("x", "-1", "9" * 40, "<b>"):
        test = opened("units", cell="elude-42", unit=unit)
        require_sound(test)
        assert f"no unit {unit}" in texts(test)


def test_the_steps_follow_the_order_of_the_list(here: Store) -> None:
    test = opened("units", cell="elude-42", unit="4", sort="number")
    assert "5 of 11 by number" in texts(test)
    buttons = {button.key: button for button in test.button}
    buttons["unit Next"].click().run()
    require_sound(test)
    assert test.query_params["unit"] == "5"
    assert {button.key: button.disabled for button in opened("units", cell="elude-42", unit="0", sort="number").button}[
        "unit Previous"
    ]
    # A dead unit is not in the list of alive ones: the steps go by number.
    assert "12 units by number" in texts(opened("units", cell="elude-42", unit="10"))


def test_a_second_step_starts_from_the_first_one_although_the_buttons_are_of_the_unit_before(here: Store) -> None:
    test = opened("units", cell="elude-42", unit="4", sort="number")
    stale = {button.key: button for button in test.button}
    # As if a key was pressed again before the page of unit 5 was complete.
    test.session_state["unit on the page"] = 5
    stale["unit Next"].click().run()
    assert test.query_params["unit"] == "6"
    test.session_state["unit on the page"] = 9
    {button.key: button for button in test.button}["unit Next"].click().run()
    require_sound(test)
    # Unit 10 is dead, so it is not in the list.
    assert test.query_params["unit"] == "11"


def test_a_dead_unit_has_no_pictures_and_says_so(here: Store) -> None:
    test = opened("units", cell="elude-42", unit="10")
    require_sound(test)
    written = texts(test)
    assert "Dead unit: it is active on no evaluation image" in written
    assert not [alt for alt in alts(test) if "strongest image of unit 10" in alt]
    assert "Parent and siblings" in written and "Nearest units" not in written


def test_an_image_is_enlarged_by_its_button(here: Store) -> None:
    test = opened("units", cell="elude-42", unit="4")
    {button.key: button for button in test.button}["enlarge 2"].click().run()
    require_sound(test)
    assert (
        len([alt for alt in alts(test) if alt.startswith("2nd strongest image of unit 4") and "enlarged" in alt]) == 1
    )
    # A step closes it.
    {button.key: button for button in test.button}["unit Next"].click().run()
    assert not [alt for alt in alts(test) if "enlarged" in alt]


def test_a_unit_has_no_choice_of_the_cell_unless_its_address_lacks_one(here: Store) -> None:
    test = opened("units", cell="elude-123", unit="4")
    assert not test.selectbox and "ELUDe · A ViT · blocks.9.mlp.fc2 · token 123, init 42" in texts(test)
    # The list of the same cell is the next page.
    test.query_params.pop("unit")
    test.run()
    assert {box.label: box.value for box in test.selectbox}["Seeds"] == "elude-123"
    lost = opened("units", cell="nowhere", unit="4")
    require_sound(lost)
    assert "does not have the cell" in texts(lost) and lost.selectbox


def test_the_judged_comparisons_of_a_unit_are_listed(here: Store) -> None:
    written = texts(opened("units", cell="elude-42", unit="0"))
    assert "Judged comparisons" in written and "2 presentations to the judges: won 2" in written
    lost = texts(opened("units", cell="topk_sae-42", unit="3"))
    assert "2 presentations to the judges: lost 2" in lost
    assert "Judged comparisons" not in texts(opened("units", cell="elude-42", unit="9"))


def test_pictures_can_be_plain(here: Store) -> None:
    test = opened("units", cell="elude-42", unit="4")
    before = pictures(test)
    overlay = test.get("button_group")[0]
    overlay.set_value("Plain").run()
    require_sound(test)
    changed = [before[alt] != picture for alt, picture in pictures(test).items() if "strongest image of unit 4" in alt]
    # The first image is at CLS, and the last of the nine is not: neither its tag nor its heat map is left.
    assert changed == [True] * 9


def test_missing_image_files_are_said_to_be(here: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_IMAGES", str(tmp_path))
    for parameters in ({}, {"unit": "5"}):
        test = opened("units", cell="elude-42", **parameters)
        require_sound(test)
        assert "image files are missing" in texts(test) and "--images" in texts(test)


def test_pages_beyond_the_end_show_the_first_one(here: Store) -> None:
    test = opened("units", cell="topk_sae-42")
    for page, count in (("2", 11), ("99", 12), ("x", 12), ("-1", 12), ("0", 12)):
        test.query_params["page"] = page
        test.run()
        require_sound(test)
        assert len(stars(test)) == count


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM unit_maps",
        "UPDATE unit_maps SET maps = 'x'::BLOB",
        "UPDATE unit_maps SET side = 3000",
        "UPDATE unit_maps SET peaks = NULL",
        "UPDATE unit_maps SET peaks = [-5, NULL, 2147483647]",
        "UPDATE units SET max_activation = 'nan'",
        "UPDATE units SET max_activation = 1e-300",
        "UPDATE units SET max_activation = NULL, prefix_share = 'nan', ms_score = 'inf'",
        "UPDATE units SET top_image = NULL, top_position = NULL, top_value = NULL",
        "UPDATE units SET top_position = NULL",
        "UPDATE units SET top_value = []",
        "UPDATE units SET top_image = [NULL, 2000000000, -3]",
        "UPDATE images SET class_name = NULL",
        "UPDATE images SET class_name = '](http://example.org) <script>' || repeat('x', 5000)",
        "DELETE FROM images",
        "INSERT INTO units SELECT u.* FROM units u, range(30)",
    ],
)
def test_odd_contents_are_shown_without_an_error(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    altered(store, tmp_path, monkeypatch, statement)
    for parameters in ({}, {"unit": "4"}):
        require_sound(opened("units", cell="elude-42", **parameters))
