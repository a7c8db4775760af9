"""Files of saev against the codes and reconstructions that saev itself computed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from original_dictionaries import assert_as_expected, assert_as_the_original, cases, copied, expected

from methods import pretrained
from methods.errors import UserError


@pytest.mark.parametrize("name", cases("saev"))
def test_codes_and_reconstructions_are_those_of_saev(name: str, tmp_path: Path) -> None:
    assert_as_the_original("saev", name, tmp_path)


@pytest.mark.parametrize("name", cases("saev"))
def test_a_file_alone_is_read_as_its_folder(name: str, tmp_path: Path) -> None:
    file = (copied("saev", name, tmp_path) / "sae.pt").rename(tmp_path / "another_name.pt")
    assert_as_expected(pretrained.load(file), expected("saev", name))


def test_values_below_zero_are_kept_by_topk(tmp_path: Path) -> None:
    sae = pretrained.load(copied("saev", "topk_of_most_units", tmp_path))
    assert bool((sae.encode(expected("saev", "topk_of_most_units")["x"]) < 0).any())


def rewritten(folder: Path, header: dict[str, Any] | bytes, drop: str = "", **tensors: torch.Tensor) -> Path:
    """Return the file of a folder with another first line, and other tensors."""
    file = folder / "sae.pt"
    content = file.read_bytes()
    state = torch.load(io.BytesIO(content[content.index(b"\n") + 1 :]), weights_only=True)
    state = {name: value for name, value in {**state, **tensors}.items() if name != drop}
    with file.open("wb") as stream:
        stream.write(header if isinstance(header, bytes) else json.dumps(header).encode() + b"\n")
        torch.save(state, stream)
    return file


def activation(name: str, **params: Any) -> dict[str, Any]:
    return {"activation": {"cls": name, "params": params}}


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("relu", {"schema": 1, "cls": "Relu", "cfg": {"d_vit": 12, "exp_factor": 2}}),
        ("topk", {"schema": 1, "cls": "TopK", "cfg": {"d_vit": 12, "exp_factor": 2, "top_k": 3}}),
        ("relu", {"schema": 1, "cls": "SparseAutoencoderConfig", "cfg": activation("Relu")}),
        ("topk", {"schema": 2, "cfg": activation("TopK", top_k=3)}),
        ("relu", {"schema": 3, "cfg": activation("Relu", sparsity={"coeff": 0.0004})}),
        ("batchtopk", {"schema": 4, "cfg": activation("BatchTopK", top_k=3)}),
    ],
)
def test_older_schemas_are_read(name: str, header: dict[str, Any], tmp_path: Path) -> None:
    file = rewritten(copied("saev", name, tmp_path), header)
    settings = {"subtract_b_dec": False} if header["schema"] < 3 else {}
    assert_as_expected(pretrained.load(file, **settings), expected("saev", name))


@pytest.mark.parametrize(("schema", "is_subtracted"), [(1, True), (2, False)])
def test_a_schema_that_does_not_say_whether_b_dec_is_subtracted_is_noted(
    schema: int, is_subtracted: bool, tmp_path: Path
) -> None:
    file = rewritten(copied("saev", "relu", tmp_path), {"schema": schema, "cfg": activation("Relu")})
    x = expected("saev", "relu")["x"]
    default, said = pretrained.load(file), pretrained.load(file, subtract_b_dec=is_subtracted)
    assert torch.equal(default.encode(x), said.encode(x))
    assert any("The setting subtract_b_dec changes it." in note for note in default.notes)
    assert not any("subtract_b_dec" in note for note in said.notes)
    other = pretrained.load(file, subtract_b_dec=not is_subtracted)
    assert not torch.allclose(other.encode(x), default.encode(x))
    header = {"schema": schema, "cfg": activation("Relu")}
    no_bias = rewritten(tmp_path / "saev" / "relu", header, b_dec=torch.zeros(12))
    assert not any("subtract_b_dec" in note for note in pretrained.load(no_bias).notes)


def test_a_batchtopk_autoencoder_without_a_threshold_needs_one(tmp_path: Path) -> None:
    file = rewritten(
        copied("saev", "batchtopk", tmp_path),
        {"schema": 3, "cfg": activation("BatchTopK", top_k=3)},
        drop="activation.threshold",
    )
    with pytest.raises(UserError, match="so its codes depend on the batch: give one, as the setting threshold"):
        pretrained.load(file)
    assert_as_expected(pretrained.load(file, threshold=1.5), expected("saev", "batchtopk"))


def trained_on_scaled_activations(tmp_path: Path, **data: Any) -> Path:
    folder = copied("saev", "version_0_1_0", tmp_path)
    (folder / "config.json").write_text(json.dumps({"data": {"layer": 10, **data}}))
    return folder


def test_statistics_of_the_activations_are_files_of_the_folder(tmp_path: Path) -> None:
    folder = trained_on_scaled_activations(tmp_path, scale_mean=True, scale_norm=True)
    values = expected("saev", "version_0_1_0")
    mean, norm = torch.randn(12), torch.tensor(2.5)
    torch.save(mean, folder / "mean.pt")
    torch.save(norm, folder / "norm.pt")
    with pytest.raises(UserError, match="name it in the setting act_mean, or give"):
        pretrained.load(folder)
    with pytest.raises(UserError, match="name it in the setting act_norm, or give"):
        pretrained.load(folder, act_mean="mean.pt")
    scaled = {**values, "x": values["x"] * norm + mean, "output": values["output"] * norm + mean}
    for given in ("norm.pt", 2.5):
        sae = pretrained.load(folder, act_mean="mean.pt", act_norm=given)
        assert sae.source is not None and sae.source.site == "blocks.10"
        codes = sae.encode(scaled["x"])
        torch.testing.assert_close(codes, scaled["codes"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(sae.decode(codes), scaled["output"], rtol=1e-5, atol=1e-5)


def test_a_file_of_the_first_version_notes_that_its_activations_may_have_been_scaled(tmp_path: Path) -> None:
    folder = trained_on_scaled_activations(tmp_path, scale_mean=False, scale_norm=False)
    assert not any("centred and scaled" in note for note in pretrained.load(folder).notes)
    assert any("centred and scaled" in note for note in pretrained.load(folder / "sae.pt").notes)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"act_mean": "../mean.pt"}, "act_mean is '../mean.pt', and must be the name of a file in the folder"),
        ({"act_mean": 3}, "act_mean is '3', and must be the name of a file"),
        ({"act_mean": "wide.pt"}, "act_mean has the shape .13,., and it must be .12,."),
        ({"act_mean": "listed.pt"}, "listed.pt, which act_mean names, holds no tensor"),
        ({"act_norm": 0}, "act_norm is 0.0, and must be a positive number"),
        ({"act_norm": "wide.pt"}, "act_norm is 'nan', and must be a number"),
        ({"act_norm": True}, "act_norm is 'True', and must be a number"),
        ({"subtract_b_dec": True}, "its file says whether b_dec is subtracted"),
        ({"k": 3}, "have no setting 'k'"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], reason: str, tmp_path: Path) -> None:
    folder = copied("saev", "relu", tmp_path)
    torch.save(torch.zeros(13), folder / "wide.pt")
    torch.save([1, 2], folder / "listed.pt")
    with pytest.raises(UserError, match=reason):
        pretrained.load(folder, **settings)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"schema": 6, "cfg": {}}, "its schema is '6', and those of saev that are read are 1 to 5"),
        ({"schema": "5", "cfg": {}}, "its schema is '5'"),
        ({"schema": 5, "cfg": []}, "its activation 'None' is none of Relu, TopK, BatchTopK"),
        ({"schema": 5, "cfg": activation("Gelu")}, "its activation 'Gelu' is none of Relu, TopK, BatchTopK"),
        ({"schema": 5, "cfg": activation("TopK", top_k=True)}, "its top_k is 'True', and must be a positive whole"),
        ({"schema": 5, "cfg": {"activation": {"cls": "TopK", "params": [3]}}}, "its top_k is 'None'"),
    ],
)
def test_a_header_that_is_not_read_is_refused_in_one_sentence(
    header: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    file = rewritten(copied("saev", "relu", tmp_path), header)
    with pytest.raises(UserError, match="cannot be read as weights of the format saev: ") as refused:
        pretrained.load(file)
    assert reason in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 600


@pytest.mark.parametrize("header", [b"", b"\n", b"{\n", b"[1]\n", b"{" + b" " * 100_000 + b"}\n", b'{"schema": 5}\n'])
def test_a_damaged_header_is_no_file_of_saev(header: bytes, tmp_path: Path) -> None:
    file = rewritten(copied("saev", "relu", tmp_path), header)
    with pytest.raises(UserError, match="of no known format of weights"):
        pretrained.load(file)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"drop": "W_enc"}, "its tensor W_enc is missing"),
        ({"b_dec": torch.zeros(5)}, "its tensor b_dec has the shape"),
        ({"b_enc": torch.zeros(24, 2)}, "its tensor b_enc has the shape"),
        ({"W_enc": torch.zeros(12, 23)}, "its encoder has 23 units and its decoder 24"),
        ({"W_dec": torch.full((24, 12), float("nan"))}, "contains NaN or infinity"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    file = rewritten(copied("saev", "relu", tmp_path), {"schema": 5, "cfg": activation("Relu")}, **change)
    with pytest.raises(UserError, match=reason):
        pretrained.load(file)


def test_code_in_the_pickle_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "sae.pt"
    with file.open("wb") as stream:
        stream.write(b'{"schema": 5, "cfg": {}}\n')
        torch.save({"W_enc": Path("x")}, stream)
    with pytest.raises(UserError, match="running what a pickle carries is refused"):
        pretrained.load(file)


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    file = copied("saev", "topk", tmp_path) / "sae.pt"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        pretrained.load(file)
