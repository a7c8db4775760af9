"""Commands in the pages are run, on a tiny store and tiny suites.

A command in a block is run here, or by the test named in ``ELSEWHERE``, or it needs what a reader must fill in (a word
like FILE or /path/to), or its block is marked: ``<!-- not run here: a GPU -->`` on the line before it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import submission_store
import torch
from app_store import make_store
from documents import COMMANDS, PLACEHOLDER, ROOT, Command, blocks, parsed
from plugins import clean_registries
from safetensors.torch import save_file
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import UserError
from harness.scaffold import scaffold
from harness.suites import Suite, load_suite, parse_suite
from harness.suites.resolve import resolve_suite
from results.submissions.submit import submit

pytestmark = pytest.mark.run

#: Verbs that other tests run as they are written in the pages.
ELSEWHERE = {
    "efficiency": "test_efficiency.py",
    "app": "test_app.py",
    "site": "test_site_command.py",
    "check": "test_check.py",
    "sweep": "test_sweep.py",
    "stability": "test_stability.py",
    "properties": "test_properties.py",
    "validity": "test_planted_suite.py",
    "submit": "test_submit.py",
    "export-dictionary": "test_export_dictionary.py",
    "label": "test_label_and_steer.py",
    "frontier": "test_frontier.py",
    "robustness": "test_robustness_command.py",
    "transfer": "test_transfer_command.py",
    "steer": "test_label_and_steer.py",
}
#: Pages whose commands a test of their own runs one after the other.
PAGES_ELSEWHERE = {"plugins.md": "test_plugin_docs.py", "own_sae.md": "test_own_sae.py"}
#: Programs and packages that tests cannot have.
NEEDS = {"vllm": "vLLM and a GPU", "openai": "a server of judges", "ray": "a cluster", "cuda": "a GPU"}


def ids(found: list[Command]) -> list[str]:
    return [f"{command.page.name}:{command.line}" for command in found]


def needed(command: Command) -> str | None:
    """Return the requirement of a command that a test lacks; None if it can be run."""
    if command.mark:
        return command.mark
    if any(PLACEHOLDER.search(word) for word in command.words if not word.startswith("folder:")):
        return "what the reader fills in"
    if command.page.name in PAGES_ELSEWHERE:
        return f"run by {PAGES_ELSEWHERE[command.page.name]}"
    if "examples" in command.page.parts:
        return "the example package installed: test_plugins.py"
    for word in () if "--dry-run" in command.words else command.words:
        if word in NEEDS:
            return NEEDS[word]
    return f"run by {ELSEWHERE[command.verb]}" if command.verb in ELSEWHERE else None


IN_BLOCKS = [command for command in COMMANDS if not command.inline and not command.verb.startswith("-")]
READING = ("leaderboard", "compare", "export", "verify", "list", "doctor", "merge", "new")
RUNNING = ("run", "judge")


def test_every_command_in_a_block_is_run_or_says_what_it_needs() -> None:
    unaccounted = [
        str(command) for command in IN_BLOCKS if needed(command) is None and command.verb not in (*READING, *RUNNING)
    ]
    assert not unaccounted, "no test runs these: mark the block, or add them here:\n" + "\n".join(unaccounted)
    used = {ELSEWHERE[command.verb] for command in IN_BLOCKS if command.verb in ELSEWHERE}
    pages = {command.page.name for command in IN_BLOCKS}
    for file in used | {file for page, file in PAGES_ELSEWHERE.items() if page in pages}:
        assert list((ROOT / "tests").rglob(file)), file


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    """Pages register plugins, which other tests must not find."""
    with clean_registries():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path) -> Iterator[Path]:
    """A folder as a reader of the pages has it: stores, submitted results, and plugins, whichever test comes first."""
    folder = tmp_path_factory.mktemp("reader")
    make_store(folder / "outputs" / "results.duckdb")
    submit(submission_store.make_store(folder / "submitted.duckdb").path, folder / "community-results")
    for command in IN_BLOCKS:
        if command.verb == "merge" and needed(command) is None:
            for store in parsed(command)["inputs"]:
                if (folder / store).is_dir():
                    continue
                (folder / store).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / "outputs" / "results.duckdb", folder / store)
    for command in unique(("new",)):
        options = parsed(command)
        scaffold(options["kind"], folder / options["path"])
    [halves] = [b.text for b in blocks(ROOT / "docs" / "methods.md") if "class Halves" in b.text]
    (folder / "halves.py").write_text(halves)
    _write_dictionaries(folder)
    yield folder


def _write_dictionaries(folder: Path) -> None:
    """Write dictionaries of the width of the tiny ViT, as plain safetensors and as a folder of SAELens."""
    encoder = torch.randn(24, 32, generator=torch.Generator().manual_seed(0))
    tensors = {"W_enc": encoder, "b_enc": torch.zeros(32), "W_dec": encoder.T.contiguous(), "b_dec": torch.zeros(24)}
    save_file(tensors, folder / "my_sae.safetensors")
    (folder / "saelens_folder").mkdir()
    save_file(tensors, folder / "saelens_folder" / "sae_weights.safetensors")
    (folder / "saelens_folder" / "cfg.json").write_text('{"architecture": "standard"}')


def invoke(words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, *, codes: tuple[int, ...] = (0,)) -> str:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("HARNESS_IMAGENET", raising=False)
    monkeypatch.setattr("harness.doctor.needs.reachable", lambda host: False)
    done = CliRunner().invoke(app, words, catch_exceptions=True)
    if isinstance(done.exception, UserError) and 2 in codes:
        return str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), f"harness {words}: {done.exception!r}"
    assert done.exit_code in codes, f"harness {' '.join(words)} ended with {done.exit_code}:\n{done.output}"
    return done.output


def unique(verbs: tuple[str, ...]) -> list[Command]:
    found = {command.words: command for command in IN_BLOCKS if command.verb in verbs and needed(command) is None}
    return list(found.values())


@pytest.mark.parametrize("command", unique(READING), ids=ids(unique(READING)))
def test_reading_commands_run(command: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if command.words == ("doctor",):
        pytest.skip("run by test_cli.py")
    if command.verb in ("merge", "new"):
        (place / parsed(command)["output" if command.verb == "merge" else "path"]).unlink(missing_ok=True)
    # What is missing for a suite is said, with code 1: that is what doctor is for.
    output = invoke(
        list(command.words), place, monkeypatch, codes=(0, 1) if command.verb in ("doctor", "verify") else (0,)
    )
    assert output.strip(), command
    if command.verb in ("export", "new", "merge"):
        written = parsed(command).get("output") or parsed(command)["path"]
        assert str(written) == "-" or (place / written).stat().st_size > 100


def tiny_suite(name: str, folder: Path) -> Suite:
    """Return a small suite in place of one of the pages, with the same kinds of entries, on three layers."""
    real = load_suite(name)
    labels = {e.name: e.label for leaf in real.leaves for t in leaf.targets for e in leaf.methods_of(t)}
    config: dict[str, dict[str, Any]] = {
        "elude": {"top_k": 60, "min_cluster_size": 5},
        "topk_sae": {"expansion_factor": 2, "k": 3, "epochs": 1, "batch_size": 64},
    }
    return parse_suite(
        {
            "name": real.name,
            "data": {"dataset": f"folder:{folder}", "evaluation": 12},
            "probing": {"crops": 2, "tokens_per_image": "all"},
            "evaluation": {"top_images": 9},
            "judging": {"panel": "proxy", "pairs": 2, "min_images": 1},
            "targets": [{"backbone": "tiny_vit"}],
            "methods": [
                {"name": "identity"},
                *({"name": key, "config": config[key]} for key in ("elude", "topk_sae") if key in labels),
            ],
        }
    )


#: Names of the packaged ViT -> those of the tiny one, which the dictionaries of these tests fit.
_TINY = {
    "dinov2_small_saliency": "tiny_vit",
    "blocks.10": "blocks.1",
    "blocks.9.mlp.fc2": "blocks.1.mlp.fc2",
}


def test_running_commands_run(place: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each combination of options once, with a small suite in the place of the one that is named."""
    found = list(unique(RUNNING))
    assert any(command.verb == "run" for command in found)
    judged = [command for command in found if command.verb == "judge"]
    shapes: dict[tuple[Any, ...], Command] = {}
    for command in found:
        if command.verb == "run":
            shapes.setdefault(tuple(word for word in command.words if word.startswith("--")), command)
    monkeypatch.setenv("HARNESS_STORE", str(place / "run" / "results.duckdb"))
    monkeypatch.setattr(
        "harness.suites.resolve.load_suite", lambda name, methods=None, **_: tiny_suite(name, photo_folder)
    )
    monkeypatch.setattr("harness.judging.judge_run", lambda *arguments, **more: None)
    for command in [*shapes.values(), *judged]:
        words = [f"folder:{photo_folder}" if word.startswith("folder:") else word for word in command.words]
        if "--dictionary" in words:
            words = [_TINY.get(word, word) for word in words]
        if command.verb == "judge" and not {"--dry-run", "--rescore"} & set(words):
            words.append("--dry-run")
        output = invoke(words, place, monkeypatch)
        assert output.strip(), command
        if command.verb == "run":
            assert "0 failed" in output or "failed" not in output, f"{command}:\n{output}"


@pytest.mark.parametrize("command", unique(RUNNING), ids=ids(unique(RUNNING)))
def test_the_suites_of_running_commands_take_their_options(command: Command, place: Path) -> None:
    """The named suite itself, at its size, as far as it can be known before anything is loaded."""
    options = parsed(command)
    keys = ("scale", "dataset", "evaluation", "backbone", "checkpoint", "site", "head")
    given = {key: options[key] for key in keys if options.get(key) is not None}
    chosen = resolve_suite(options["suite"], settings=options.get("setting") or [], **given).suite
    assert chosen.leaves and all(leaf.methods_of(target) for leaf in chosen.leaves for target in leaf.targets)
