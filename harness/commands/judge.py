"""``harness judge``: let a panel compare the units of the methods of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.judged_parts import judges_of, stored_parts
from harness.commands.options import (
    DEFAULT_STORE,
    JsonOption,
    PluginOption,
    ScaleOption,
    StoreOption,
    SuiteOptions,
    load_plugins,
    verb,
)
from harness.commands.output import out, print_json, print_table, reporting, take_in_waiting, width
from harness.errors import UserError
from harness.suites.known_names import PANEL, PROTOCOL, require_known

if TYPE_CHECKING:
    from results import Store


@verb("harness judge --suite demo --dry-run", "harness judge --suite paper --panel vllm")
def judge(
    choice: SuiteOptions,
    panel: Annotated[
        str | None, typer.Option(help="Judge panel: proxy, vllm or openai; default: the suite's, else proxy.")
    ] = None,
    member: Annotated[
        list[str] | None,
        typer.Option("--judge", help="Judge: MODEL or MODEL@URL; give an odd number; default: those of the panel."),
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(help="Unit pairs per pair of methods and token seed; default: the suite's.", min=1, max=1_000_000),
    ] = None,
    style: Annotated[
        str | None, typer.Option(help="Images: plain, or outlined (marks the maximal token); default: the suite's.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Prompt and rules: default (JSON schema, invalid replies repeated) or paper (App. B.1: free text, not "
            "repeated); default: the suite's."
        ),
    ] = None,
    scale: ScaleOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the number of calls and tokens only.")] = False,
    rescore: Annotated[bool, typer.Option("--rescore", help="Only score the stored replies again.")] = False,
    plugin: PluginOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Let a panel compare units in pairs: which grid of images shows one concept?

    Give --dataset, --scale and --set the values of `harness run`; --set also takes judging.KEY=VALUE. Replies are
    stored as they arrive: after an interruption, run the same command again. No question is asked twice.
    """
    from results.store import open_store

    load_plugins(plugin)
    if rescore and dry_run:
        raise UserError("--rescore asks no questions, so --dry-run has nothing to count; give one of the two.")
    # Opened for reading first, so that a wrong path does not create a store.
    opened = open_store(store)
    opened.cells()
    if panel is not None:
        require_known(PANEL, panel)
    if protocol is not None:
        require_known(PROTOCOL, protocol)
    # Before torch is imported.
    suite = None if rescore else choice.choose(scale=scale).suite
    from harness import judging
    from harness.suites import Judging, Suite
    from harness.suites.parsing import judging_of

    if not dry_run:
        opened = open_store(store, read_only=False)
        take_in_waiting(opened)
    if suite is None:
        ids = judging.rescore(opened)
        return _print(opened, None, ids, {"rescored": ids}, f"{len(ids)} tournaments scored again.", as_json)
    changes: dict[str, Any] = {"panel": panel, "pairs": pairs, "style": style, "protocol": protocol}
    changes["judges"] = judges_of(member)

    def settings_of(part: Suite) -> Judging:
        # Judges and options belong to one kind of panel.
        before = (part.judging or Judging()).model_dump(exclude={"judges", "options"} if panel else set())
        wanted = {**before, **{key: value for key, value in changes.items() if value is not None}}
        return judging_of(wanted, source="command line")

    # Parts are judged one by one.
    jobs = [
        (part.cell_ids, part.images, settings_of(part.suite))
        for part in stored_parts(suite, choice.suite, opened, store)
    ]
    all_ids = list(dict.fromkeys(cell_id for cell_ids, _, _ in jobs for cell_id in cell_ids))
    if dry_run:
        rows = [row._asdict() for job in jobs for row in judging.plan(opened, *job)]
        return print_json(rows) if as_json else print_table(rows)
    folder = Path(store).expanduser().absolute().parent / "grids"
    with reporting(as_json) as reporter:
        judged = [contest for job in jobs for contest in judging.judge(opened, *job, folder=folder, reporter=reporter)]
    n_asked, n_stored = sum(contest.asked for contest in judged), sum(contest.kept for contest in judged)
    closing = f"{n_asked} questions asked, {n_stored} answered before. Results: {store}"
    tournaments = [contest.tournament for contest in judged]
    _print(opened, all_ids, tournaments, {"contests": [contest._asdict() for contest in judged]}, closing, as_json)


def _print(
    opened: Store,
    cell_ids: list[str] | None,
    tournaments: list[str],
    data: dict[str, Any],
    closing: str,
    as_json: bool,
) -> None:
    from results.boards.build import board_json, render_text
    from results.comparison.leaderboard import leaderboard

    boards = leaderboard(opened, cell_ids=cell_ids)
    health = _health(opened, tournaments)
    if as_json:
        return print_json({**data, "health": health, "boards": [board_json(board) for board in boards]})
    for board in boards:
        out(render_text(board, width(), details=False) + "\n")
    if health:
        out("Judges, in %: answers invalid after all attempts, invalid first replies, valid answers from a retry")
        print_table([{name: _share(value) for name, value in row.items()} for row in health])
        out("")
    out(closing)


def _health(opened: Store, tournaments: list[str]) -> list[dict[str, Any]]:
    """Return one row per judge of each tournament; shares are fractions, None if they were not stored."""
    from results.store import judgments

    frame = judgments.tournaments(opened)
    rows = []
    for tournament in frame[frame["tournament"].isin(tournaments)].to_dict("records"):
        for judged in tournament["health"] or ():
            shares = {
                short: judged.get(name) if isinstance(judged.get(name), float) else None
                for short, name in (
                    ("invalid", "invalid_rate"),
                    ("first_invalid", "first_invalid_rate"),
                    ("retried", "retried_rate"),
                    ("same_in_both_orders", "swap_consistency"),
                )
            }
            rows.append(
                {
                    "tournament": tournament["tournament"][:8],
                    "judge": judged.get("judge"),
                    "answers": judged.get("n"),
                    **shares,
                }
            )
    return rows


def _share(value: Any) -> Any:
    """Return a share as a percentage, and other values as they are."""
    return f"{100 * value:.1f}" if isinstance(value, float) else value
