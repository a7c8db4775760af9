"""Every misbehaviour of a server has a bound on time and memory, ends as one reply, and never shows the key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hostile_server import LEGIBLE, MISBEHAVIOURS, STREAMS, HostileServer, hostile_server
from paths import ROOT
from PIL import Image

from judges.base import Question, Reply
from judges.grids import Album, Grid, Tile
from judges.panel import ask
from judges.panels.openai import OpenAIJudge, OpenAIOptions
from judges.prompt import prompt_for
from methods.errors import UserError

pytestmark = pytest.mark.run

KEY = "sk-Secret/0123-abcd"
#: A misbehaviour that never ends is left after this time; the others end by themselves.
TIMEOUT_S = 0.15
#: Seconds of one read of 64 kB that is being parsed when the time is over, on a busy machine.
SLACK_S = 3.0
#: Bytes per call, as docs/judging.md states.
MEMORY = 8 * 2**20


class Outcome(NamedTuple):
    server: HostileServer
    calls: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    names = ["right", *MISBEHAVIOURS]
    with hostile_server() as server:
        calls = [(server.url(name), TIMEOUT_S if name in STREAMS else 20.0) for name in names]
        script = Path(__file__).parents[1] / "support" / "hostile_client.py"
        environment = {**os.environ, "OPENAI_API_KEY": KEY, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, script, json.dumps(calls)], env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(lines) == len(names) and not done.stderr
        # The first call imports packages, and is not measured.
        return Outcome(server, dict(zip(names[1:], lines[1:], strict=True)))


def test_every_misbehaviour_is_bounded_in_time_and_memory(outcome: Outcome) -> None:
    slow = {name: call["seconds"] for name, call in outcome.calls.items() if call["seconds"] > TIMEOUT_S + SLACK_S}
    large = {name: call["bytes"] for name, call in outcome.calls.items() if call["bytes"] > MEMORY}
    assert not slow and not large


def test_a_reply_is_a_verdict_only_if_it_is_legible(outcome: Outcome) -> None:
    assert {name for name, call in outcome.calls.items() if call["answer"] == "A"} == set(LEGIBLE)
    assert not any(call["answer"] == "B" for call in outcome.calls.values())
    assert all(len(call["finish_reason"]) > 0 for call in outcome.calls.values())
    assert not any(outcome.calls[name]["tokens"] for name in LEGIBLE if name.startswith("token count"))


def test_the_key_is_in_no_reply_and_goes_to_no_other_host(outcome: Outcome) -> None:
    for name, call in outcome.calls.items():
        for form in (KEY, KEY.lower(), KEY[:4] + "\\n", "c2stU2VjcmV0", "736b2d5365", "s\\u200bk", "%73%6B", "u0073"):
            assert form not in call["stored"] and form not in call["finish_reason"], name
    assert outcome.calls["key in clear"]["stored"].count("***") == 2
    assert outcome.server.asked["redirect 308"] == 1 and outcome.server.elsewhere_received == []


class Squares:
    def open(self, index: int) -> Image.Image:
        return Image.new("RGB", (4, 4))


def asked(url: str, folder: Path, n: int, **settings: Any) -> list[Reply]:
    options = {"timeout_s": 5.0, "tries": 2, "backoff_s": 0.01, "longest_wait_s": 0.02, "concurrency": 2, **settings}
    kept: list[Reply] = []
    questions = [Question(Grid((Tile(f"a{i}", 0),)), Grid((Tile(f"b{i}", 1),))) for i in range(n)]
    judge = OpenAIJudge("m", OpenAIOptions(base_url=url, **options))
    ask(judge, questions, prompt_for("plain"), Album(Squares(), folder), kept.extend)
    return kept


@pytest.mark.parametrize("name", ["nested arrays", "deflate bomb", "encoding br", "redirect 302", "garbage", "reset"])
def test_one_odd_reply_among_others_ends_nothing(tmp_path: Path, name: str) -> None:
    with hostile_server() as server:
        kept = asked(server.url(name, times=1), tmp_path, 3)
    last = {reply.key: reply for reply in kept}
    assert len(last) == 3 and all(reply.verdict.answer == "A" for reply in last.values())


def test_a_server_without_tls_is_no_reply(tmp_path: Path) -> None:
    with hostile_server() as server:
        (reply,) = asked(server.url("right").replace("http:", "https:"), tmp_path, 1)
    assert not reply.came and reply.finish_reason == "connection failed: ConnectError"


@pytest.mark.parametrize("key", ["sk-sec\nret", "sk-secr\u00e9t", "sk sec ret"])
def test_a_key_that_cannot_be_sent_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UserError, match="OPENAI_API_KEY contains white space or characters other than") as caught:
        asked("http://127.0.0.1:9/v1", tmp_path, 1)
    assert "sec" not in str(caught.value)


def test_a_key_in_the_address_is_refused() -> None:
    with pytest.raises(UserError, match="contains a query or fragment") as caught:
        OpenAIJudge("m", OpenAIOptions(base_url="http://host/v1?key=sk-secret"))
    assert "sk-secret" not in str(caught.value)
