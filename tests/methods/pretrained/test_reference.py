"""References to weights: files, and files of the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest

import methods
from methods.file_settings import content_of, files_of, plain_config
from methods.pretrained.pretrained_sae import PretrainedConfig
from methods.pretrained.reference import HubFile, is_file_name


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf:me/sae", ("me/sae", None, None)),
        ("hf:me/sae@main", ("me/sae", "main", None)),
        ("hf:me/sae@v1.0/a/b.safetensors", ("me/sae", "v1.0", "a/b.safetensors")),
        ("hf:me/sae@refs/pr/3/b.safetensors", ("me/sae", "refs/pr/3", "b.safetensors")),
        ("hf:me/sae/b.safetensors", ("me/sae", None, "b.safetensors")),
        ("hf:me/sae/layer_9/topk", ("me/sae", None, "layer_9/topk")),
        ("hf:me/sae@v1.0/layer_9", ("me/sae", "v1.0", "layer_9")),
        ("hf:A_b.c-d/E.f_g/x y.safetensors", ("A_b.c-d/E.f_g", None, "x y.safetensors")),
    ],
)
def test_references_have_parts(text: str, parts: tuple[str, str | None, str | None]) -> None:
    assert HubFile.of(text) == parts and str(HubFile.of(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "hf:sae", "hf:", "hf:/sae", "hf:me/", "hf:../sae", "hf:me/..", "hf:me/sae@", "hf:me/sae@-x", "hf:me/sae@a..b",
        "hf:me/sae/", "hf:me/sae/../x.safetensors", "hf:me/sae//x.safetensors", "hf:me/sae/.",
        "hf:me/sae/./x.safetensors", "hf:me/sae/a\\b.safetensors", "hf:me/sae/C:x.safetensors", "hf:me/s ae",
        "hf:me/sae@ma in", "hf:me/sae\n", "hf:me/sae@main\n", "hf:me--x/sae", "hf:me/sae/\u202ex.safetensors",
        f"hf:me/{'x' * 200}", "me/sae", "https://huggingface.co/me/sae",
    ],
)  # fmt: skip
def test_other_texts_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(methods.UserError) as error:
        methods.create("pretrained_sae", weights=text)
    assert str(error.value).startswith("pretrained_sae.weights") and len(str(error.value)) < 400
    with pytest.raises(ValueError, match=r"must have the form|no revision|the path in it"):
        HubFile.of(text)


@pytest.mark.parametrize("value", [None, 3, "", "a.txt", "sae.h5", "a\0.safetensors", "x" * 2000, ["a.safetensors"]])
def test_other_files_and_values_are_refused(value: object) -> None:
    with pytest.raises(methods.UserError, match=r"pretrained_sae\.weights"):
        methods.create("pretrained_sae", weights=value)
    with pytest.raises(methods.UserError, match="needs the setting 'weights'"):
        methods.create("pretrained_sae")


def test_a_file_counts_by_its_content_and_a_reference_by_its_text(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"1")
    local = PretrainedConfig(weights=file)  # type: ignore[arg-type]
    assert plain_config(local) == {"weights": content_of(file), "format": "auto", "settings": {}} and files_of(
        local
    ) == {"weights": file}
    assert local.model_dump(mode="json") == {"weights": str(file), "format": "auto", "settings": {}}
    remote = PretrainedConfig(weights="hf:me/sae")  # type: ignore[arg-type]
    assert plain_config(remote) == {"weights": "hf:me/sae", "format": "auto", "settings": {}} and files_of(remote) == {}
    assert PretrainedConfig(**remote.model_dump(mode="json")) == remote
    with pytest.raises(methods.UserError, match="cannot be read"):
        plain_config(PretrainedConfig(weights=tmp_path / "absent.safetensors"))  # type: ignore[arg-type]


def test_names_of_files_stay_in_the_repository() -> None:
    assert is_file_name("a/b/model-00001.safetensors")
    for name in ("../a.safetensors", "/a.safetensors", "a/../b.safetensors", "a\n.safetensors", "a.py", "a", 3, None):
        assert not is_file_name(name)
