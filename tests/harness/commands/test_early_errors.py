"""Mistakes on the command line are answered before torch is imported, with their own reason."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from paths import ROOT

#: Command line, and part of the sentence that answers it.
MISTAKES: list[tuple[str, str]] = [
    ("run --suite dmo", "Did you mean demo"),
    ("run --suite gone.toml", "There is no suite file 'gone.toml'"),
    ("run --method eldue", "There is no method 'eldue'. Did you mean elude"),
    ("run --method identity --method nosuch", "There is no method 'nosuch'"),
    ("run --backbone dinov2_small", "Did you mean dinov2_small_saliency"),
    ("run --backbone foo:bar --site x", "'foo:bar' is not a backbone: the prefixes are timm"),
    ("run --suite paper --backbone nosuch", "No part of paper has the backbone 'nosuch'"),
    ("run --dataset nosuch", "There is no dataset 'nosuch'"),
    ("run --dataset folder:nowhere", "there is no folder 'nowhere'"),
    ("run --dataset folder:", "folder: needs a path"),
    ("run --dataset imagenet:nowhere", "there is no folder 'nowhere'"),
    ("run --dataset photos:many", "give the number of images"),
    ("run --checkpoint gone.pth --backbone dinov2_small_saliency", "there is no file 'gone.pth'"),
    ("run --plugin gone.py", "There is no plugin file 'gone.py'"),
    ("run --token-seed -1", "greater than or equal to 0"),
    ("run --scale huge", "--scale huge: There are tiny, rehearsal"),
    ("run --scale rehearsel", "Did you mean rehearsal"),
    ("run --budget 3", "--budget belongs to --scale rehearsal"),
    ("run --scale rehearsal --executor ray", "it cannot use --executor ray"),
    ("run --scale rehearsal --log wandb", "--log does not belong to --scale rehearsal"),
    ("run --scale rehearsal --suite nosuch", "There is no suite 'nosuch'"),
    ("doctor --suite demo --scale rehearsal", "only harness run measures the time"),
    ("run --dataset synthetic:many", "give the numbers of probing and evaluation images"),
    ("run --device tpu", "--device tpu is not available: use auto, cpu, cuda or cuda:N"),
    ("run --executor nosuch", "There is no executor 'nosuch'"),
    ("run --workers 3", "--workers is no option of --executor local"),
    ("run --evaluation 1.5", "must be a whole number of images"),
    ("run --site conv_head", "--site needs --backbone: demo has 2 targets"),
    ("run --no-weights", "--no-weights needs --backbone"),
    ("run --set method.elude.topk=5", "elude has no setting 'topk'. Did you mean top_k"),
    ("run --set method.elude.top_k=abc", "elude.top_k = 'abc': input should be a valid integer"),
    ("run --set method.elude.winner_rule=x", "input should be 'unique', 'first' or 'gap'"),
    ("run --set method.nosuch.k=1", "the suite has no method 'nosuch'"),
    ('run --set evaluation.metrics=["nosuch"]', "There is no metric 'nosuch'"),
    ("run --set judging.panel=nosuch", "There is no judge panel 'nosuch'"),
    ("run --set seeds.tokens=[-1]", "at least 0"),
    ("run --store md:cloud", "md:cloud is an address (md:)"),
    ("sweep --family nosuch", "There is no sweep grid for 'nosuch'"),
    ("sweep --expansion-factor -1", "greater than or equal to 0.000001"),
    ("sweep --suite nosuch", "There is no suite 'nosuch'"),
    ("check nosuch", "'nosuch'"),
    ("check topk", "Did you mean topk_sae"),
    ("check gone.py", "There is no plugin file 'gone.py'"),
    ("check elude --kind nosuch", "--kind nosuch is unknown"),
    ("check elude --set topk=3", "elude has no setting 'topk'"),
    ("check elude --set k", "write KEY=VALUE"),
    ("doctor --scale tiny", "--scale belongs to --suite"),
    ("doctor --suite nosuch", "There is no suite 'nosuch'"),
    ("list sites", "needs a backbone"),
    ("list sites --backbone nosuch", "There is no backbone 'nosuch'"),
    ("list methods --backbone x", "--backbone belongs to `harness list sites`"),
    ("new method elude.py", "There is a method 'elude' already"),
    ("new nosuch x.py", "There is no template for 'nosuch'"),
    ("judge --rescore --dry-run", "give one of the two"),
    ("judge --suite nosuch", "There is no results store"),
    ("stability", "There is no results store"),
    ("validity", "There is no results store"),
    ("compare a", "Give two rows"),
]


#: Command line -> exit code, message, and whether torch was imported.
Answers = dict[str, list[str | int | bool]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Exit code, message and whether torch was imported of every mistake, all in one process of its own."""
    code = """
        import contextlib, io, json, sys
        from harness.cli import main

        answers = {}
        for line in json.load(sys.stdin):
            sys.argv = ["harness", *line.split()]
            with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
                try:
                    main()
                    code = 0
                except SystemExit as end:
                    code = end.code
            answers[line] = [code, err.getvalue(), "torch" in sys.modules]
        print(json.dumps(answers))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        input=json.dumps([line for line, _ in MISTAKES]),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path_factory.mktemp("here"),
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "1000", "PATH": "", "HOME": "/nonexistent"},
    )
    result: Answers = json.loads(done.stdout)
    return result


@pytest.mark.parametrize(("line", "sentence"), MISTAKES)
def test_mistakes_are_answered_at_once(answers: Answers, line: str, sentence: str) -> None:
    code, text, torch_imported = answers[line]
    assert isinstance(text, str)
    assert sentence in " ".join(text.split()) and code == 2, text
    assert "Traceback" not in text and not torch_imported


def test_nothing_is_created(answers: Answers, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert answers and not list(Path(tmp_path_factory.getbasetemp()).glob("here*/*"))
