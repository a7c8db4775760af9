"""``--dictionary FILE[:LABEL]``: rows of trained dictionaries in any suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import load_suite
from harness.commands.run import RunOptions
from harness.errors import UserError
from harness.suites.dictionaries import dictionary_entries, split_label


def file(folder: Path, name: str = "sae.safetensors") -> Path:
    path = folder / name
    path.write_bytes(b"")
    return path


def test_the_label_is_given_or_the_name_of_the_file(tmp_path: Path) -> None:
    weights, other = file(tmp_path), file(tmp_path, "b.safetensors")
    folder = str(tmp_path / "run.7")
    Path(folder).mkdir()
    texts = (
        str(weights),
        f"{other}:my SAE",
        folder,
        "hf:me/sae",
        "hf:me/sae@v1/a.safetensors:theirs",
    )
    entries = dictionary_entries(texts)
    assert [entry.label for entry in entries] == ["sae", "my SAE", "run.7", "me/sae", "theirs"]
    assert [entry.config["weights"] for entry in entries] == [
        str(weights), str(other), folder, "hf:me/sae", "hf:me/sae@v1/a.safetensors",
    ]  # fmt: skip
    assert {entry.name for entry in entries} == {"pretrained_sae"}


def test_a_file_with_a_colon_in_its_name_is_taken_as_it_is(tmp_path: Path) -> None:
    weights = file(tmp_path, "layer:10.safetensors")
    assert split_label(str(weights)) == (str(weights), "")


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["absent.safetensors"], "there is no file or folder 'absent.safetensors'"),
        (["absent.safetensors:label"], "there is no file or folder 'absent.safetensors'"),
        ([":label"], "give the file of a dictionary"),
        (["hf:"], "give the file of a dictionary"),
        (["hf:me/a:x", "hf:me/b:x"], "2 dictionaries have the label 'x'"),
        (["hf:me/a:x", "hf:me/a:y"], "is given 2 times, and is one row"),
        ([""], "give the file of a dictionary"),
        (["~nosuchuser/x.safetensors"], "there is no file or folder"),
        (["hf:me/a:" + "x" * 100], "at most 80 characters"),
        (["hf:me/a:a\tb"], "all printable"),
    ],
)
def test_mistakes_are_one_sentence(texts: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        dictionary_entries(texts)


def test_they_are_added_to_every_target_whichever_methods_are_chosen(tmp_path: Path) -> None:
    weights = file(tmp_path)
    suite = load_suite("demo", dictionaries=[f"{weights}:mine"], methods=["identity"])
    labels = [[entry.label or entry.name for entry in suite.methods_of(target)] for target in suite.targets]
    assert labels and all(names[-1] == "mine" for names in labels)
    whole = load_suite("demo", dictionaries=[str(weights)])
    plain = load_suite("demo")
    for target, before in zip(whole.targets, plain.targets, strict=True):
        assert whole.methods_of(target)[:-1] == plain.methods_of(before)


def test_the_method_that_reads_them_can_be_named_beside_them(tmp_path: Path) -> None:
    dictionaries = [f"{file(tmp_path)}:mine", f"{file(tmp_path, 'b.safetensors')}:other"]
    suite = load_suite("demo", dictionaries=dictionaries, methods=["pretrained_sae"])
    assert [[entry.label for entry in suite.methods_of(target)] for target in suite.targets] == [
        ["mine", "other"]
    ] * len(suite.targets)
    both = load_suite("demo", dictionaries=dictionaries, methods=["identity", "pretrained_sae"])
    assert [entry.label or entry.name for entry in both.methods_of(both.targets[0])] == ["identity", "mine", "other"]
    one = load_suite("demo", dictionaries=dictionaries, methods=["mine"])
    assert {entry.label for entry in one.methods_of(one.targets[0])} == {"mine", "other"}
    with pytest.raises(UserError, match=r"^--method pretrained_sae needs weights: give them as --dictionary FILE"):
        load_suite("demo", methods=["pretrained_sae"])


def test_the_options_of_a_run_name_its_methods_and_dictionaries(tmp_path: Path) -> None:
    options = RunOptions(method=["elude"], dictionary=[f"{file(tmp_path)}:mine"])
    assert options.named == ("elude", "mine") and RunOptions().named == ()


def test_a_suite_with_parts_gets_them_in_every_part(tmp_path: Path) -> None:
    suite = load_suite("paper", dictionaries=[f"{file(tmp_path)}:mine"], scale="tiny")
    for leaf in suite.leaves:
        for target in leaf.targets:
            assert leaf.methods_of(target)[-1].label == "mine"


def test_the_longest_file_that_exists_is_meant(tmp_path: Path) -> None:
    drive = tmp_path / "C:x"
    drive.mkdir()
    weights = file(drive)
    for label in ("", "mine", "a:b", " mine "):
        text = f"{weights}:{label}" if label else str(weights)
        assert split_label(text) == (str(weights), label.strip())
    other = file(tmp_path, "a.safetensors:2")
    file(tmp_path, "a.safetensors")
    assert split_label(f"{other}:mine") == (str(other), "mine")
    assert split_label("hf:me/sae/layer_9:mine") == ("hf:me/sae/layer_9", "mine")
    # Without an end: no search through every colon.
    assert split_label("x:" * 100_000)[0] == "x"
