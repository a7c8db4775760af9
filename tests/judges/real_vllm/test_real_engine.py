"""The ``vllm`` panel on the real engine with tiny random models, on the CPU: ``make test-vllm``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from paths import ROOT
from PIL import Image

from judges.base import Question, Reply
from judges.grids import Album, Grid, Tile
from judges.judge_process import Assignment, Job
from judges.panel import Wanted, ask, make_panel
from judges.processes import ask_in_processes
from judges.prompt import Prompt, prompt_for
from methods.errors import UserError

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

FAMILIES = ("gemma3", "internvl", "qwen3_vl")


class Squares:
    """Images of one colour each."""

    def open(self, index: int) -> Image.Image:
        return Image.new("RGB", (40, 40), (37 * index % 256, 91 * index % 256, index % 256))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    import tiny_vlm

    folder = tmp_path_factory.mktemp("models")
    for seed, family in enumerate(FAMILIES):
        tiny_vlm.write(folder / family, family, seed=seed, px=224)
    return {family: folder / family for family in FAMILIES}


def questions(count: int) -> list[Question]:
    return [Question(Grid((Tile(f"a{i}", i),)), Grid((Tile(f"b{i}", 255 - i),))) for i in range(count)]


def judged(
    folder: Path, names: Sequence[Path], count: int, kept: list[Reply], prompt: Prompt | None = None, **options: object
) -> None:
    panel = make_panel("vllm", Wanted("vit", tuple({"name": str(name)} for name in names), options))
    for judge in panel.judges:
        with judge:
            ask(judge, questions(count), prompt or prompt_for("plain"), Album(Squares(), folder), kept.extend)


def test_three_models_one_after_another(models: dict[str, Path], tmp_path: Path) -> None:
    kept: list[Reply] = []
    judged(tmp_path, list(models.values()), 5, kept)
    assert len({(reply.key, reply.attempt) for reply in kept}) == len(kept) >= 15
    for model in models.values():
        of_model = [reply for reply in kept if str(model) in reply.key.judge]
        valid = [reply for reply in of_model if reply.verdict.valid]
        assert len({reply.key for reply in of_model}) == 5 and valid, f"{model.name}: {of_model}"
        # No white space between the parts of the JSON.
        assert all(reply.text is not None and '{"reasoning_a":"' in reply.text for reply in valid)
        assert all(reply.prompt_tokens and reply.completion_tokens for reply in of_model)


def test_a_killed_engine_ends_in_one_sentence_with_every_reply_kept(models: dict[str, Path], tmp_path: Path) -> None:
    kept: list[Reply] = []

    class Killing(list[Reply]):
        def extend(self, replies: Sequence[Reply]) -> None:  # type: ignore[override]
            kept.extend(replies)
            if len(kept) >= 3:
                for child in children():
                    os.kill(child, signal.SIGKILL)

    with pytest.raises(
        UserError, match=r"The vLLM engine of .* died; its reason stands in the log above\. The replies"
    ):
        judged(tmp_path, [models["gemma3"]], 400, Killing())
    assert 3 <= len(kept) < 400 and all(reply.came for reply in kept)


def children() -> list[int]:
    """Return the processes that this one has started and that are engines of vLLM."""
    listed = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "pid=,args="], capture_output=True, text=True)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "EngineCore" in line]


@pytest.mark.parametrize("end", ["killed", "interrupted"])
def test_the_engine_ends_with_a_judge_in_a_process_of_its_own(
    models: dict[str, Path], tmp_path: Path, end: str
) -> None:
    kept: list[Reply] = []
    said: list[str] = []
    engines: list[int] = []

    def keep(replies: Sequence[Reply]) -> None:
        kept.extend(replies)
        if len(kept) >= 3 and not engines:
            judge = int(said[0].split(" starts in process ")[1].split()[0].rstrip("."))
            engines.extend(process for process in session(judge) if process != judge)
            if end == "killed":
                os.kill(judge, signal.SIGKILL)
            else:
                signal.raise_signal(signal.SIGINT)

    (judge,) = make_panel("vllm", Wanted("vit", ({"name": str(models["gemma3"])},))).judges
    assigned = [Assignment(judge, [Job(questions(400), prompt_for("plain"), keep)])]
    album = Album(Squares(), tmp_path)
    if end == "killed":
        [failure] = ask_in_processes(assigned, album, said.append)
        assert "its process was killed by SIGKILL, often because memory ran out. The" in failure
    else:
        with pytest.raises(KeyboardInterrupt):
            ask_in_processes(assigned, album, said.append)
    assert 3 <= len(kept) < 400 and all(reply.came for reply in kept)
    assert engines and not set(engines) & set(session())


def session(leader: int | None = None) -> list[int]:
    """Return the processes of a session, or all, without those that have ended."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,sid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [int(pid) for pid, sid, state in rows if state[0] != "Z" and (leader is None or int(sid) == leader)]


def test_a_prompt_that_is_too_long_is_refused_alone(models: dict[str, Path], tmp_path: Path) -> None:
    kept: list[Reply] = []
    judged(tmp_path, [models["gemma3"]], 2, kept, Prompt("long", "word " * 40_000))
    assert [reply.came for reply in kept] == [False, False]
    assert all(reply.finish_reason.startswith("error: ") and "\n" not in reply.finish_reason for reply in kept)


def test_a_model_without_a_tokenizer_does_not_start(models: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(models["gemma3"], broken)
    for file in broken.glob("token*"):
        file.unlink()
    with pytest.raises(UserError, match="vLLM could not start") as refused:
        judged(tmp_path, [broken], 1, [])
    assert "\n" not in str(refused.value) and "validation error for" not in str(refused.value)


# Three models start one after another, which takes minutes each on a busy machine.
@pytest.mark.timeout(2400)
def test_a_whole_tournament_from_the_command_line_to_a_board(models: dict[str, Path], tmp_path: Path) -> None:
    store = tmp_path / "s.duckdb"

    def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "harness", *arguments, "--store", str(store)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    suite = ["--suite", "demo", "--scale", "tiny"]
    ran = harness("run", *suite, "--method", "identity", "--method", "random_split", "--method", "topk_sae")
    assert ran.returncode == 0, ran.stderr[-2000:]
    judges = [part for model in models.values() for part in ("--judge", str(model))]
    done = harness("judge", *suite, "--panel", "vllm", "--pairs", "2", *judges)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "INFO" not in done.stdout, "messages of vLLM belong to stderr"
    board = harness("leaderboard")
    assert board.returncode == 0 and "vllm:gemma3+internvl+qwen3_vl" in board.stdout, board.stdout
