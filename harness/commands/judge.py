"""``harness judge``: have a panel compare the units of a suite's methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.commands.options import (
    DEFAULT_STORE,
    JsonOption,
    PluginOption,
    StoreOption,
    load_plugins,
    out,
    print_json,
    print_table,
    reporting,
    width,
)
from harness.errors import UserError


def register(app: typer.Typer) -> None:
    app.command(
        "judge", epilog="Example: harness judge --suite demo --dry-run. And: harness judge --suite paper --panel vllm"
    )(judge)


def judge(
    suite: Annotated[str, typer.Option("--suite", help="Name of a suite, or the path of a .toml file.")] = "demo",
    panel: Annotated[
        str | None, typer.Option(help="proxy, vllm or openai; default: what the suite says, else proxy.")
    ] = None,
    member: Annotated[
        list[str] | None,
        typer.Option("--judge", help="MODEL or MODEL@URL, instead of the panel's own; an odd number of times."),
    ] = None,
    pairs: Annotated[int | None, typer.Option(help="Unit pairs per pair of methods and token seed.")] = None,
    style: Annotated[str | None, typer.Option(help="plain, or outlined: marks the token of the maximum.")] = None,
    dataset: Annotated[str | None, typer.Option(help="The data set the store was run on, if not the suite's.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Only this backbone's cells.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="As of `harness run`: what it was run with, or judging.KEY=VALUE.")
    ] = None,
    scale: Annotated[str | None, typer.Option(help="tiny, if that is what was run.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print how many calls and tokens it takes.")] = False,
    rescore: Annotated[bool, typer.Option("--rescore", help="Ask nobody: score the stored replies again.")] = False,
    plugin: PluginOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Compare units in pairs: which grid of images shows one concept?

    Replies are stored as they arrive. Interrupt it and run it again: nothing is asked twice.
    """
    from harness import judging
    from harness.run.selection import selected_in_store
    from harness.suites import Judging, Suite
    from harness.suites.parsing import judging_of
    from harness.suites.resolve import resolve_suite
    from results.store import open_store

    load_plugins(plugin)
    if rescore and dry_run:
        raise UserError("--rescore asks nobody, so that --dry-run has nothing to count: say one of the two.")
    # Read first: a store that is not there must not be made by asking for it.
    opened = open_store(store)
    opened.cells()
    if not dry_run:
        opened = open_store(store, read_only=False)
    if rescore:
        ids = judging.rescore(opened)
        return _show(opened, None, {"rescored": ids}, f"{len(ids)} tournaments scored again.", as_json)
    chosen = resolve_suite(suite, scale=scale, settings=setting or [], dataset=dataset, backbone=backbone).suite
    changes: dict[str, Any] = {"panel": panel, "pairs": pairs, "style": style, "judges": _judges(member)}

    def settings_of(part: Suite) -> Judging:
        # Another kind of panel has other judges and options.
        before = (part.judging or Judging()).model_dump(exclude={"judges", "options"} if panel else set())
        wanted = {**before, **{key: value for key, value in changes.items() if value is not None}}
        return judging_of(wanted, source="command line")

    # Parts are judged one by one; those that say nothing about judging are not, where others do.
    saying = [part for part in chosen.leaves if part.judging is not None]
    found = []
    for part in saying or chosen.leaves:
        images = judging.evaluation_images(part)
        ready = selected_in_store(part, opened, store, images)
        if own := judging.cells_in_store(opened, ready, images):
            found.append((own, images, settings_of(part)))
    if not found:
        raise UserError(
            f"There is no finished cell of the suite {chosen.name!r} in {store.name}; `harness run --suite {suite}` "
            "makes them, and --dataset, --scale and --set must be those it was run with."
        )
    cells = list(dict.fromkeys(cell for own, _, _ in found for cell in own))
    if dry_run:
        rows = [row._asdict() for own, images, settings in found for row in judging.plan(opened, own, images, settings)]
        return print_json(rows) if as_json else print_table(rows)
    folder = Path(store).expanduser().absolute().parent / "grids"
    with reporting(as_json) as reporter:
        judged = [
            contest
            for own, images, settings in found
            for contest in judging.judge(opened, own, images, settings, folder=folder, reporter=reporter)
        ]
    asked, kept = sum(contest.asked for contest in judged), sum(contest.kept for contest in judged)
    closing = f"{asked} questions asked, {kept} answered before. Results: {store}"
    _show(opened, cells, {"contests": [contest._asdict() for contest in judged]}, closing, as_json)


def _show(opened: Any, cells: list[str] | None, found: dict[str, Any], closing: str, as_json: bool) -> None:
    from results.boards.build import board_json, leaderboard, render_text

    boards = leaderboard(opened, cell_ids=cells)
    if as_json:
        return print_json({**found, "boards": [board_json(board) for board in boards]})
    for board in boards:
        out(render_text(board, width(), details=False) + "\n")
    out(closing)


def _judges(members: list[str] | None) -> tuple[dict[str, str], ...] | None:
    """``MODEL@URL`` as the panel's settings of a judge."""
    if not members:
        return None
    judges = []
    for member in members:
        name, _, url = member.partition("@")
        judges.append({"name": name, **({"base_url": url} if url else {})})
    return tuple(judges)
