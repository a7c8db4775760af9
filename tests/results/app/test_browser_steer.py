"""The page Steer in a real browser, with the worker of `harness app --steer` on a planted layer."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

pytest.importorskip("streamlit")
pytest.importorskip("playwright.sync_api")
from browser import CHART, Visit, _wait, expect

import harness
from harness.steering import label_units
from results import open_store

pytestmark = pytest.mark.browser

SUITE = Path(harness.__file__).parent / "suites" / "_planted_two_concepts.toml"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of `harness app --steer` on a store with labelled units of a planted layer."""
    folder = tmp_path_factory.mktemp("steer")
    settings = ["evaluation.metrics=['r2']"]
    loaded = harness.load_suite(SUITE, methods=("oracle",), token_seeds=(42,), settings=settings)
    suite = loaded.model_copy(update={"targets": loaded.targets[:1]})
    assert harness.run_suite(suite, folder / "results.duckdb").failed == 0
    label_units(open_store(folder / "results.duckdb", read_only=False), suite, scorers=("classes",))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-m",
                    "harness",
                    "app",
                    "--steer",
                    "--suite",
                    str(SUITE),
                    "--store",
                    "results.duckdb",
                ),
                *("--device", "cpu", "--address", "127.0.0.1", "--port", str(port), "--no-browser"),
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(f"http://127.0.0.1:{port}/_stcore/health", server, log)
        (worker,) = children(server.pid)
        yield f"http://127.0.0.1:{port}"
        # Only the server is ended: the worker follows it.
        server.send_signal(signal.SIGTERM)
        server.wait(20)
        until = time.monotonic() + 20
        while Path(f"/proc/{worker}").exists() and time.monotonic() < until:
            time.sleep(0.1)
        assert not Path(f"/proc/{worker}").exists()
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def children(pid: int) -> list[int]:
    """Processes that were started by one, and are workers."""
    lines = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in lines if b"worker" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_a_concept_is_amplified_and_the_link_shows_it_again(visit: Visit) -> None:
    page = visit.open("steer")
    visit.heading("Steer")
    visit.is_idle()
    page.get_by_role("textbox", name="Amplify").fill("concept 03")
    page.get_by_role("button", name="Steer", exact=False).last.click()
    finding = page.locator("h3").first
    expect(finding).to_have_text(re.compile(r"“concept \d\d” (rises|falls) from|No class changes"))
    expect(page.locator(CHART).first).to_be_visible()
    expect(page).to_have_url(re.compile("amplify=concept(%20|\\+)03"))
    expect(page.get_by_text(re.compile(r"\d+ of 16 patches were changed"))).to_be_visible()
    expect(page.get_by_text(re.compile(r"^\d+ units? changed"))).to_be_visible()
    words = finding.text_content()
    page.reload()
    expect(finding).to_have_text(words)
    expect(page.get_by_role("textbox", name="Amplify")).to_have_value("concept 03")


def test_another_image_is_chosen_with_the_keyboard(visit: Visit) -> None:
    page = visit.open("steer?amplify=concept%2003")
    visit.is_idle()
    page.get_by_role("button", name="Choose another image").focus()
    page.keyboard.press("Enter")
    button = page.get_by_role("button", name=re.compile("^Choose ")).nth(3)
    expect(button).to_be_attached()
    button.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("image="))
    visit.is_idle()
    expect(page.locator("h3").first).to_be_visible()


def test_an_unmatched_concept_is_a_sentence(visit: Visit) -> None:
    page = visit.open("steer?amplify=zeppelin&matcher=words")
    expect(page.get_by_role("alert").filter(has_text="zeppelin")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["steer", "steer?amplify=concept%2003"])
def test_the_page_is_accessible(visit: Visit, path: str, scheme: str) -> None:
    visit.page.emulate_media(color_scheme=scheme)
    visit.open(path)
    visit.pictures()
    visit.is_idle()
    if "amplify" in path:
        expect(visit.page.locator(CHART).first).to_be_visible()
    assert visit.serious_findings() == []


@pytest.mark.parametrize("width", [700, 1280])
def test_nothing_is_wider_than_the_page(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 720})
    page = visit.open("steer?amplify=concept%2003")
    expect(page.locator(CHART).first).to_be_visible()
    visit.is_idle()
    sizes = page.evaluate("(e => [e.scrollWidth, e.clientWidth])(document.querySelector('[data-testid=stMain]'))")
    assert sizes[0] <= sizes[1]


def test_the_form_is_in_the_first_screen(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 1280, "height": 720})
    visit.open("steer")
    visit.is_idle()
    expect(visit.page.get_by_role("button", name="Steer", exact=False).last).to_be_in_viewport()
