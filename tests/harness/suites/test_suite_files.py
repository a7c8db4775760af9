"""Files of suites: one built on another, one made of others, lists taken over or replaced, and image sets by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import datasets
from harness.errors import UserError
from harness.run.parts import run_suite
from harness.suites import Suite, load_suite
from results import open_store

BASE = """
name = "base"
[seeds]
tokens = [1, 2]
init = [7]
[data]
evaluation = 30
[[targets]]
backbone = "tiny_vit"
settings.elude = { top_k = 11 }
[[targets]]
backbone = "tiny_cnn"
site = "mix"
[[methods]]
name = "identity"
[[methods]]
name = "elude"
config = { top_k = 10, min_cluster_size = 5 }
[[methods]]
name = "elude"
label = "eom"
config = { cluster_selection_method = "eom", min_cluster_size = 5 }
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    (tmp_path / "base.toml").write_text(BASE)

    def written(text: str, name: str = "mine") -> Suite:
        (tmp_path / f"{name}.toml").write_text(text)
        return load_suite(str(tmp_path / f"{name}.toml"))

    return written


def refused(write: Any, text: str) -> str:
    with pytest.raises(UserError) as caught:
        write(text)
    return str(caught.value)


def rows(suite: Suite) -> list[tuple[str, str | None, dict[str, Any]]]:
    return [(entry.name, entry.label, entry.config) for entry in suite.methods_of(suite.targets[0])]


def test_tables_are_merged_and_values_replaced(write: Any) -> None:
    suite = write('name = "mine"\nextends = "base.toml"\n[seeds]\ntokens = [3]\n[data]\nsplit_seed = 4\n')
    assert suite.name == "mine" and suite.seeds.tokens == (3,) and suite.seeds.init == (7,)
    assert (suite.data.evaluation, suite.data.split_seed) == (30, 4)
    assert len(suite.targets) == 2 and len(suite.methods) == 3


def test_a_method_meets_the_one_of_its_name_and_label(write: Any) -> None:
    suite = write(
        'name = "mine"\nextends = "base.toml"\n'
        '[[methods]]\nname = "elude"\nconfig = { min_cluster_size = 6 }\n'
        '[[methods]]\nname = "elude"\nlabel = "eom"\nconfig = { top_k = 12, min_cluster_size = 5 }\n'
        '[[methods]]\nname = "elude"\nlabel = "new"\nconfig = { min_cluster_size = 5 }\n'
    )
    # The first target's own setting stands over the method's.
    assert rows(suite) == [
        ("identity", None, {}),
        ("elude", None, {"top_k": 11, "min_cluster_size": 6}),
        ("elude", "eom", {"cluster_selection_method": "eom", "min_cluster_size": 5, "top_k": 11}),
        ("elude", "new", {"min_cluster_size": 5, "top_k": 11}),
    ]


def test_replaces_takes_the_list_instead(write: Any) -> None:
    suite = write(
        'name = "mine"\nextends = "base.toml"\nreplaces = ["methods", "targets"]\n'
        '[[targets]]\nbackbone = "tiny_cnn"\n[[methods]]\nname = "identity"\n'
    )
    assert [target.backbone for target in suite.targets] == ["tiny_cnn"] and rows(suite) == [("identity", None, {})]
    assert suite.seeds.tokens == (1, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "base.toml"\nreplaces = ["seeds"]', "mine.toml, line 3: replaces = ['seeds']: only the lists"),
        ('replaces = ["methods"]', "replaces needs extends"),
        ('extends = "base.toml"\nreplaces = "methods"', "must be a list of names"),
        ('extends = "bas.toml"', "mine.toml, line 2: There is no suite file 'bas.toml'"),
        ('extends = "dmo"', "mine.toml, line 2: There is no suite 'dmo'. Did you mean demo"),
        ("extends = 3", "mine.toml, line 2: extends = 3"),
        ('extends = "mine.toml"', "include each other in a circle: mine.toml -> mine.toml"),
        ('parts = ["mine.toml"]', "include each other in a circle: mine.toml -> mine.toml"),
        ('extends = "table6"', "'table6' is made of parts"),
        ('parts = ["table2", "tabel3"]', "mine.toml, line 2: There is no suite 'tabel3'. Did you mean table3"),
        ('parts = ["table2"]\n[seeds]\ntokens = [1]', "mine.toml, line 3: 'seeds' cannot be combined with parts"),
        ("parts = []", "must be a list of names"),
    ],
)
def test_what_cannot_be_built_is_said_with_its_line(write: Any, text: str, message: str) -> None:
    assert message in refused(write, f'name = "mine"\n{text}\n')


def test_chains_hold_and_cycles_are_named_in_full(write: Any) -> None:
    write('name = "one"\nextends = "base.toml"\n[seeds]\ntokens = [8]\n', "one")
    write('name = "two"\nextends = "one.toml"\n[seeds]\ninit = [9]\n', "two")
    suite = write('name = "mine"\nextends = "two.toml"\n[data]\nevaluation = 5\n')
    assert (suite.seeds.tokens, suite.seeds.init, suite.data.evaluation, len(suite.methods)) == ((8,), (9,), 5, 3)
    assert "no suite file 'three.toml'" in refused(write, 'name = "mine"\nextends = "three.toml"\n')
    with pytest.raises(UserError):
        write('name = "three"\nextends = "mine.toml"\n', "three")
    text = refused(write, 'name = "mine"\nextends = "three.toml"\n')
    assert "mine.toml -> three.toml -> mine.toml" in text


def test_a_mistake_is_reported_where_it_is_written(write: Any, tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(BASE.replace("top_k = 10", "topk = 10"))
    text = refused(write, 'name = "mine"\nextends = "base.toml"\n[seeds]\ntoken = [1]\n')
    assert "base.toml, line 17: " not in text and "mine.toml, line 4: There is no setting 'seeds.token'" in text
    text = refused(write, 'name = "mine"\nextends = "base.toml"\n')
    line = BASE.split("\n").index("config = { top_k = 10, min_cluster_size = 5 }") + 1
    assert f"base.toml, line {line}: elude has no setting 'topk'" in text


def test_parts_share_cells_and_each_has_its_own_board(write: Any, tmp_path: Path, photo_folder: Path) -> None:
    data = f'[data]\ndataset = "folder:{photo_folder}"\nevaluation = 12\n[evaluation]\ntop_images = 4\n'
    data += '[[targets]]\nbackbone = "tiny_vit"\n[[methods]]\nname = "identity"\n'
    write(f'name = "one"\n{data}', "one")
    write(f'name = "two"\n{data}[[methods]]\nname = "random_split"\nconfig = {{ parts = 2 }}\n', "two")
    both = write('name = "both"\nparts = ["one.toml", "two.toml", "one.toml"]\n', "both")
    # A part that is there twice is run once.
    assert [leaf.name for leaf in both.leaves] == ["one", "two"]
    total = run_suite(both, tmp_path / "r.duckdb", device="cpu")
    parts, stopped = total.parts, total.stopped
    assert (total.finished, total.kept, total.failed, stopped) == (2, 1, 0, [])
    assert [(part.suite, len(part.cell_ids)) for part in parts] == [("one", 1), ("two", 2)]
    assert set(parts[0].cell_ids) < set(parts[1].cell_ids)
    assert len(open_store(tmp_path / "r.duckdb").cells()) == 2


def test_imagenet_is_named_by_path_or_by_the_environment(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARNESS_IMAGENET", raising=False)
    with pytest.raises(UserError, match="HARNESS_IMAGENET is not set"):
        datasets.load("imagenet")
    with pytest.raises(UserError, match="no train/ and val/"):
        datasets.load(f"imagenet:{photo_folder}")
    for part in ("train", "val"):
        (tmp_path / part).symlink_to(photo_folder)
    named = datasets.load(f"imagenet:{tmp_path}")
    assert named.name == "imagenet" and named.predefined_split is not None
    probing, evaluation = named.split(evaluation=100)
    assert (len(probing), len(evaluation)) == (48, 48)
    monkeypatch.setenv("HARNESS_IMAGENET", str(tmp_path))
    assert datasets.load("imagenet").fingerprint == named.fingerprint


def test_some_of_the_photographs() -> None:
    everything, some, same = (datasets.load(spec) for spec in ("photos", "photos:48", "photos:48"))
    assert (some.name, len(some), some.classes) == ("photos:48", 48, everything.classes)
    assert some.fingerprint == same.fingerprint != everything.fingerprint
    assert {record.name for record in some.records} < {record.name for record in everything.records}
    # Every class is there in proportion.
    for label in range(len(everything.classes)):
        shares = [
            sum(record.label == label for record in images.records) / len(images) for images in (everything, some)
        ]
        assert abs(shares[0] - shares[1]) < 1.01 / 48
    for wrong in ("photos:0", "photos:-3", "photos:many", "photos:250"):
        with pytest.raises(UserError, match=r"photos:|250"):
            datasets.load(wrong)
