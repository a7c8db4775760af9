"""The ``openai`` panel against a local server that misbehaves in every way there is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from misbehaving_server import picture_size, serving
from PIL import Image

from judges.base import Question, Reply
from judges.grids import Album, Grid, Tile
from judges.panel import Wanted, ask, make_panel
from judges.panels.openai import OpenAIJudge, OpenAIOptions
from judges.prompt import PROMPT, REPLY_SCHEMA, prompt_for
from methods.errors import UserError

pytestmark = pytest.mark.run

SETTINGS: dict[str, Any] = {"timeout_s": 0.6, "backoff_s": 0.02, "longest_wait_s": 0.1, "tries": 3, "concurrency": 6}


class Squares:
    def open(self, index: int) -> Image.Image:
        return Image.new("RGB", (40, 40), (index % 256, index // 256, 90))


@pytest.fixture
def album(tmp_path: Path) -> Album:
    return Album(Squares(), tmp_path)


def questions(count: int) -> list[Question]:
    return [Question(Grid((Tile(f"a{i}", 2 * i),)), Grid((Tile(f"b{i}", 2 * i + 1),))) for i in range(count)]


def asked(url: str, album: Album, count: int, protocol: str = "default", **settings: Any) -> dict[str, list[Reply]]:
    judge = OpenAIJudge("some/model", OpenAIOptions(**{"base_url": url, **SETTINGS, **settings}))
    kept: dict[str, list[Reply]] = {}

    def keep(replies: Sequence[Reply]) -> None:
        for reply in replies:
            kept.setdefault(reply.key.grid_a, []).append(reply)

    with judge:
        ask(judge, questions(count), prompt_for("plain", protocol), album, keep)
    return kept


def test_the_papers_protocol_sends_no_schema_and_repeats_nothing(album: Album) -> None:
    with serving(lambda number: "prose") as server:
        kept = asked(server.url, album, 2, protocol="paper")
    assert [len(replies) for replies in kept.values()] == [1, 1] and len(server.bodies) == 2
    for body in server.bodies:
        assert "response_format" not in body and body["temperature"] == 0.0
        assert body["messages"][0]["content"][-1]["text"] == prompt_for("plain", "paper").text


WAYS = ("right", "slow", "429", "500", "503", "truncated", "cut after", "prose", "wrong keys", "drops", "no completion")


def test_every_call_ends_as_a_verdict_or_an_invalid_in_bounded_time_and_none_twice(album: Album) -> None:
    count = 2 * len(WAYS)
    started = time.monotonic()
    with serving(lambda number: WAYS[(number if number >= 0 else -number - 1) % len(WAYS)]) as server:
        kept = asked(server.url, album, count)
    assert time.monotonic() - started < 20
    assert len(kept) == count
    finals = [replies[-1] for replies in kept.values()]
    valid = [reply for reply in finals if reply.verdict.valid]
    assert len(valid) == 2 * 3  # right, slow, cut after the answer
    for replies in kept.values():
        assert [reply.attempt for reply in replies] == list(range(1, len(replies) + 1)) and len(replies) <= 3
        assert not any(reply.verdict.valid for reply in replies[:-1])
        assert replies[-1].verdict.valid or len(replies) == 3 or not replies[-1].came
    # Whatever was answered rightly was asked once.
    assert all(server.seen[name] == 1 for name, times in server.said.items() if times)
    assert max(server.seen.values()) <= 3 and server.at_once <= SETTINGS["concurrency"]
    reasons = {reply.finish_reason for reply in finals if not reply.came}
    assert reasons == {"http 429", "http 500", "http 503", "connection failed: RemoteProtocolError"} or all(
        reason.startswith(("http", "connection failed")) for reason in reasons
    )
    assert any(reply.text == "Grid A is more coherent." for reply in finals)
    assert any(reply.finish_reason == "length" for reply in finals)


@pytest.mark.parametrize("way", ["429", "500", "drops", "truncated", "hangs"])
def test_what_fails_once_succeeds_later(album: Album, way: str) -> None:
    with serving(lambda number: way if number >= 0 else "right") as server:
        kept = asked(server.url, album, 4)
    assert all(replies[-1].verdict.answer == "A" for replies in kept.values())
    assert set(server.seen.values()) == {2}
    if way == "truncated":
        assert sorted(body["max_tokens"] for body in server.bodies) == [256] * 4 + [512] * 4


@pytest.mark.parametrize("way", ["hangs", "drips"])
def test_a_server_that_never_ends_is_left(album: Album, way: str) -> None:
    started = time.monotonic()
    with serving(lambda number: way) as server:
        kept = asked(server.url, album, 3)
        waited = time.monotonic() - started
    assert waited < 3 * (0.6 + 0.1) + 3
    assert [replies[0].finish_reason for replies in kept.values()] == ["no reply within 0.6 s"] * 3


def test_what_is_sent(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with serving(lambda number: "right") as server:
        kept = asked(server.url, album, 1)
    (body,) = server.bodies
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == ("some/model", 0.0, 256, 42)
    assert body["response_format"]["json_schema"]["schema"] == REPLY_SCHEMA
    *pictures, text = body["messages"][0]["content"]
    assert text == {"type": "text", "text": PROMPT}
    assert [picture_size(part["image_url"]["url"]) for part in pictures] == [(1008, 1008)] * 2
    assert server.headers[0]["authorization"] == "Bearer sk-secret"
    (replies,) = kept.values()
    assert replies[0].prompt_tokens == 9 and replies[0].seconds is not None


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_a_judge_that_cannot_be_asked_stops_at_once_and_no_key_is_shown(
    album: Album, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with serving(lambda number: status) as server, pytest.raises(UserError, match=status) as caught:
        asked(server.url, album, 50)
    assert sum(server.seen.values()) <= SETTINGS["concurrency"]
    assert "sk-secret" not in str(caught.value)


def test_errors_that_echo_the_key_are_not_stored(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with serving(lambda number: "400") as server:
        kept = asked(server.url, album, 1)
    (replies,) = kept.values()
    assert len(replies) == 3 and all("sk-secret" not in repr(reply) for reply in replies)


def test_a_server_that_is_away_is_given_up(album: Album) -> None:
    with pytest.raises(UserError, match=r"no reply to 32 calls in a row \(connection failed"):
        asked("http://127.0.0.1:9/v1", album, 60, tries=1)


def test_requests_are_spaced(album: Album) -> None:
    started = time.monotonic()
    with serving(lambda number: "right") as server:
        asked(server.url, album, 5, requests_per_minute=1200)
    assert time.monotonic() - started >= 4 * 0.05


def test_it_works_inside_a_running_loop(album: Album) -> None:
    async def notebook(url: str) -> int:
        return len(asked(url, album, 2))

    with serving(lambda number: "right") as server:
        assert asyncio.run(notebook(server.url)) == 2


def test_a_store_that_cannot_be_written_ends_the_asking(album: Album) -> None:
    judge_error = OSError("disk full")

    def keep(replies: Sequence[Reply]) -> None:
        raise judge_error

    with serving(lambda number: "right") as server, pytest.raises(OSError, match="disk full"):
        judge = OpenAIJudge("m", OpenAIOptions(base_url=server.url, **SETTINGS))
        ask(judge, questions(20), prompt_for("plain"), album, keep)


def test_wrong_settings_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(UserError, match="has no valid address"):
        make_panel("openai", Wanted("vit"))
    with pytest.raises(UserError, match="'api_key' of an openai panel is wrong") as caught:
        make_panel("openai", Wanted("vit", options={"api_key": "sk-secret"}))
    assert "sk-secret" not in str(caught.value)
    with pytest.raises(UserError, match="base_url contains a user or password"):
        make_panel("openai", Wanted("vit", options={"base_url": "http://me:sk-secret@host/v1"}))
    panel = make_panel("openai", Wanted("vit", options={"base_url": "http://host/v1"}))
    assert panel.id == "openai:Qwen3-VL-30B-A3B-Instruct+gemma-3-27b-it+InternVL3-14B-hf"
    other = make_panel("openai", Wanted("vit", options={"base_url": "http://elsewhere/v1", "concurrency": 2}))
    assert [judge.id for judge in panel.judges] == [judge.id for judge in other.judges]
