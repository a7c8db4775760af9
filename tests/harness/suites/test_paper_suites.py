"""The paper's suites: every table's cells are there, each once, and a scale changes their size and not their number."""

from __future__ import annotations

import collections
from pathlib import Path

import pytest

from harness.doctor import estimate
from harness.errors import UserError
from harness.identity import canonical
from harness.suites import Suite, load_suite, parse_suite
from harness.suites.grids import GRIDS
from harness.suites.tiny import scaled
from methods import METHODS as METHODS_BY_NAME
from results.published import rows
from results.published.rows import METHODS
from results.published.tables import published_table

TABLES = [f"table{number}" for number in range(1, 8)]

#: The paper's backbone -> the name under which the suites load it.
BACKBONES = {published: names[0] for published, names in rows.BACKBONES.items()}


def rows_of(suite: Suite) -> collections.Counter[tuple[str, str | None, str, float]]:
    """(backbone, site, method, expansion factor), 0 for methods that have none."""
    return collections.Counter(
        (target.backbone, target.site, entry.name, float(entry.config.get("expansion_factor", 0)))
        for leaf in suite.leaves
        for target in leaf.targets
        for entry in leaf.methods_of(target)
    )


def site_of(backbone: str, layer: float) -> str | None:
    if backbone == "convnextv2_base":
        return "stages.3.blocks.2.mlp.fc2"
    return None if backbone == "siglip2_base" else f"blocks.{int(layer) - 1}.mlp.fc2"


@pytest.mark.parametrize("number", [2, 6])
def test_every_row_of_the_published_table_is_a_row_of_the_suite(number: int) -> None:
    found = rows_of(load_suite(f"table{number}"))
    expected: collections.Counter[tuple[str, str | None, str, float]] = collections.Counter()
    for row in published_table(number).to_dict("records"):
        backbone, method = BACKBONES[row["backbone"]], METHODS[row["method"]]
        factor = float(row["expansion_factor"]) if method not in ("identity", "elude") else 0.0
        expected[backbone, site_of(backbone, row["layer_1idx"]), method, factor] += 1
    assert found == expected


def test_the_other_tables_have_the_published_methods() -> None:
    table4 = load_suite("table4")
    assert {name for _, _, name, _ in rows_of(table4)} == {
        *(METHODS[name] for name in published_table(4)["method"]),
        "random_dictionary",
    }
    assert table4.stability is not None and table4.stability.init == (42, 7, 1024)
    relatives = {"DNRwCV": "dnrwcv", "PURE": "pure", "DPCiCNN": "dpcicnn", "Vanilla SAE": "vanilla_sae"}
    table1 = load_suite("table1")
    assert table1.stability == table4.stability and table1.evaluation == table4.evaluation
    assert {relatives.get(name) or METHODS[name] for name in published_table(1)["method"]} <= {
        name for _, _, name, _ in rows_of(table1)
    }
    assert {name for _, _, name, _ in rows_of(load_suite("table5"))} == {
        METHODS[name] for name in published_table(5)["method"]
    }
    assert load_suite("table3").leaves == load_suite("table2").leaves
    [table7] = load_suite("table7").leaves
    assert len(table7.methods_of(table7.targets[0])) == len(published_table(7))


def test_dinov2_has_its_published_head_and_supervised_networks_have_their_own() -> None:
    """The accuracies of Tables 2 and 6 (84.3, 81.16, 86.12) are those of the published linear heads."""
    heads = {(target.backbone, target.head) for leaf in load_suite("paper").leaves for target in leaf.targets}
    assert {(name, "dinov2_linear") for name in ("dinov2_vits14", "dinov2_vitb14", "dinov2_vitl14")} < heads
    assert {(name, "own") for name in ("augreg_vit_base", "convnextv2_base")} < heads
    assert len({backbone for backbone, _ in heads}) == len(heads)
    tiny = scaled(load_suite("paper"), "tiny").suite
    assert {target.head for leaf in tiny.leaves for target in leaf.targets} == {"own", "probe"}


def dead_forms(suite: Suite) -> collections.Counter[tuple[str, object]]:
    """Return (method, dead_over) of every row whose method has a term for dead units."""
    return collections.Counter(
        (entry.name, entry.config.get("dead_over", "token"))
        for leaf in suite.leaves
        for target in leaf.targets
        for entry in leaf.methods_of(target)
        if "dead_weight" in METHODS_BY_NAME.get(entry.name).Config.model_fields
    )


def test_the_papers_dead_unit_term_is_that_of_the_library() -> None:
    """App. E.3: its baselines reuse overcomplete, whose term is a sum over the batch."""
    found = dead_forms(load_suite("paper"))
    assert {name for name, _ in found} == set(GRIDS)
    assert {over for _, over in found} == {"batch"}
    assert {over for _, over in dead_forms(load_suite("demo"))} == {"token"}


def test_elude_has_the_settings_of_table_9() -> None:
    found = {
        (target.backbone, target.site, entry.config["top_k"], entry.config.get("min_cluster_size", 1000))
        for leaf in load_suite("paper").leaves
        if leaf.name != "table7"
        for target in leaf.targets
        for entry in leaf.methods_of(target)
        if entry.name == "elude"
    }
    names = {"DINOv2-B/14": "dinov2_vitb14", "DINOv2-S/14": "dinov2_vits14", "DINOv2-L/14": "dinov2_vitl14"}
    names |= {"AugReg ViT-B/16": "augreg_vit_base", "SigLIP2-B/16": "siglip2_base", "ConvNeXtV2-B": "convnextv2_base"}
    expected = set()
    for row in published_table(9).to_dict("records"):
        backbone = names[row["backbone"].split(" (EF")[0]]
        layer = float(row["layer_1idx"]) if str(row["layer_1idx"]).replace(".", "").isdigit() else 0
        size = int(row["clustering"].split("=")[1]) if "=" in row["clustering"] else 1000
        expected.add((backbone, site_of(backbone, layer), int(row["top_k"]), size))
    assert found == expected


@pytest.mark.parametrize(
    ("name", "cells", "swept"),
    [
        # Two backbones, ten methods, three token seeds; 99 configurations and the transcoder's 27 for each backbone.
        ("table2", 60, 252),
        ("table3", 60, 252),
        # Eight trained methods, ELUDe and the random dictionary, three initialisations on one token set.
        ("table4", 30, 126),
        # Table 4's without the random dictionary, and three methods that are in no other table.
        ("table1", 27 + 9, 126),
        ("table5", 10, 126),
        # Eight settings of six methods and three token seeds; the backbone of both expansion factors is one cell.
        ("table6", 8 * 6 * 3 - 3, 8 * 4 * 9),
        ("table7", 30, 0),
        # Table 4 shares seed 42 with Table 2 (9 cells), Table 6 the backbone alone at layer 12 (3), Table 7 ELUDe (3).
        ("paper", 60 + 21 + 9 + 141 - 3 + 27 + 10, 252 + 288),
    ],
)
def test_how_many_cells_a_suite_has(name: str, cells: int, swept: int) -> None:
    found = estimate(load_suite(name))
    assert (found.cells, found.sweep_cells) == (cells, swept)


def test_judges_are_asked_as_often_as_in_the_paper() -> None:
    table2, table6 = estimate(load_suite("table2")), estimate(load_suite("table6"))
    # App. B.1, for each of three judges; controls come on top.
    assert table2.judge_calls == 3 * 2 * (13_500 + 30)
    assert table6.judge_calls == 3 * 8 * (4_500 + 30)
    assert estimate(load_suite("paper")).judge_calls == table2.judge_calls + table6.judge_calls


@pytest.mark.parametrize("name", [*TABLES, "paper", "generalization", "ablations", "stability", "demo"])
def test_the_tiny_scale_has_the_same_cells(name: str) -> None:
    suite = load_suite(name)
    small = scaled(suite, "tiny")
    before, after = estimate(suite), estimate(small.suite)
    assert after.cells == before.cells
    assert [leaf.name.removesuffix("-tiny") for leaf in small.suite.leaves] == [leaf.name for leaf in suite.leaves]
    pairs: dict[str, str] = {}
    for leaf, tiny in zip(suite.leaves, small.suite.leaves, strict=True):
        for target, stands in zip(leaf.targets, tiny.targets, strict=True):
            assert stands.backbone in ("dinov2_small_saliency", "efficientnet_lite0")
            assert tiny.token_seeds_of(stands) == leaf.token_seeds_of(target)
            for entry, own in zip(leaf.methods_of(target), tiny.methods_of(stands), strict=True):
                assert (entry.name, entry.label, entry.select) == (own.name, own.label, own.select)
                key = canonical([target.backbone, target.site, entry.name, entry.label, entry.config])
                cell = canonical([stands.backbone, stands.site, own.name, own.label, own.config])
                assert pairs.setdefault(key, cell) == cell
    assert len(set(pairs.values())) == len(pairs)
    assert all(tiny.judging is None or tiny.judging.panel == "proxy" for tiny in small.suite.leaves)


def test_scales_and_layers_without_a_stand_in() -> None:
    with pytest.raises(UserError, match="Did you mean tiny"):
        scaled(load_suite("demo"), "tinny")
    suite = parse_suite(
        {"name": "x", "targets": [{"backbone": "timm:vit_base_patch16_clip_224"}], "methods": [{"name": "identity"}]}
    )
    small = scaled(suite, "tiny")
    assert next(iter(small.stand_ins.values()))[0] == "dinov2_small_saliency" and small.suite.targets[0].site
    # What is embedded stays itself.
    assert scaled(load_suite("demo"), "tiny").suite.targets[0].site == "blocks.9.mlp.fc2"
    assert any("no number below means anything" in line for line in small.notices())


def test_a_suite_may_extend_the_papers(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\nextends = "table2"\n[seeds]\ntokens = [1]\n'
        '[[targets]]\nbackbone = "dinov2_vitb14"\nsettings.elude = { min_cluster_size = 500 }\n'
        '[[methods]]\nname = "topk_sae"\nconfig = { k = 40 }\n[[methods]]\nname = "pca"\n'
    )
    suite = load_suite(str(file))
    assert suite.seeds.tokens == (1,) and suite.data.dataset == "imagenet" and len(suite.targets) == 2
    entries = {entry.name: entry for entry in suite.methods_of(suite.targets[1])}
    assert entries["elude"].config["top_k"] == 400_000 and entries["elude"].config["min_cluster_size"] == 500
    expected = {"expansion_factor": 8, "epochs": 50, "k": 40, "dead_over": "batch"}
    assert entries["topk_sae"].config == expected and entries["topk_sae"].select
    assert list(entries)[-1] == "pca"
