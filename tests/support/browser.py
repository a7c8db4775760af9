"""The app in a real browser: its server, a visit with everything the browser complains of, and accessibility checks."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.commands.app import command

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
PATIENCE_S = 30
expect = playwright.expect
CHART = "[data-testid=stVegaLiteChart] svg.marks"
LOADED = "images => images.length > 0 && images.every(own => own.complete && own.naturalWidth > 0)"


@contextlib.contextmanager
def app_server(store: Path, pictures: Path, folder: Path) -> Iterator[str]:
    """Start the app on a store and return its address; the server ends with the context."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "HARNESS_STORE": str(store), "HARNESS_IMAGES": str(pictures)}
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command(port, "127.0.0.1", browser=False),
            env=environment,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(f"http://127.0.0.1:{port}/_stcore/health", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while server.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Start a headless Chromium."""
    with playwright.sync_playwright() as driver:
        # Every launch has a profile folder of its own, which is removed.
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield opened
        finally:
            opened.close()


@dataclasses.dataclass
class Visit:
    """A page and what the browser said of it."""

    page: Any
    address: str
    problems: list[str] = dataclasses.field(default_factory=list)

    def open(self, path: str) -> Any:
        self.page.goto(f"{self.address}/{path}")
        return self.page

    def heading(self, text: str) -> None:
        expect(self.page.locator("h1")).to_have_text(text)

    def pictures(self) -> None:
        """Wait until there are images, all with pixels."""
        images = self.page.locator("[data-testid=stImage] img")
        expect(images.first).to_be_visible()
        until = time.monotonic() + PATIENCE_S
        while not images.evaluate_all(LOADED):
            assert time.monotonic() < until, "an image was not loaded"
            time.sleep(0.1)

    def is_idle(self) -> None:
        """Wait until the app has finished the page."""
        expect(self.page.locator("h1").first).to_be_visible()
        expect(self.page.locator("[data-testid=stApp]")).to_have_attribute("data-test-script-state", "notRunning")

    def serious_findings(self) -> list[str]:
        """Return the serious and critical findings of axe-core on the page, one line each."""
        return serious_findings(self.page)


def serious_findings(page: Any, options: dict[str, Any] | None = None) -> list[str]:
    """Return the serious and critical findings of axe-core with these options on a page, one line each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    result = axe.Axe().run(page, options=options)
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}: {node['html'][:200]}"
        for rule in result.response["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@contextlib.contextmanager
def visiting(browser: Any, address: str, *, width: int = 1280, height: int = 900) -> Iterator[Visit]:
    """Open a fresh visit; at its end the browser may have complained of nothing."""
    expect.set_options(timeout=1000 * PATIENCE_S)
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(1000 * PATIENCE_S)
    page = context.new_page()
    visit = Visit(page, address)
    # On a link into the app streamlit's client first asks for these two beside the page, and then at the root.
    harmless = {
        f"{address}/{path}/_stcore/{name}"
        for path in ("front", "leaderboard", "method", "units", "compare", "steer", "judges", "vote", "runs")
        for name in ("health", "host-config")
    }

    def said(message: Any) -> None:
        if message.type == "error" and message.location.get("url") not in harmless:
            visit.problems.append(f"console: {message.text} ({message.location.get('url')})")

    def asked(dialog: Any) -> None:
        visit.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", said)
    page.on("pageerror", lambda error: visit.problems.append(f"error: {error}"))
    page.on("dialog", asked)
    try:
        yield visit
        assert visit.problems == [], visit.problems
        expect(page.locator("[data-testid=stException]")).to_have_count(0)
    finally:
        context.close()


def choose(page: Any, label: str, option: str) -> None:
    page.locator("[data-testid=stSelectbox]").filter(has_text=label).locator("input").click()
    page.get_by_role("option", name=option, exact=True).click()


def axis_is(page: Any, text: str) -> None:
    """Wait until the chart's horizontal axis is called so."""
    expect(page.locator(f"{CHART} .role-axis-title text", has_text=text)).to_have_count(1)


def mark(page: Any, name: str, *, published: bool = False) -> Any:
    """A method's mark in the chart, once the page has stopped moving under it."""
    found = page.locator(f"{CHART} .mark-symbol path[aria-label^={json.dumps(f'{name}: ')}]")
    found = found.filter(has=page.locator("xpath=self::*[contains(@aria-label, 'published')]")) if published else found
    expect(found.first).to_be_attached()
    before: Any = None
    while (now := found.first.bounding_box()) != before:
        before = now
        page.wait_for_timeout(500)
    return found
