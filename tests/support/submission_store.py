"""A small store as a run writes it: real identities, controls, two seeds, every table, and nothing impossible."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from results import CellRecord, RunRecord, ScoreRecord, Store, open_store
from results.store import judgments
from results.store.group_scores import GroupScoreRecord, group_id_of, record_group_scores
from results.store.judgments import ReplyRecord, TournamentRecord
from results.store.outcomes import ImageOutcome
from results.store.unit_maps import pack
from results.submissions.identities import determined, identity_hash

N_UNITS, D_OUT, N_IMAGES, N_TOKENS = 8, 4, 20, 60
STARTED = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
SEEDS = (1, 2)
#: method -> family and families that it is the random control of
METHODS = {
    "topk_sae": ("sae", []),
    "random_dictionary": ("control", ["sae"]),
    "elude": ("split", []),
    "random_split": ("control", ["split"]),
}
#: MS score of the three units that have one
MS = {"topk_sae": [0.2, 0.4, 0.6], "random_dictionary": [0.1, 0.1, 0.2], "elude": [0.5, 0.6, 0.7]}
NULL = [0.1, 0.0, 0.2]
TOURNAMENT = "ab" * 8


def identity(method: str, seed: int) -> dict[str, Any]:
    """Return the identity of a cell, with the parts that a run gives it."""
    return {
        "cell": 1,
        "backbone": "tiny_vit",
        "site": "blocks.1.mlp.fc2",
        "token_seed": seed,
        "init_seed": 0,
        "evaluation": {
            "images": "content:1",
            "head": {"kind": "own"},
            "preprocessing": {"size": 28, "mean": [0.485]},
            "top_images": 3,
        },
        "probing": {"images": "content:0", "crops": 1, "tokens_per_image": 4},
        "method": {"name": method, "version": 1, "config": {"k": 2, "rate": 1e-3}},
        "metrics": {"ms_score": 1, "r2": 1},
    }


def cell_id_of(method: str, seed: int) -> str:
    """Return the id of a cell."""
    return identity_hash(identity(method, seed))


def make_store(path: Path, *, judged: bool = True) -> Store:
    """Write the store: four methods on two token seeds, one failed cell, a group score, and with `judged` replies."""
    store = open_store(path, read_only=False)
    store.start_run(
        RunRecord(
            run_id="run-1",
            suite="demo",
            command="harness run --suite demo",
            started_at=STARTED,
            code_revision="1234567",
            versions={"torch": "2.9.0", "harness": "0.2.0"},
            device="cpu",
            n_planned=9,
        )
    )
    fingerprint = determined(identity("elude", 1))["evaluation_fingerprint"]
    classes = ["kätzchen" if index % 2 else None for index in range(N_IMAGES)]
    images = {"index": range(N_IMAGES), "name": [f"{index:02d}.png" for index in range(N_IMAGES)]}
    store.record_images(fingerprint, pd.DataFrame({**images, "label": 1, "class_name": classes}))
    for number, (method, seed) in enumerate((method, seed) for seed in SEEDS for method in METHODS):
        _record(store, method, seed, STARTED + timedelta(seconds=number))
    failed = identity("vanilla_sae", 1)
    store.record(
        CellRecord(
            cell_id=identity_hash(failed),
            status="failed",
            **determined(failed),
            identity=failed,
            error_type="ValueError",
        )
    )
    _group(store)
    if judged:
        _judge(store)
    store.end_run("run-1")
    return store


def _record(store: Store, method: str, seed: int, started: datetime) -> None:
    family, control_for = METHODS[method]
    cell_identity = identity(method, seed)
    values = [value + 0.001 * seed for value in MS.get(method, [0.3, 0.3, 0.3])]
    ms, null = float(np.mean(values)), float(np.mean(NULL))
    levels = {"ms_score": ms, "ms_score_null": null}
    adjusted = (ms - null) / (1 - null)
    fraction: dict[str, Any] = {"unit": "fraction"}
    scores = [
        ScoreRecord(
            metric="ms_score",
            value=ms,
            n=3,
            uncertainty=float(np.std(values, ddof=1) / np.sqrt(3)),
            uncertainty_kind="units",
            **fraction,
        ),
        ScoreRecord(metric="ms_score_null", version=2, value=null, n=3, direction="none", **fraction),
        ScoreRecord(metric="ms_score_adjusted", version=2, value=adjusted, n=3, details=levels, **fraction),
        ScoreRecord(metric="floor_mean_accuracy", value=0.25, n=N_IMAGES, direction="none", **fraction),
        ScoreRecord(metric="accuracy", value=0.75, n=N_IMAGES, **fraction),
        ScoreRecord(metric="alive_fraction", value=0.5, n=N_UNITS, **fraction),
        ScoreRecord(metric="r2", value=0.1 + 0.2, uncertainty=1e-17, **fraction),
        ScoreRecord(metric="class_purity", value=float("nan"), params={"top_images": 3}, n=0, **fraction),
        ScoreRecord(metric="kl", value=None, unit="nat", direction="lower"),
        ScoreRecord(metric="latency_ms", value=1.5, unit="ms", direction="lower", seconds=0.25),
        ScoreRecord(metric="expansion_factor", value=2.0, direction="none"),
    ]
    cell = CellRecord(
        cell_id=identity_hash(cell_identity),
        status="finished",
        run_id="run-1",
        suite="demo",
        backbone_title="A tiny ViT",
        dataset="photos",
        label={"elude": "ELUDe", "topk_sae": "TopK SAE"}.get(method, method),
        **determined(cell_identity),
        identity=cell_identity,
        started_at=started,
        seconds=2.5,
        fit_seconds=1 / 3,
        device="cpu",
        dtype="float32",
        d_in=4,
        d_out=D_OUT,
        n_units=N_UNITS,
        claims={"family": family, "control_for": control_for, "lossless": False},
        artifact="artifacts/one.safetensors",
        notes=["A note on\ntwo lines."] if method == "elude" else [],
        environment={"threads": 1},
        fit_id="f" * 16,
    )
    steps = np.arange(250)
    curves = pd.DataFrame({"series": "loss", "step": steps, "value": 1 / (1 + steps)}) if method == "topk_sae" else None
    maps = pd.DataFrame({"unit": [0, 1], "side": 2, "maps": [pack(np.full((3, 2, 2), 7))] * 2, "peaks": [[1, 2]] * 2})
    outcome = ImageOutcome(np.ones(N_IMAGES, dtype=bool), np.arange(N_IMAGES) < 15)
    store.record(
        cell, scores, _units(values), curves, {"accuracy": outcome}, maps.astype({"unit": "int32", "side": "int32"})
    )


def _units(ms: list[float]) -> pd.DataFrame:
    """Eight units: three scored, one that fires on a single image, four dead."""
    fires = [30, 20, 10, 1, 0, 0, 0, 0]
    values = [[3.1, 2.0, 1.0]] * 3 + [[1.0, 0.0, 0.0]] + [[0.0, 0.0, 0.0]] * 4
    lists = [np.array(unit_values, np.float32) for unit_values in values]
    return pd.DataFrame(
        {
            "unit": np.arange(N_UNITS),
            "alive": [n > 0 for n in fires],
            "ms_score": [*ms, *[np.nan] * 5],
            "max_activation": [float(unit_values[0]) for unit_values in lists],
            "min_activation": 0.0,
            "fires": fires,
            "top_image": [[4, 0, 19]] * N_UNITS,
            "top_position": [[0, -1, 0]] * N_UNITS,
            "top_value": lists,
            "ms_score_null": [*NULL, *[np.nan] * 5],
        }
    )


def _group(store: Store) -> None:
    ids = [cell_id_of("topk_sae", seed) for seed in SEEDS]
    record_group_scores(
        store,
        [
            GroupScoreRecord(
                metric="token_sensitivity",
                version=2,
                value=0.42,
                uncertainty=0.01,
                uncertainty_kind="std over pairs",
                n=1,
                unit="",
                params={"token_seeds": list(SEEDS)},
                details={"pairs": [0.42]},
                group_id=group_id_of(ids, "token_seed"),
                config_id=str(determined(identity("topk_sae", 1))["config_id"]),
                label="TopK SAE",
                cell_ids=ids,
                measured_at=STARTED,
            )
        ],
    )


def _judge(store: Store) -> None:
    """Three pairs in both orders, one judge: ELUDe wins four comparisons and TopK one, one has no valid answer."""
    sides = {"elude": cell_id_of("elude", 1), "topk_sae": cell_id_of("topk_sae", 1)}
    orders = [*sides.values()], [*reversed(sides.values())]
    frame = pd.DataFrame(
        [(f"p{pair}", order, *orders[order]) for pair in range(3) for order in (0, 1)],
        columns=["pair_id", "order", "cell_a", "cell_b"],
    )
    for side in ("a", "b"):
        frame[f"unit_{side}"] = 0
        frame[f"grid_{side}"] = [f"{pair}{order}{side}" for pair, order in zip(frame.pair_id, frame.order, strict=True)]
    rates = pd.DataFrame(
        [
            {"label": "ELUDe", "win_rate": 0.8, "wins": 4, "rank": 1, "cell_ids": [sides["elude"]]},
            {"label": "TopK SAE", "win_rate": 0.2, "wins": 1, "rank": 2, "cell_ids": [sides["topk_sae"]]},
        ]
    ).assign(ci_low=0.1, ci_high=0.9, n=5, ties=1, rank_low=1, rank_high=2, strength=0.0)
    rates["config_id"] = [determined(identity(method, 1))["config_id"] for method in sides]
    tournament = TournamentRecord(
        tournament=TOURNAMENT,
        panel="proxy:one",
        judges=["one"],
        prompt_version="1",
        settings={"version": 2},
        judged_at=STARTED,
        n_comparisons=6,
        agreement=float("nan"),
        health=[{"judge": "one", "n": 6, "control_a": "NaN"}],
        pairwise=[{"method": "a", "opponent": "b", "n": 5}, {"method": "b", "opponent": "a", "n": 5}],
    )
    judgments.record_tournament(store, tournament, rates, frame)
    answers = ["A", "B", "A", "B", None, "A"]
    judgments.record_replies(
        store,
        [
            ReplyRecord(judge="one", prompt_version="1", grid_a=a, grid_b=b, attempt=1, answer=answer, raw="said")
            for a, b, answer in zip(frame.grid_a, frame.grid_b, answers, strict=True)
        ],
    )


def document_of(folder: Path, kind: str = "elude-1") -> Path:
    """Return the path of a document: of a method and seed, or the only one of another kind."""
    patterns = {"group": "*.group.json", "images": "_images/*.json", "tournament": "_tournaments/*.json"}
    method, _, seed = kind.partition("-")
    (path,) = (folder / "results").glob(f"**/{patterns.get(kind) or cell_id_of(method, int(seed)) + '.json'}")
    return path
