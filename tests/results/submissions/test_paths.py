"""Names of a store as names of folders: safe everywhere, and different for different names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.submissions.paths import MAX_SLUG, cell_folder, slug


@pytest.mark.parametrize("name", ["vit_base", "blocks.9.mlp.fc2", "v1-2", "A"])
def test_plain_names_stay(name: str) -> None:
    assert slug(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "",
        "/etc/passwd",
        "../../x",
        "a/b",
        "a\\b",
        "timm:vit",
        "x" * 500,
        "con",
        "NUL.txt",
        ".git",
        "_images",
    ],
)
def test_others_are_plain_words_with_a_hash(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*-[0-9a-f]{8}", slug(name))
    assert not re.match(r"(?i)(con|nul)(\.|$)", slug(name))


def test_a_name_that_looks_like_a_slug_is_none_of_another_name() -> None:
    assert slug("timm:vit") != slug("timm-vit") == "timm-vit"


@given(st.text(max_size=200))
def test_any_text_is_one_safe_folder(name: str) -> None:
    folder = slug(name)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", folder) and len(folder) <= MAX_SLUG
    assert not folder.endswith(".") and folder not in (".", "..")
    assert len(cell_folder(name, name, name).parts) == 3


@given(st.lists(st.text(max_size=20), min_size=2, max_size=2, unique=True))
def test_different_names_have_different_folders(names: list[str]) -> None:
    assert slug(names[0]) != slug(names[1])
