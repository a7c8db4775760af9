"""``--set``: any setting of a suite from the command line, typed and checked like the file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.suites import MethodEntry, Suite, load_suite, parse_suite, with_overrides, with_settings
from harness.suites.resolve import resolve_suite

OWN = {"min_cluster_size": 5}


def small(**changes: Any) -> Suite:
    return parse_suite(
        {
            "name": "small",
            "targets": [
                {"backbone": "tiny_vit", "settings": {"elude": {"top_k": 100}}},
                {
                    "backbone": "tiny_cnn",
                    "methods": [{"name": "elude", "label": "mine", "config": OWN | {"top_k": 50}}],
                },
            ],
            "methods": [{"name": "identity"}, {"name": "elude", "config": OWN | {"top_k": 2000}}],
            **changes,
        }
    )


def eludes(suite: Suite) -> list[MethodEntry]:
    return [e for leaf in suite.leaves for t in leaf.targets for e in leaf.methods_of(t) if e.name == "elude"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("seeds.tokens=[1, 2]", lambda s: s.seeds.tokens == (1, 2)),
        ("data.evaluation=0.25", lambda s: s.data.evaluation == 0.25),
        ("data.evaluation = 7", lambda s: s.data.evaluation == 7),
        ("evaluation.metrics=['r2']", lambda s: s.evaluation.metrics == ("r2",)),
        ("probing.tokens_per_image=all", lambda s: s.probing.tokens_per_image is None),
        ("data.dataset=folder:a/b", lambda s: s.data.dataset == "folder:a/b"),
        ("sweep.choose=target_l0", lambda s: s.sweep.choose == "target_l0"),
        ("stability.init=[1, 2]", lambda s: s.stability is not None and s.stability.init == (1, 2)),
        ("judging.pairs=3", lambda s: s.judging.pairs == 3 and s.judging.panel == "proxy"),
        ("judging.options.concurrency=8", lambda s: s.judging.options == {"concurrency": 8}),
        ("planted.resamples=200", lambda s: s.extra["planted"].resamples == 200),
        ("method.elude.top_k=60", lambda s: [e.config["top_k"] for e in eludes(s)] == [60, 60]),
        ("method.mine.top_k=60", lambda s: [e.config["top_k"] for e in eludes(s)] == [100, 60]),
        ("method.mine.label=other", lambda s: [e.label for e in eludes(s)] == [None, "other"]),
        ("target.tiny_vit.checkpoint=a.pth", lambda s: [t.checkpoint for t in s.targets] == ["a.pth", None]),
        ('target."tiny_cnn".head=own', lambda s: [t.head for t in s.targets] == [None, "own"]),
        ("target.tiny_vit.settings.elude.top_k=9", lambda s: [e.config["top_k"] for e in eludes(s)] == [9, 50]),
    ],
)
def test_any_setting_can_be_set(text: str, found: Any) -> None:
    before = small(judging={"pairs": 50}, planted={"resamples": 100})
    after = with_settings(before, [text])
    assert found(after), after
    assert not found(before)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method.elude.topk=3", "elude has no setting 'topk'. Did you mean top_k"),
        ("method.elud.top_k=3", "no method 'elud'. Did you mean elude"),
        ("method.elude.top_k=many", "elude.top_k = 'many'"),
        ("method.elude.top_k=0", "elude.top_k = 0"),
        ("method.elude.top_k", "must be KEY=VALUE"),
        ("method.elude=3", "must be method.NAME.SETTING=VALUE. NAME is one of elude, identity, mine"),
        ("method.identity.select=true", "identity has no grid to select from"),
        ("target.tiny_vit.hed=own", "Did you mean head"),
        ("target.tiny_vti.head=own", "no target 'tiny_vti'. Did you mean tiny_vit"),
        ("target.tiny_vit.head=mine", "no head 'mine'"),
        ("seeds.token=[1]", "no setting 'seeds.token'. Did you mean tokens"),
        ("sedes.tokens=[1]", "no setting 'sedes'. Did you mean seeds"),
        ("seeds.tokens=1", "must be a list"),
        ("seeds.tokens=[1.5]", "seeds.tokens.0 = 1.5"),
        ("seeds.tokens=[]", "seeds.tokens = []"),
        ("seeds=3", "seeds = 3: it must be a table"),
        ("probing.crops=true", "probing.crops = True"),
        ("evaluation.metrics=['r3']", "Did you mean r2"),
        ("evaluation.metrics=['r2', 'r2']", "contains an id twice"),
        ("data.dataset=photo", "Did you mean photos"),
        ("judging.panel=prox", "Did you mean proxy"),
        ("name=other", "no setting 'name'"),
        ("timm:vit.head=own", "quote names with colons"),
        ("=3", "is not a valid key"),
        ("", "must be KEY=VALUE"),
        ("#=3", "is not a valid key"),
    ],
)
def test_mistakes_are_named_with_the_option(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        with_settings(small(), [text])
    assert message in str(caught.value)
    assert f"--set {text}" in str(caught.value)


def test_a_head_of_the_command_line_takes_no_settings_of_the_replaced_one() -> None:
    target = {"backbone": "tiny_vit", "head": "dinov2_linear", "head_settings": {"checkpoint": "a.pth"}}
    suite = small(targets=[target])
    assert with_overrides(suite, head="probe").targets[0].head_settings == {}
    assert with_overrides(suite, head="dinov2_linear").targets[0].head_settings == {"checkpoint": "a.pth"}
    [target_with_file] = with_settings(suite, ["target.tiny_vit.head_settings.checkpoint=b.pth"]).targets
    assert target_with_file.head_settings == {"checkpoint": "b.pth"}
    assert with_settings(suite, ["target.tiny_vit.head=probe"]).targets[0].head_settings == {}
    in_any_order = ["target.tiny_vit.head_settings.templates='{}'", "target.tiny_vit.head=zero_shot"]
    for assignments in (in_any_order, in_any_order[::-1]):
        assert with_settings(suite, assignments).targets[0].head_settings == {"templates": "{}"}


def test_a_section_of_a_plugin_must_stay_a_table() -> None:
    with pytest.raises(UserError, match="--set planted=3: planted must be a table"):
        with_settings(small(planted={"resamples": 100}), ["planted=3"])


@given(st.text(max_size=30), st.sampled_from(["", "seeds.", "method.elude.", "target.tiny_vit.", "judging.options."]))
@settings(max_examples=150, deadline=None)
def test_no_text_raises_anything_else(text: str, start: str) -> None:
    for option in (start + text, f"{start}top_k={text}"):
        try:
            assert isinstance(with_settings(small(), [option]), Suite)
        except UserError as error:
            assert "--set" in str(error)


def test_settings_reach_every_part_and_later_ones_win(tmp_path: Path) -> None:
    smaller = ["method.elude.min_cluster_size=5", "method.elude.top_k=70"]
    table6 = with_settings(load_suite("table6"), [*smaller, "method.elude.top_k=60", "seeds.tokens=[5]"])
    assert {entry.config["top_k"] for entry in eludes(table6)} == {60} and len(eludes(table6)) == 8
    assert all(leaf.seeds.tokens == (5,) for leaf in table6.leaves)


def test_what_was_typed_is_what_is_set() -> None:
    """Values are TOML where they can be read as such: the same as in a file."""
    for written in ("😀", "a\x7fb", "folder:C:\\x"):
        assert with_settings(small(), [f"data.dataset=folder:{written}"]).data.dataset == f"folder:{written}"
    for written in ("60000", "1e-3", "true", '"60"', "[1, 2]", "{ a = 1 }"):
        suite = with_settings(small(judging={}), [f"judging.options.x={written}"])
        assert suite.judging is not None
        assert suite.judging.options["x"] == tomllib.loads(f"x = {written}")["x"]


def test_with_a_scale_layers_come_first_and_settings_last() -> None:
    chosen, told = resolve_suite("table2", scale="tiny", settings=["method.elude.top_k=77", "judging.pairs=1"])
    assert {entry.config["top_k"] for entry in eludes(chosen)} == {77}
    assert {target.backbone for target in chosen.targets} == {"dinov2_small_saliency", "efficientnet_lite0"}
    assert chosen.judging is not None and chosen.judging.pairs == 1 and chosen.data.dataset.startswith("photos:")
    assert any("augreg_vit_base" in line for line in told) and any("photographs probed" in line for line in told)
    # A backbone with weights of its own is itself, at its own layer; only the other gets a stand-in.
    own = 'target."dinov2_vitb14".checkpoint=w.safetensors'
    chosen, told = resolve_suite("table2", scale="tiny", settings=[own], dataset="folder:pictures")
    assert [(t.backbone, t.site, t.checkpoint) for t in chosen.targets][1] == (
        "dinov2_vitb14",
        "blocks.11.mlp.fc2",
        "w.safetensors",
    )
    assert chosen.targets[0].backbone == "efficientnet_lite0" and chosen.data.dataset == "folder:pictures"
    assert not any("dinov2_vitb14" in line or "photographs" in line for line in told)
    assert any("folder:pictures" in line for line in told)
    # And the settings of that layer, shrunk, not those of the first one.
    alone, _ = resolve_suite("table2", scale="tiny", backbone="dinov2_vitb14", checkpoint="w.safetensors")
    both, _ = resolve_suite("table2", scale="tiny")
    first, second = (entry.config["top_k"] for entry in eludes(both))
    assert [entry.config["top_k"] for entry in eludes(alone)] == [second] and first < second


def test_layers_and_parts_that_lose_all_their_methods_are_left_out() -> None:
    # Of the demo's four targets one has this method: the others' weights are not needed, at no scale.
    for scale in (None, "tiny"):
        suite = resolve_suite("demo_seeds", methods=("dnrwcv",), scale=scale).suite
        (target,) = suite.targets
        assert {entry.name for entry in suite.methods_of(target)} == {"dnrwcv"}
    # One part of the paper has it: it is not added to the others.
    suite = resolve_suite("paper", methods=("random_split",)).suite
    assert [leaf.name for leaf in suite.leaves] == ["table7"]
    # No part has it: it runs everywhere.
    assert len(resolve_suite("paper", methods=("pca",)).suite.leaves) == len(load_suite("paper").leaves)
