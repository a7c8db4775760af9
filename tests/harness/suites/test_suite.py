"""Suites: what is read, what is refused, and what the command line may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.suites import load_suite, parse_suite, suite_names, with_overrides

SMALL: dict[str, Any] = {
    "name": "small",
    "targets": [{"backbone": "tiny_vit"}, {"backbone": "tiny_cnn", "methods": [{"name": "identity"}]}],
    "methods": [{"name": "identity"}, {"name": "elude", "label": "mine", "config": {"top_k": 2000}}],
}


def test_every_shipped_suite_is_valid() -> None:
    assert "demo" in suite_names()
    for name in suite_names():
        assert load_suite(name).name == name


def test_the_demo_is_the_one_of_the_design() -> None:
    demo = load_suite("demo")
    assert demo.seeds.tokens == (42, 123, 999)
    assert (demo.probing.crops, demo.probing.tokens_per_image, demo.data.evaluation) == (3, 64, 100)
    assert list(dict.fromkeys((t.backbone, t.site) for t in demo.targets)) == [
        ("dinov2_small_saliency", "blocks.9.mlp.fc2"),
        ("efficientnet_lite0", "conv_head"),
    ]
    assert {"identity", "random_split", "topk_sae", "elude"} <= {m.name for m in demo.methods}


def rows_of(name: str) -> set[tuple[str, ...]]:
    """Return backbone, token seed, label and settings of each cell of a suite."""
    suite = load_suite(name)
    return {
        (target.backbone, str(seed), entry.label or entry.name, str(entry.config))
        for target in suite.targets
        for seed in suite.token_seeds_of(target)
        for entry in suite.methods_of(target)
    }


def test_the_cells_of_the_demo_are_among_those_with_three_seeds() -> None:
    few, many = rows_of("demo"), rows_of("demo_seeds")
    assert few < many and (len(few), len(many)) == (29, 47)
    assert load_suite("demo").probing == load_suite("demo_seeds").probing
    assert load_suite("demo").evaluation == load_suite("demo_seeds").evaluation


@pytest.mark.parametrize("suite", ["demo", "demo_seeds"])
def test_each_row_of_the_demos_headline_has_three_seeds_and_a_control_of_its_size(suite: str) -> None:
    demo = load_suite(suite)
    vit, cnn = (next(t for t in demo.targets if t.backbone.startswith(name)) for name in ("dinov2", "efficientnet"))
    names = {entry.label or entry.name: entry for entry in demo.methods_of(vit)}
    assert demo.token_seeds_of(vit) == (42, 123, 999)
    assert demo.token_seeds_of(cnn) == ((42,) if suite == "demo" else (42, 123, 999))
    rows = {"identity", "elude", "topk_sae", "matching_pursuit_sae", "random split (ELUDe's counts)"}
    assert rows < names.keys()
    for method, control in (
        ("topk_sae", "random dictionary (TopK's size)"),
        ("topk_sae", "frozen_decoder_sae"),
        ("matching_pursuit_sae", "random dictionary (Matching Pursuit's size)"),
    ):
        sizes = [[names[name].config[key] for key in ("expansion_factor", "k")] for name in (method, control)]
        assert sizes[0] == sizes[1]
    assert names["topk_sae"].config == names["frozen_decoder_sae"].config
    for target in (vit, cnn):
        configs = {entry.label or entry.name: entry.config for entry in demo.methods_of(target)}
        expected = {"counts_of": {"name": "elude", "config": configs["elude"]}}
        assert configs["random split (ELUDe's counts)"] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sedes": {}}, "Did you mean seeds"),
        ({"probing": {"crop": 1}}, "Did you mean crops"),
        ({"probing": {"crops": -1}}, r"probing\.crops = -1"),
        ({"probing": {"dtype": "bfloat16"}}, r"probing\.dtype = 'bfloat16'"),
        ({"targets": []}, "targets"),
        ({"targets": [{"bakbone": "x"}]}, "targets.0.backbone' is missing"),
        ({"methods": [], "targets": [{"backbone": "tiny_vit"}]}, "has no methods"),
        ({"seeds": {"tokens": []}}, r"seeds\.tokens"),
        ({"data": {"evaluation": 0}}, r"data\.evaluation"),
        ({"name": 3}, "name = 3"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_suite({**SMALL, **change})


def test_files_are_read_and_refused_clearly(tmp_path: Path) -> None:
    good = tmp_path / "mine.toml"
    good.write_text('name = "mine"\n[[targets]]\nbackbone = "tiny_vit"\n[[methods]]\nname = "identity"\n')
    assert load_suite(str(good)).name == "mine"
    bad = tmp_path / "bad.toml"
    bad.write_text("name = \n")
    with pytest.raises(UserError, match=r"bad\.toml, line 1: not valid TOML"):
        load_suite(str(bad))
    with pytest.raises(UserError, match="no suite file"):
        load_suite(str(tmp_path / "absent.toml"))
    with pytest.raises(UserError, match="Did you mean demo"):
        load_suite("dmo")


def test_all_tokens_may_be_asked_for() -> None:
    for value in ("all", 0):
        assert parse_suite({**SMALL, "probing": {"tokens_per_image": value}}).probing.tokens_per_image is None


def test_a_backbone_replaces_the_targets() -> None:
    suite = with_overrides(
        parse_suite(SMALL), backbone="timm:vit_tiny_patch16_224", site="blocks.3.mlp.fc2", checkpoint="w.safetensors"
    )
    [target] = suite.targets
    assert (target.backbone, target.site, target.checkpoint) == (
        "timm:vit_tiny_patch16_224",
        "blocks.3.mlp.fc2",
        "w.safetensors",
    )
    assert [m.name for m in suite.methods_of(target)] == ["identity", "elude"]


def test_naming_a_target_of_the_suite_keeps_its_settings() -> None:
    [target] = with_overrides(parse_suite(SMALL), backbone="tiny_cnn").targets
    assert [m.name for m in target.methods or ()] == ["identity"]


def test_a_site_without_a_backbone_is_ambiguous() -> None:
    with pytest.raises(UserError, match="--site needs --backbone: small has 2 targets"):
        with_overrides(parse_suite(SMALL), site="blocks.0.mlp.fc2")


def test_a_site_of_a_backbone_with_several_targets_is_not_ambiguous() -> None:
    """`--backbone NAME --site LAYER` was refused with "--site needs --backbone": the demo has two targets there."""
    name, layer = "dinov2_small_saliency", "blocks.9.mlp.fc2"
    demo = load_suite("demo", methods=("identity",))
    for site in (layer, "blocks.3.mlp.fc2"):
        suite = with_overrides(demo, backbone=name, site=site, methods=("identity",))
        assert {(target.backbone, target.site) for target in suite.targets} == {(name, site)}
    with pytest.raises(UserError, match="--site needs --backbone: demo has 2 targets"):
        with_overrides(demo, site=layer)


def test_a_site_given_for_targets_that_share_it_needs_no_backbone() -> None:
    values = {**SMALL, "targets": [{"backbone": "tiny_cnn", "site": "conv"}, {"backbone": "tiny_cnn", "site": "conv"}]}
    suite = with_overrides(parse_suite(values), site="head")
    assert [target.site for target in suite.targets] == ["head", "head"]


def test_other_images_are_divided_by_share() -> None:
    suite = parse_suite(SMALL)
    assert with_overrides(suite, dataset="photos").data.evaluation == 100
    assert with_overrides(suite, dataset="folder:x").data.evaluation == 0.4
    assert with_overrides(suite, dataset="folder:x", evaluation=7).data.evaluation == 7
    assert with_overrides(suite, evaluation=0.25).data.evaluation == 0.25


def test_methods_are_chosen_by_name_or_label_and_added() -> None:
    suite = parse_suite(SMALL)
    chosen = with_overrides(suite, methods=("mine",))
    assert [m.config for m in chosen.methods_of(chosen.targets[0])] == [{"top_k": 2000}]
    assert [target.backbone for target in chosen.targets] == [suite.targets[0].backbone]
    new = with_overrides(suite, methods=("random_split",))
    assert [[m.name for m in new.methods_of(t)] for t in new.targets] == [["random_split"]] * 2
    more = with_overrides(suite, extra_methods=("random_split",))
    assert [m.name for m in more.methods_of(more.targets[0])] == ["identity", "elude", "random_split"]


def test_token_seeds_hold_for_every_target() -> None:
    suite = with_overrides(
        parse_suite({**SMALL, "targets": [{"backbone": "tiny_vit", "token_seeds": [9]}]}), token_seeds=(1, 2)
    )
    assert suite.token_seeds_of(suite.targets[0]) == (1, 2)
