"""Tournaments of stores that are merged: from which store each is taken, and which judges have joined it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from results.store import judgments
from results.store.merge_sources import Conflict, Source, same, time_of
from results.store.records import consensus_of_answers, grouped, records_of, win_rate_version


class ChosenTournaments(NamedTuple):
    """Tournaments of the merged store."""

    sources: dict[str, Source]
    """tournament -> store that it is taken from"""
    joined: dict[str, list[str]]
    """tournament that judges join freely -> its judges in any store: it is to be scored again, from all replies"""
    voters: set[str]
    """judges of tournaments that judges join freely: their replies may change, and the newest one counts"""


class _Judged(NamedTuple):
    """Tournament as one store has it."""

    source: Source
    judged_at: Any
    rates: Mapping[str, float | None]
    """method -> win rate"""
    version: int


def choose_tournaments(sources: Sequence[Source], prefer: str | None, conflicts: list[Conflict]) -> ChosenTournaments:
    """Return the store that each tournament is taken from, and add the conflicts that there are.

    Win rates of different versions are no conflict: those of the newer definition are taken. Nor are those of a panel
    that judges join freely, which follow from all replies together.
    """
    chosen: dict[str, _Judged] = {}
    joined: dict[str, set[str]] = {}
    for source in sources:
        rows = source.store.query("SELECT tournament, config_id, label, win_rate FROM win_rates")
        rates_of = grouped(records_of(rows), lambda row: row["tournament"])
        heads = sorted(records_of(judgments.tournaments(source.store)), key=lambda head: str(head["tournament"]))
        for head in heads:
            name = head["tournament"]
            rates = {f"{row['label']} {row['config_id']}": row["win_rate"] for row in rates_of.get(name, [])}
            judged = _Judged(source, head["judged_at"], rates, win_rate_version(head["settings"]))
            other = chosen.get(name)
            if consensus_of_answers(head["settings"]):
                joined.setdefault(name, set()).update(head["judges"] or ())
                if other is None or time_of(judged.judged_at) > time_of(other.judged_at):
                    chosen[name] = judged
                continue
            if other is None or judged.version > other.version:
                chosen[name] = judged
            elif judged.version == other.version and not _equal(judged.rates, other.rates):
                title = f"tournament {name} ({head['panel']})"
                conflicts.append(Conflict(title, other.source.title, source.title, "win rates differ"))
                if prefer == "newest" and time_of(judged.judged_at) > time_of(other.judged_at):
                    chosen[name] = judged
    return ChosenTournaments(
        {name: judged.source for name, judged in chosen.items()},
        # Also those of one store: a person's reply to one of their questions may have come from another.
        {name: sorted(judges) for name, judges in sorted(joined.items())} if len(sources) > 1 else {},
        {judge for judges in joined.values() for judge in judges},
    )


def _equal(first: Mapping[str, float | None], second: Mapping[str, float | None]) -> bool:
    return set(first) == set(second) and all(same(first[key], second[key]) for key in first)
