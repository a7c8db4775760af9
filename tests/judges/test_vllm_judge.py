"""The ``vllm`` panel against a stand-in that accepts what the real package accepts, and nothing else."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from paths import FIXTURES
from vllm_stub import (
    RIGHT,
    SIGNATURES,
    YES,
    Recorder,
    Squares,
    judged,
    without_pictures,
)

from judges.base import Judge, Question, Reply
from judges.concepts import DETECT, EXPLAIN
from judges.grids import Album, Grid, Tile
from judges.panel import Wanted, ask, make_panel
from judges.panels.vllm import ENVIRONMENT
from judges.parsing import MAX_CONCEPT_CHARS
from judges.prompt import PROMPT, REPLY_SCHEMA, reply_schema
from methods.errors import UserError

pytestmark = pytest.mark.run


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    recorder.install(monkeypatch)
    return recorder


def test_the_papers_three_models_with_its_settings_one_after_another(vllm: Recorder, tmp_path: Path) -> None:
    kept = judged(tmp_path, 2)
    assert [engine["model"] for engine in vllm.engines] == [
        "Qwen/Qwen3-VL-30B-A3B-Instruct",
        "google/gemma-3-27b-it",
        "OpenGVLab/InternVL3-14B-hf",
    ]
    for engine in vllm.engines:
        assert {key: engine[key] for key in engine if key != "model"} == {
            "tensor_parallel_size": 1,
            "max_model_len": 32768,
            "max_num_seqs": 64,
            "max_num_batched_tokens": 8192,
            "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
            "limit_mm_per_prompt": {"image": 2},
            "seed": 42,
        }
    assert vllm.alive == 0 and vllm.cleaned == 3
    assert len(kept) == 6 and all(reply.verdict.answer == "B" for reply in kept)
    assert vllm.sampled[0] == {
        "temperature": 0.0,
        "max_tokens": 256,
        "seed": 42,
        "structured_outputs": {"json": reply_schema(400)},
    }
    assert reply_schema(400)["properties"]["reasoning_b"] == {"type": "string", "maxLength": 400}
    assert reply_schema(400)["properties"]["answer"] == REPLY_SCHEMA["properties"]["answer"]
    assert kept[0].prompt_tokens == 5 and kept[0].completion_tokens == 3
    content = vllm.asked[0][0]["content"]
    assert [part["type"] for part in content] == ["image_pil", "image_pil", "text"] and content[2]["text"] == PROMPT
    assert content[0]["image_pil"].size == (1008, 1008)


def test_the_papers_protocol_is_free_text_that_is_never_repeated(vllm: Recorder, tmp_path: Path) -> None:
    vllm.say = lambda asked: ("Both grids show dogs.", "stop")
    kept = judged(tmp_path, 2, ["m"], protocol="paper")
    assert [(reply.key.prompt_version, reply.attempt, reply.verdict.valid) for reply in kept] == [
        ("paper-1", 1, False)
    ] * 2
    assert vllm.sampled == [{"temperature": 0.0, "max_tokens": 256, "seed": 42}] * 2
    vllm.say = lambda asked: (f"Sure!\n{RIGHT}", "stop")
    assert [reply.verdict.answer for reply in judged(tmp_path, 2, ["m"], protocol="paper")] == ["B", "B"]


def test_concepts_are_named_and_detected_with_schemas_of_their_own(vllm: Recorder, tmp_path: Path) -> None:
    vllm.say = lambda asked: (
        '{"concept": "dogs"}' if "Name the" in asked[0][0]["content"][-1]["text"] else YES,
        "stop",
    )
    (judge,) = make_panel("vllm", Wanted("vit", ({"name": "m"},))).judges
    album = Album(Squares(), tmp_path)
    single = Grid((Tile("a", 0),), side=1)
    kept: list[Reply] = []
    with judge:
        ask(judge, [Question(Grid((Tile("a", 0),)))], EXPLAIN, album, kept.extend)
        ask(judge, [Question(single, concept="dogs"), Question(single, concept="cats")], DETECT, album, kept.extend)
    assert [EXPLAIN.read(kept[0].text).answer, DETECT.read(kept[1].text).answer] == ["dogs", "yes"]
    assert len({reply.key for reply in kept}) == 3 and {reply.attempt for reply in kept} == {1}
    schemas = [sampled["structured_outputs"]["json"] for sampled in vllm.sampled]
    assert schemas == [reply_schema(MAX_CONCEPT_CHARS, EXPLAIN.schema), DETECT.schema, DETECT.schema]
    contents = [message[0]["content"] for message in vllm.asked]
    assert [part["type"] for part in contents[0]] == [part["type"] for part in contents[1]] == ["image_pil", "text"]
    assert [content[0]["image_pil"].size for content in contents] == [(1008, 1008), (336, 336), (336, 336)]
    assert 'Concept: "cats"' in contents[2][1]["text"]


def test_replies_are_kept_as_they_come_and_the_engine_is_never_idle(
    vllm: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pictures(monkeypatch)
    kept = judged(tmp_path, 500, ["m"])
    assert len(kept) == len({reply.key for reply in kept}) == 500
    # 128 at a time, and half of them come in each step: more than the 64 that are computed at a time are always there.
    assert vllm.most == 128 and vllm.steps <= 14
    assert all(reply.seconds is not None and reply.seconds >= 0 for reply in kept)


def test_a_cut_off_reply_gets_more_room_and_another_seed(vllm: Recorder, tmp_path: Path) -> None:
    vllm.say = lambda asked: (RIGHT, "stop") if asked[1]["max_tokens"] > 256 else ('{"reasoning_a": "', "length")
    kept = judged(tmp_path, 1, ["m"])
    assert [(reply.attempt, reply.verdict.answer) for reply in kept] == [(1, None), (2, "B")]
    assert (vllm.sampled[1]["max_tokens"], vllm.sampled[1]["seed"]) == (512, 43)


def test_messages_of_vllm_go_to_stderr_and_nothing_to_its_authors(vllm: Recorder, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ENVIRONMENT:
            patch.delenv(name, raising=False)
        patch.setenv("VLLM_LOGGING_STREAM", "ext://sys.stdout")
        judged(tmp_path, 1, ["m"])
        assert os.environ["VLLM_LOGGING_STREAM"] == "ext://sys.stdout", "what the user sets stays"
        assert os.environ["VLLM_NO_USAGE_STATS"] == os.environ["VLLM_DO_NOT_TRACK"] == "1"


@pytest.mark.parametrize("used", [False, True])
def test_cached_memory_of_the_gpu_is_released_before_a_model_starts(
    vllm: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: bool
) -> None:
    released: list[int] = []
    importlib.import_module("torch")
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: used)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: released.append(len(vllm.engines)))
    judged(tmp_path, 1, ["m", "n", "o"])
    assert released == ([0, 1, 2] if used else [])


def test_options_of_the_engine_and_which_make_another_judge(vllm: Recorder, tmp_path: Path) -> None:
    def judge_of(**options: Any) -> Judge:
        (judge,) = make_panel("vllm", Wanted("vit", ({"name": "m"},), options)).judges
        return judge

    plain = judge_of()
    assert plain.settings()["reason_chars"] == 400
    assert plain.settings()["structured_outputs_config"] == {"backend": "xgrammar", "disable_any_whitespace": True}
    memory = {"max_num_batched_tokens": 2048, "enforce_eager": True, "kv_cache_memory_bytes": 2**30}
    assert judge_of(**memory, limit_mm_per_prompt={"image": {"count": 2, "width": 1008, "height": 1008}}).id == plain.id
    for other in ({"mm_processor_kwargs": {"max_pixels": 99}}, {"structured_outputs_config": {"backend": "guidance"}}):
        assert judge_of(**other).id != plain.id
    judged(tmp_path, 1, ["m"], **memory, generation_config="vllm")
    assert {key: vllm.engines[0][key] for key in memory} == memory and vllm.engines[0]["generation_config"] == "vllm"
    with pytest.raises(UserError, match="max_num_batched_tokens"):
        judge_of(max_num_batched_tokens=0)


def test_what_cannot_be_is_explained(vllm: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="has no option 'temperature'"):
        judged(tmp_path, 1, ["m"], temperature=1)
    vllm.alive = 1
    with pytest.raises(UserError, match="could not start 'm': the GPU is full"):
        judged(tmp_path, 1, ["m"])
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match=r"needs the package vllm"):
        judged(tmp_path, 1, ["m"])


def _python_with_vllm() -> str | None:
    named = os.environ.get("HARNESS_VLLM_PYTHON")
    return named or (sys.executable if importlib.util.find_spec("vllm") else None)


@pytest.mark.slow
def test_the_signatures_are_those_of_the_installed_package() -> None:
    python = _python_with_vllm()
    if python is None:
        pytest.skip("vllm is not installed; name a Python that has it in HARNESS_VLLM_PYTHON")
    script = str(FIXTURES / "make_vllm_signatures.py")
    found = json.loads(subprocess.run([python, script], capture_output=True, text=True, check=True).stdout)
    for name in SIGNATURES:
        if name != "version":
            # Newer versions may add; what is relied on must be there.
            assert set(SIGNATURES[name]) <= set(found[name]), name
