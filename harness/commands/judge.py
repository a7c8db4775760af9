"""``harness judge``: let a panel compare the units of the methods of a suite."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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
    from harness.judging import JudgedContest
    from harness.judging.people import Turnout
    from results import Store
    from results.people.ballot import Ballot

#: Rows of the table of agreement that are printed.
_MOST_AGREEMENTS = 30


@dataclasses.dataclass(frozen=True)
class CrowdOptions:
    """Options that exchange questions and answers with a crowd platform; they imply the panel of people."""

    export: Annotated[
        Path | None, typer.Option(help="Write the questions for people to this CSV file of image pairs.")
    ] = None
    absolute_paths: Annotated[
        bool, typer.Option("--absolute-paths", help="Write absolute paths of the images to it; default: relative ones.")
    ] = False
    answers: Annotated[
        Path | None,
        typer.Option("--import", help="Add answers from this CSV file: question, annotator, answer[, seconds]."),
    ] = None

    def panel(self, panel: str | None, *, asks: bool) -> str | None:
        """Return the kind of the panel.

        Raises:
            UserError: the options do not fit the panel, or no questions are asked.
        """
        if self.absolute_paths and self.export is None:
            raise UserError("--absolute-paths is about the file of --export, which is not given.")
        if self.export is None and self.answers is None:
            return panel
        if panel not in (None, "people"):
            raise UserError(f"--export and --import are for people, and the panel is {panel!r}; use --panel people.")
        if not asks:
            raise UserError("--export and --import cannot be used with --dry-run or --rescore.")
        if self.export is not None and not self.export.expanduser().absolute().parent.is_dir():
            raise UserError(f"There is no folder {str(self.export.parent)!r} for the file of --export.")
        if self.export is not None and self.answers is not None and _same_file(self.export, self.answers):
            raise UserError("--export would overwrite the file of --import; choose another file.")
        return "people"

    def take_in(self, opened: Store) -> None:
        """Add the answers to the votes beside the store, if there are any, and print to stderr how many are new.

        Raises:
            StoreError: anything in their file is wrong.
        """
        from results.people.crowd import import_answers, require_export_path

        if self.export is not None:
            # Before anything is asked.
            require_export_path(opened.path.parent, self.export)
        if self.answers is None:
            return
        for annotator, n in import_answers(opened.path.parent, self.answers).items():
            answers = "1 answer of {} is" if n == 1 else f"{n} answers of {{}} are"
            typer.echo(f"note: {answers.format(annotator)} new or changed.", err=True)

    def write_questions(self, opened: Store, ballots: Sequence[Ballot]) -> None:
        """Write the questions of ballots to their file, if one is given, and print to stderr how many there are.

        Raises:
            StoreError: the file cannot be written.
        """
        from results.people.crowd import export_questions

        if self.export is not None:
            n = export_questions(opened.path.parent, ballots, self.export, absolute=self.absolute_paths)
            typer.echo(f"note: {n} questions written to {self.export}; the images are in grids/.", err=True)


@verb(
    "harness judge --suite demo --dry-run",
    "harness judge --suite paper --panel vllm",
    "harness judge --suite demo --panel people --judge anna --pairs 1",
)
def judge(
    choice: SuiteOptions,
    crowd: CrowdOptions,
    panel: Annotated[
        str | None, typer.Option(help="Judge panel: proxy, vllm, openai or people; default: the suite's, else proxy.")
    ] = None,
    member: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            help="Judge: MODEL or MODEL@URL, an odd number of them, or the name of a person; default: the panel's.",
        ),
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
    panel = crowd.panel(panel, asks=not (dry_run or rescore))
    if panel is not None:
        require_known(PANEL, panel)
    if protocol is not None:
        require_known(PROTOCOL, protocol)
    # Before torch is imported.
    suite = None if rescore else choice.choose(scale=scale).suite
    from harness import judging
    from harness.suites import Judging, Suite
    from harness.suites.parsing import judging_of
    from judges.panel import Wanted, make_panel, require_follows

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
    if protocol is not None:
        for _, _, wanted in jobs:
            members = make_panel(wanted.panel, Wanted("", wanted.judges, wanted.options, opened.path.parent))
            require_follows(members, protocol)
    all_ids = list(dict.fromkeys(cell_id for cell_ids, _, _ in jobs for cell_id in cell_ids))
    if dry_run:
        rows = [row._asdict() for job in jobs for row in judging.plan(opened, *job)]
        return print_json(rows) if as_json else print_table(rows)
    crowd.take_in(opened)
    folder = opened.path.parent / "grids"
    with reporting(as_json) as reporter:
        judged = [contest for job in jobs for contest in judging.judge(opened, *job, folder=folder, reporter=reporter)]
    _report(opened, judged, all_ids, crowd, store, as_json)


def _report(
    opened: Store, judged: Sequence[JudgedContest], cell_ids: list[str], crowd: CrowdOptions, store: Path, as_json: bool
) -> None:
    """Print the boards of what was judged, and for people how far they are and how to vote."""
    from harness.judging.people import ballots_of, how_to_vote, turnout_of

    tournaments = [contest.tournament for contest in judged]
    data = {"contests": [contest._asdict() for contest in judged]}
    ballots = ballots_of(opened, tournaments)
    n_asked, n_stored = sum(contest.asked for contest in judged), sum(contest.kept for contest in judged)
    if not ballots:
        closing = f"{n_asked} questions asked, {n_stored} answered before. Results: {store}"
        return _print(opened, cell_ids, tournaments, data, closing, as_json)
    crowd.write_questions(opened, ballots)
    turnout = turnout_of(opened, ballots)
    how = how_to_vote(store, ballots, turnout.rows)
    n_changed, n_withdrawn = sum(c.changed for c in judged), sum(c.withdrawn for c in judged)
    more = "".join(f", {n} of them {what}" for n, what in ((n_changed, "changed"), (n_withdrawn, "taken back")) if n)
    answers = "1 new answer" if n_asked == 1 else f"{n_asked} new answers"
    closing = "\n".join([f"{answers}, {n_stored} answered before{more}. Results: {store}", *how])
    _print(opened, cell_ids, tournaments, {**data, **_of_people(opened, ballots, turnout)}, closing, as_json)


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
    _print_people(data)
    if health:
        out("Judges, in %: answers invalid after all attempts, invalid first replies, valid answers from a retry")
        print_table([{name: _share(value) for name, value in row.items()} for row in health])
        out("")
    out(closing)


def _of_people(opened: Store, ballots: Sequence[Ballot], turnout: Turnout) -> dict[str, Any]:
    """Return the votes and the agreement of people, and print to stderr what was left out of their files."""
    from results.comparison.judge_agreement import judge_agreements

    for note in turnout.notes:
        typer.echo(f"note: {note}", err=True)
    agreements = [
        {"ballot": ballot.title, "tournament": ballot.tournament, **row._asdict()}
        for ballot in ballots
        for row in judge_agreements(opened, ballot.tournament)
    ]
    return {
        "people": [row._asdict() for row in turnout.rows],
        "agreement": agreements,
    }


def _print_people(data: dict[str, Any]) -> None:
    if data.get("people"):
        out("Votes of people")
        print_table([{name: value for name, value in row.items() if name != "page"} for row in data["people"]])
        out("")
    if agreements := data.get("agreement"):
        out("Agreement on the questions that both judges have answered; kappa is Cohen's, 0 is chance")
        print_table(
            [
                {
                    "ballot": row["ballot"],
                    "judge": _without_hash(row["judge"]),
                    "other": _without_hash(row["other"]),
                    "questions": row["n_questions"],
                    "same_%": _share(row["same"]),
                    "kappa": None if row["kappa"] is None else f"{row['kappa']:.2f}",
                    "interval": None if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}",
                }
                for row in agreements[:_MOST_AGREEMENTS]
            ]
        )
        if len(agreements) > _MOST_AGREEMENTS:
            out(f"and {len(agreements) - _MOST_AGREEMENTS} more; --json prints all")
        out("")


def _without_hash(judge: str) -> str:
    """Return the id of a judge without the hash of its settings, and with the prompt version that may follow."""
    name, _, rest = judge.rpartition("#")
    return f"{name}{rest[rest.index(' ') :]}" if " " in rest else name


def _same_file(one: Path, other: Path) -> bool:
    return one.expanduser().resolve() == other.expanduser().resolve()


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
