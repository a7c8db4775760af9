"""Similarity of texts by their embeddings, on a tiny model with random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_texts import hostile_texts
from tiny_sentences import WORDS, sentence_folder, write_json

from harness.steering import sentences
from harness.steering.matchers import matcher_of
from harness.steering.sentence_models import load
from harness.steering.sentences import SentenceMatcher, plain

transformers = pytest.importorskip(
    "transformers", reason="needs the extra: pip install 'disentanglement-harness[text]'"
)

TEXTS = ["dog", "golden retriever", "tea cup", "red striped dog", "cats", "the black and white house of the cat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sentence_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def matcher(folder: Path) -> SentenceMatcher:
    return SentenceMatcher("tiny", load(folder, "tiny"))


def test_embeddings_are_the_mean_over_tokens_of_unit_length(folder: Path, matcher: SentenceMatcher) -> None:
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    embeddings = matcher.embeddings(TEXTS)
    assert embeddings.shape == (len(TEXTS), 16)
    for text, embedding in zip(TEXTS, embeddings, strict=True):
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
        mean = hidden.mean(axis=0)
        np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), atol=1e-6)


def test_cls_pooling_takes_the_first_token(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "tiny", pooling="cls")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    embeddings = SentenceMatcher("tiny", load(folder, "tiny")).embeddings(TEXTS)
    with torch.inference_mode():
        first = model(**tokenizer(TEXTS[3], return_tensors="pt")).last_hidden_state[0, 0].numpy()
    np.testing.assert_allclose(embeddings[3], first / np.linalg.norm(first), atol=1e-6)


@pytest.mark.parametrize(("pooling", "modules"), [("mean", 3), ("cls", 3), ("mean", 2), ("mean", 0)])
def test_the_same_embeddings_as_sentence_transformers(tmp_path: Path, pooling: str, modules: int) -> None:
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is the reference")
    folder = sentence_folder(tmp_path / "tiny", pooling=pooling, modules=modules)
    texts = [*TEXTS, " ".join(WORDS * 3), "dog dog dog " * 2]
    reference = library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    expected = reference.encode(texts, normalize_embeddings=True)
    ours = SentenceMatcher("tiny", load(folder, "tiny"))
    np.testing.assert_allclose(ours.embeddings(texts), expected, atol=1e-5)
    reference.save_pretrained(str(tmp_path / "saved"))
    saved = SentenceMatcher("tiny", load(tmp_path / "saved", "saved"))
    np.testing.assert_allclose(saved.embeddings(texts), expected, atol=1e-5)


def test_similarity_is_the_cosine(matcher: SentenceMatcher) -> None:
    embeddings = matcher.embeddings(TEXTS)
    result = matcher.similarity(TEXTS, TEXTS)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, embeddings @ embeddings.T, atol=1e-6)
    np.testing.assert_allclose(result, result.T, atol=1e-6)
    assert (np.diag(result) == 1).all() and np.abs(result).max() <= 1
    assert result[~np.eye(len(TEXTS), dtype=bool)].max() < 0.999


def test_order_repetition_and_batches_do_not_matter(matcher: SentenceMatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    result = matcher.similarity(TEXTS[:2], TEXTS)
    order = [5, 0, 0, 3, 2, 1, 4, 3, 3]
    repeated = matcher.similarity(TEXTS[:2], [TEXTS[index] for index in order])
    np.testing.assert_array_equal(repeated, result[:, order])
    np.testing.assert_array_equal(matcher.similarity(TEXTS[:2], TEXTS), result)
    np.testing.assert_array_equal(matcher.similarity(TEXTS[1::-1], TEXTS), result[::-1])
    monkeypatch.setattr(sentences, "BATCH", 2)
    monkeypatch.setattr(sentences, "_BLOCK", 2)
    np.testing.assert_allclose(matcher.similarity(TEXTS[:2], TEXTS), result, atol=1e-6)


def test_each_text_is_embedded_once_and_in_batches(matcher: SentenceMatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    forward = matcher.model.model.forward

    def counted(**tokens):
        sizes.append(len(tokens["input_ids"]))
        return forward(**tokens)

    monkeypatch.setattr(matcher.model.model, "forward", counted)
    labels = [f"{first} {second}" for first in WORDS[:10] for second in WORDS[:10]] * 50
    assert matcher.similarity(["dog"], labels).shape == (1, 5000)
    assert sum(sizes) == 101 and max(sizes) == sentences.BATCH


def test_texts_without_a_read_word_resemble_only_themselves(matcher: SentenceMatcher) -> None:
    texts = ["", " \t\x00", "🐶", "🐱", "dog"]
    result = matcher.similarity(texts, texts)
    expected = np.diag([0, 0, 1, 1, 1])
    np.testing.assert_array_equal(result, expected)


def test_hostile_texts(matcher: SentenceMatcher) -> None:
    labels = [*hostile_texts(200), "a" * 10_000, "dog " * 10_000, "\ud800dog", "x" * 10_000_000, "dog\x00\x1b", "_dog_"]
    result = matcher.similarity(["dog"], labels)
    assert np.isfinite(result).all() and np.abs(result).max() <= 1
    assert (result[0, [202, 204, 205]] == 1).all(), "surrogates, control characters and underscores are spaces"


def test_plain_texts() -> None:
    assert plain("golden_retriever\x1b\u2028 \t dog\ud800") == "golden retriever dog"
    assert plain("Éclair 🐶, 猫") == "Éclair 🐶, 猫"
    assert len(plain("x" * 20_000)) == 10_000


def test_long_texts_are_cut_at_the_stated_length(folder: Path, matcher: SentenceMatcher) -> None:
    long = "dog cat " * 30
    # 16 tokens, of which [CLS] and [SEP] are two.
    np.testing.assert_allclose(matcher.embeddings([long]), matcher.embeddings(["dog cat " * 7]), atol=1e-6)


def test_nothing_to_compare(matcher: SentenceMatcher) -> None:
    assert matcher.similarity([], ["dog"]).shape == (0, 1)
    assert matcher.similarity(["dog"], []).shape == (1, 0)
    assert matcher.similarity([], []).shape == (0, 0)


def test_a_prompt_is_put_before_each_text(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "tiny")
    before = SentenceMatcher("tiny", load(folder, "tiny"))
    settings = {"prompts": {"query": "red ", "document": ""}, "default_prompt_name": "query"}
    write_json(folder / "config_sentence_transformers.json", settings)
    prompted = SentenceMatcher("tiny", load(folder, "tiny"))
    np.testing.assert_allclose(prompted.embeddings(["dog"]), before.embeddings(["red dog"]), atol=1e-6)
    assert prompted.id != before.id


def test_lower_case_is_applied_before_the_tokenizer(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "tiny")
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 16, "do_lower_case": True})
    model = load(folder, "tiny")
    read = []

    def tokenizer(texts, **options):
        read.extend(texts)
        return model.tokenizer(texts, **options)

    SentenceMatcher("tiny", replace(model, tokenizer=tokenizer))._tokens(["Dog", "CAT"])
    assert read == ["dog", "cat"]


def test_the_name_and_the_content_are_in_the_identity(folder: Path, tmp_path: Path) -> None:
    assert matcher_of(f"sentences:{folder}").id == matcher_of(f"hf:{folder}").id
    name, _, fingerprint = matcher_of(f"sentences:{folder}").id.partition("@")
    assert name == "sentences/tiny" and len(fingerprint) == 16
    others = {
        "seed": sentence_folder(tmp_path / "seed", seed=1),
        "pooling": sentence_folder(tmp_path / "pooling", pooling="cls"),
        "length": sentence_folder(tmp_path / "length", length=12),
        "copy": sentence_folder(tmp_path / "copy"),
    }
    fingerprints = {key: load(path, key).fingerprint for key, path in others.items()}
    assert fingerprints.pop("copy") == fingerprint
    assert len({fingerprint, *fingerprints.values()}) == 4


def test_a_missing_pooler_is_not_random_in_the_identity(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = sentence_folder(tmp_path / "tiny")
    state = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in state.items() if not name.startswith("pooler")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    first, second = load(folder, "tiny"), load(folder, "tiny")
    assert first.fingerprint == second.fingerprint
    assert SentenceMatcher("tiny", first).embeddings(["dog"]).shape == (1, 16)
