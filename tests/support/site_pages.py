"""Pages of a static site, parsed strictly: balanced tags, unique ids, and every link and attribute."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

VOID = {"meta", "link", "img", "input", "br", "hr"}
TAGS = VOID | {
    *("html", "head", "body", "title", "script", "header", "nav", "main", "footer", "section", "article", "figure"),
    *("figcaption", "h1", "h2", "h3", "p", "a", "ul", "li", "dl", "dt", "dd", "div", "span", "em", "strong", "small"),
    *("code", "label", "details", "summary", "table", "caption", "thead", "tbody", "tr", "th", "td"),
    *("svg", "g", "path", "circle", "text"),
}
#: Attributes that name another file.
LINKS = {"href", "src", "srcset", "action", "formaction", "data", "poster", "xlink:href", "background", "ping"}


@dataclasses.dataclass
class Page:
    """Text, links and scripts of one page."""

    ids: list[str] = dataclasses.field(default_factory=list)
    links: list[str] = dataclasses.field(default_factory=list)
    tags: list[str] = dataclasses.field(default_factory=list)
    scripts: list[dict[str, str | None]] = dataclasses.field(default_factory=list)
    policy: str | None = None
    text: str = ""


class _Strict(HTMLParser):
    def __init__(self, name: str) -> None:
        super().__init__(convert_charrefs=True)
        self.name, self.page, self.open = name, Page(), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        given = dict(attrs)
        assert tag in TAGS or (tag, self.name) == ("style", "404.html"), f"{self.name}: <{tag}>"
        assert len(set(names)) == len(names), f"{self.name}: {names}"
        assert not any(name.startswith("on") or name == "style" for name in names), f"{self.name}: {names}"
        assert all(re.fullmatch(r"[a-zA-Z-]+", name) for name in names), f"{self.name}: {names}"
        self.page.tags.append(tag)
        self.page.ids += [given["id"] or ""] if "id" in given else []
        self.page.links += [given[name] or "" for name in names if name in LINKS and tag != "path"]
        if tag == "script":
            self.page.scripts.append(given)
        if tag == "meta" and (given.get("http-equiv") or "").lower() == "content-security-policy":
            self.page.policy = given["content"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"{self.name}: <{tag}/>")

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"{self.name}: </{tag}> closes {self.open[-3:]}"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            assert not data.strip(), f"{self.name}: a script in the page"
        self.page.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"{self.name}: a comment")


def parsed(file: Path) -> Page:
    """Return what a page has. Raises AssertionError if it is not well formed."""
    parser = _Strict(file.name)
    text = file.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    parser.feed(text.removeprefix("<!DOCTYPE html>\n"))
    parser.close()
    assert not parser.open, f"{file.name}: {parser.open} stay open"
    assert len(set(parser.page.ids)) == len(parser.page.ids), f"{file.name}: an id twice"
    return parser.page


def checked(site: Path) -> dict[str, Page]:
    """Return path -> page of a site whose pages are well formed, and whose links all lead to its own files."""
    pages = {file.relative_to(site).as_posix(): parsed(file) for file in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        assert page.policy is not None and page.policy.startswith("default-src 'none'"), path
        root = "../" * path.count("/")
        assert [script.get("src") for script in page.scripts] == ([f"{root}site.js"] if path != "404.html" else [])
        for link in page.links:
            target, _, fragment = link.partition("#")
            assert re.fullmatch(r"(\.\./)?([a-zA-Z0-9_.-]+/)*[a-zA-Z0-9_.-]*", target), (path, link)
            file = (site / path).parent / unquote(target) if target else site / path
            assert file.resolve().is_relative_to(site.resolve()) and file.is_file(), (path, link)
            if fragment:
                assert fragment in pages[file.resolve().relative_to(site.resolve()).as_posix()].ids, (path, link)
    return pages
