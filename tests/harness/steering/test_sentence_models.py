"""Folders of SentenceTransformers that cannot be read, or hold what is not supported."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hostile_pickle import Payload
from tiny_sentences import sentence_folder, write_json

from harness.errors import UserError
from harness.steering.sentence_layout import Layout, layout_of
from harness.steering.sentence_models import load

pytest.importorskip("transformers", reason="needs the extra: pip install 'disentanglement-harness[text]'")


def modules(*kinds: str, paths: tuple[Any, ...] = ("", "1_Pooling", "2_Normalize")) -> list[dict[str, Any]]:
    return [
        {"path": path, "type": f"sentence_transformers.models.{kind}"} for kind, path in zip(kinds, paths, strict=False)
    ]


def test_the_layout_of_old_and_new_versions(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "tiny")
    assert layout_of(folder, "tiny") == Layout("", "mean", 16, lower=False, prompt="")
    new = "sentence_transformers.base.modules.transformer.Transformer"
    pooling = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
    write_json(folder / "modules.json", [{"path": "", "type": new}, {"path": "1_Pooling", "type": pooling}])
    write_json(folder / "1_Pooling" / "config.json", {"embedding_dimension": 16, "pooling_mode": "cls"})
    write_json(folder / "sentence_bert_config.json", {"transformer_task": "feature-extraction"})
    layout = layout_of(folder, "tiny")
    assert (layout.pooling, layout.max_length, layout.subfolder) == ("cls", None, "")
    assert load(folder, "tiny").max_length == 32, "positions of the model"


def test_a_transformer_in_a_subfolder(tmp_path: Path) -> None:
    inner = sentence_folder(tmp_path / "model" / "0_Transformer")
    (inner / "1_Pooling").rename(tmp_path / "model" / "1_Pooling")
    rows = modules("Transformer", "Pooling", paths=("0_Transformer", "1_Pooling"))
    write_json(tmp_path / "model" / "modules.json", rows)
    model = load(tmp_path / "model", "model")
    assert model.layout.subfolder == "0_Transformer" and model.max_length == 16


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", modules("Transformer", "Pooling", "Dense"), "are Transformer, Pooling, Dense; supported are"),
        ("modules.json", modules("CLIPModel"), "are CLIPModel; supported are"),
        ("modules.json", [], "are none; supported are"),
        ("modules.json", [1, None], "supported are Transformer"),
        ("modules.json", {}, "must hold a list of JSON"),
        ("modules.json", modules("Transformer", paths=("../../etc",)), "'../../etc', which is no plain name"),
        ("modules.json", modules("Transformer", paths=("/etc",)), "'/etc', which is no plain name"),
        ("modules.json", modules("Transformer", paths=("..",)), "'..', which is no plain name"),
        ("modules.json", modules("Transformer", paths=(3,)), "3, which is no plain name"),
        ("1_Pooling/config.json", {"pooling_mode": "max"}, "pooling of 'tiny' is max; supported are mean and cls"),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "cls"]}, "pooling of 'tiny' is mean and cls; supported"),
        ("1_Pooling/config.json", {"pooling_mode": 3}, "pooling of 'tiny' is 3; supported"),
        ("1_Pooling/config.json", {}, "pooling of 'tiny' is not stated"),
        ("1_Pooling/config.json", {"pooling_mode": "mean", "include_prompt": False}, "leaves a prompt out"),
        ("sentence_bert_config.json", {"max_seq_length": "many"}, "max_seq_length .* is 'many', and must be 3 or more"),
        ("sentence_bert_config.json", {"max_seq_length": 0}, "is 0, and must be 3 or more"),
        ("sentence_bert_config.json", [], "must hold an object of JSON"),
        ("config_sentence_transformers.json", {"default_prompt_name": "q", "prompts": {}}, "has no prompt 'q'"),
        ("config.json", {"model_type": "vit"}, "is a vit model, which reads no texts"),
        ("adapter_config.json", {"base_model_name_or_path": "me/model"}, "holds an adapter of another model"),
        ("config.json", {"model_type": "t5"}, "model with a decoder, which is not supported"),
        ("config.json", {"model_type": "nothing"}, "cannot be read as a transformer with its tokenizer"),
        ("config.json", {"auto_map": {"AutoConfig": "evil.Config"}}, "cannot be read as a transformer"),
    ],
)
def test_unsupported_configurations(file: str, content: Any, message: str, tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "tiny")
    write_json(folder / file, content)
    (folder / "evil.py").write_text("raise SystemExit('code of a repository was run')\n")
    with pytest.raises(UserError, match=message):
        load(folder, "tiny")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"NaN"])
@pytest.mark.parametrize("file", ["modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "config.json"])
def test_broken_configurations(file: str, content: bytes, tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "tiny")
    (folder / file).write_bytes(content)
    with pytest.raises(UserError, match="'tiny'"):
        load(folder, "tiny")


def test_only_safetensors_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sentence_folder(tmp_path / "tiny")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="has no weights: save the model"):
        load(folder, "tiny")
    monkeypatch.chdir(tmp_path)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(UserError, match="has only pickled weights, which are not read"):
        load(folder, "tiny")
    assert not Path("never_created_by_a_checkpoint").exists()


@pytest.mark.parametrize("entry", ["attn_implementation", "_attn_implementation"])
def test_an_attention_that_is_code_of_the_hub_is_not_loaded(entry: str, tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "tiny")
    content = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**content, entry: "sdpa"})
    assert load(folder, "tiny").max_length == 16
    write_json(folder / "config.json", {**content, entry: "nobody/kernel"})
    with pytest.raises(UserError, match=f"names the attention 'nobody/kernel', .* remove the entry {entry}"):
        load(folder, "tiny")


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = sentence_folder(tmp_path / "tiny")
    state = load_file(folder / "model.safetensors")
    state["encoder.layer.0.output.dense.bias"][0] = float("nan")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="weights of 'tiny' give outputs that are not finite"):
        load(folder, "tiny")


def test_a_length_beyond_the_positions_is_cut(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "tiny", length=1000)
    assert load(folder, "tiny").max_length == 32


def test_positions_that_the_weights_do_not_have(tmp_path: Path) -> None:
    """RoBERTa's position numbers start after that of the padding, so fewer tokens fit than its configuration says."""
    import transformers

    folder = sentence_folder(tmp_path / "tiny", length=32)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.RobertaConfig(**size, vocab_size=25, max_position_embeddings=32, pad_token_id=0)
    transformers.RobertaModel(config).save_pretrained(folder)
    with pytest.raises(UserError, match=r"'tiny' cannot read a text of 32 tokens .* correct max_seq_length"):
        load(folder, "tiny")


def test_incomplete_and_broken_weights(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = sentence_folder(tmp_path / "tiny")
    state = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in state.items() if "encoder.layer.1.attention" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="weights of 'tiny' are incomplete: 10 parameters are missing"):
        load(folder, "tiny")
    (folder / "model.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(UserError, match="cannot be read as a transformer"):
        load(folder, "tiny")


def test_a_tokenizer_of_another_model_or_none(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path / "tiny")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] |= {f"word{number}": 25 + number for number in range(9)}
    write_json(folder / "tokenizer.json", content)
    with pytest.raises(UserError, match="has 34 tokens, and the model has embeddings of 25"):
        load(folder, "tiny")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"tokenizer"):
        load(folder, "tiny")


def test_no_folder_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no folder"):
        load(tmp_path / "none", "none")
    with pytest.raises(UserError, match=r"has no modules\.json and no config\.json"):
        load(tmp_path, "empty")
