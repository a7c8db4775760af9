"""A small store with everything the app shows, made by hand: boards, splits, judging, curves, failures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from results import CellRecord, RunRecord, ScoreRecord, Store, open_store
from results.store import judgments
from results.store.judgments import ReplyRecord, TournamentRecord
from results.store.unit_maps import MAX_MAPS, pack

EVALUATION = "evaluation-1"
N_IMAGES = 20
DROP = "'; DROP TABLE scores; --"
SCRIPT = "<script>alert(1)</script> **bold** [x](http://example.org)"
STARTED = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
IDENTITY = {"evaluation": {"preprocessing": {"fit": "crop", "size": 28, "resize": 32}}}
# method: (label, units, MS score, accuracy, expansion factor)
METHODS = {
    "identity": ("backbone only", 6, 0.40, 0.80, 1.0),
    "elude": ("ELUDe", 12, 0.60, 0.80, 2.0),
    "topk_sae": ("TopK SAE", 24, 0.50, 0.85, 4.0),
    "mine": (DROP, 6, 0.30, 0.70, 1.0),
}
SEEDS = (42, 123)


def make_images(folder: Path) -> Path:
    """Small pictures with the names the store has."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(N_IMAGES):
        pixels = generator.integers(0, 255, (36, 48, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return folder


def make_store(path: Path) -> Store:
    """Two token seeds of four methods, one failed cell, one row whose every cell failed, one other backbone."""
    store = open_store(path, read_only=False)
    store.start_run(
        RunRecord(
            run_id="run-1",
            suite="demo",
            command="harness run --suite demo",
            started_at=STARTED,
            n_planned=9,
            device="cpu",
            versions={"torch": "2.9.0"},
        )
    )
    store.record_images(
        EVALUATION,
        pd.DataFrame(
            {
                "index": np.arange(N_IMAGES),
                "name": [f"{index:02d}.png" for index in range(N_IMAGES)],
                "class_name": ["dog" if index % 2 else "cat" for index in range(N_IMAGES)],
            }
        ),
    )
    for place, seed in enumerate(SEEDS):
        for method in METHODS:
            _record(store, method, seed, place)
    store.record(
        _cell("broken-42", "broken", "broken SAE", 42, status="failed", error_type="ValueError", error_message=SCRIPT)
    )
    store.record(_cell("identity-other", "identity", "backbone only", 42, backbone="z_cnn", backbone_title="A CNN"))
    store.end_run("run-1")
    _judge(store)
    _group(store)
    return store


def _cell(cell_id: str, method: str, label: str, seed: int, **changes: Any) -> CellRecord:
    fields: dict[str, Any] = {
        "cell_id": cell_id,
        "status": "finished",
        "run_id": "run-1",
        "suite": "demo",
        "backbone": "vit",
        "backbone_title": "A ViT",
        "site": "blocks.9.mlp.fc2",
        "dataset": "folder:pictures",
        "probing_fingerprint": "probing-1",
        "evaluation_fingerprint": EVALUATION,
        "method": method,
        "label": label,
        "config": {"k": 4} if method == "topk_sae" else {},
        "token_seed": seed,
        "init_seed": 42,
        "identity": IDENTITY,
        "started_at": STARTED + timedelta(seconds=seed),
        "seconds": 2.0,
        "fit_seconds": 1.0,
        "device": "cpu",
        "dtype": "float32",
        "d_in": 8,
        "d_out": 6,
        "n_units": 6,
        "claims": {"lossless": method == "elude"},
        "traceback": "Traceback" if changes.get("status") == "failed" else None,
    }
    return CellRecord(**(fields | changes))


def _record(store: Store, method: str, seed: int, place: int) -> None:
    label, n_units, ms, accuracy, factor = METHODS[method]

    def score(metric: str, value: float, kind: str | None = "units", **changes: Any) -> ScoreRecord:
        fields: dict[str, Any] = {"unit": "fraction", "uncertainty": 0.01, "uncertainty_kind": kind, "n": n_units}
        return ScoreRecord(metric=metric, value=value, **(fields | changes))

    scores = [
        score("ms_score", ms + 0.01 * place),
        score("accuracy", accuracy, "images"),
        score("r2", 1.0 if method == "elude" else 0.9, "jackknife over groups of images"),
        score("expansion_factor", factor, None, uncertainty=None, unit="", direction="none"),
        score("latency_ms", 3.0 + n_units, None, uncertainty=None, unit="ms", direction="lower"),
        score("floor_zero_accuracy", 0.2, None, uncertainty=None, direction="none"),
        score(
            "evidence_labels",
            0.0,
            None,
            uncertainty=None,
            unit="reads",
            direction="none",
            details={"label_reads": 0},
        ),
    ]
    curves = None
    if method == "topk_sae":
        steps = np.arange(50)
        curves = pd.DataFrame({"series": "loss", "step": steps, "value": 1.0 / (1 + steps)})
    cell = _cell(f"{method}-{seed}", method, label, seed, n_units=n_units, notes=[SCRIPT] if method == "mine" else [])
    units = _units(method, n_units, ms, seed)
    store.record(cell, scores, units, curves, unit_maps=_maps(units) if method in ("identity", "elude") else None)


def _units(method: str, n_units: int, ms: float, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng([seed, n_units])
    scores = ms + 0.1 * generator.standard_normal(n_units)
    scores[-1] = np.nan
    alive = np.arange(n_units) != n_units - 2
    parents = {"identity": np.arange(6), "elude": np.arange(12) // 2, "mine": np.arange(6)}.get(method)
    frame = pd.DataFrame(
        {
            "unit": np.arange(n_units),
            "alive": alive,
            "ms_score": scores,
            "max_activation": np.ones(n_units),
            "redundancy": generator.random(n_units),
            "top_image": [generator.permutation(N_IMAGES)[:12] for _ in range(n_units)],
            "top_position": [np.concatenate([[-1, 15], np.arange(10)]) for _ in range(n_units)],
            "top_value": [np.linspace(1, -0.1, 12) for _ in range(n_units)],
        }
    )
    return frame if parents is None else frame.assign(parent=parents)


def _maps(units: pd.DataFrame) -> pd.DataFrame:
    """Maps of the even alive units: a block that is strongest at the maximum's position, on a grid of 4 x 4."""
    chosen = units[units["alive"] & (units["unit"] % 2 == 0)]
    packed = []
    for positions in chosen["top_position"]:
        maps = np.full((MAX_MAPS, 16), 17, np.uint8)
        for map_, position in zip(maps, positions, strict=False):
            map_[max(position, 0)] = 255 if position >= 0 else 51
        packed.append(pack(maps.reshape(-1, 4, 4)))
    return pd.DataFrame(
        {
            "unit": chosen["unit"].astype(np.int32),
            "side": np.full(len(chosen), 4, np.int32),
            "maps": pd.Series(packed, dtype=object, index=chosen.index),
            "peaks": [np.array([1, 2, 4, 8, 3, 0, 1], np.int32)] * len(chosen),
        }
    )


def _judge(store: Store) -> None:
    judges = ["proxy/one#1", "proxy/two#2", "proxy/three#3"]
    cells = {"elude": "elude-42", "topk_sae": "topk_sae-42"}
    pairs = [(f"pair/{number}", number, number + 3) for number in range(4)]
    rows, replies = [], []
    for pair_id, unit_e, unit_t in pairs:
        for order in (0, 1):
            first, second = (("elude", unit_e), ("topk_sae", unit_t))[:: 1 if order == 0 else -1]
            grids = [f"grid{method}{unit}" for method, unit in (first, second)]
            rows.append(
                {
                    "pair_id": pair_id,
                    "order": order,
                    "cell_a": cells[first[0]],
                    "unit_a": first[1],
                    "grid_a": grids[0],
                    "cell_b": cells[second[0]],
                    "unit_b": second[1],
                    "grid_b": grids[1],
                }
            )
            for place, judge in enumerate(judges):
                if pair_id == "pair/3" and place == 2:
                    continue
                winner = "elude" if place or pair_id == "pair/0" else "topk_sae"
                replies.append(
                    ReplyRecord(
                        judge=judge,
                        prompt_version="1",
                        grid_a=grids[0],
                        grid_b=grids[1],
                        attempt=1,
                        answer="A" if first[0] == winner else "B",
                        reasoning_a=SCRIPT,
                        reasoning_b="stripes",
                        raw=SCRIPT,
                    )
                )
    judgments.record_replies(store, replies)
    rates = pd.DataFrame(
        [
            {
                "config_id": store.cells().set_index("cell_id").loc[cells[method], "config_id"],
                "label": METHODS[method][0],
                "cell_ids": [cells[method]],
                "win_rate": rate,
                "ci_low": rate - 0.1,
                "ci_high": rate + 0.1,
                "n": 8,
                "wins": round(8 * rate),
                "ties": 0,
                "rank": rank,
                "rank_low": 1,
                "rank_high": 2,
                "strength": 0.5 - rank,
                "new_low": rate - 0.2,
                "new_high": rate + 0.2,
                "n_units": 4,
            }
            for rank, (method, rate) in enumerate((("elude", 0.75), ("topk_sae", 0.25)), start=1)
        ]
    )
    attempts = {"first_invalid_rate": 0.25, "n_first": 8, "retried_rate": 0.125}
    health = [
        {
            **{"judge": judge, "n": 8, "invalid_rate": 0.0, **attempts},
            **{"swap_consistency": 1.0, "position_bias": 0.0, "control_a": "NaN"},
        }
        for judge in judges
    ]
    tournament = TournamentRecord(
        tournament="tournament-1",
        panel="proxy:one+two+three",
        judges=judges,
        prompt_version="1",
        settings={"pairs": 4},
        judged_at=STARTED,
        n_comparisons=8,
        n_missing=2,
        agreement=0.3,
        health=health,
    )
    judgments.record_tournament(store, tournament, rates, pd.DataFrame(rows))


def _group(store: Store) -> None:
    config_id = store.cells().set_index("cell_id").loc["topk_sae-42", "config_id"]
    with store.writing() as opened:
        opened.execute(
            "INSERT INTO group_scores VALUES ('g', ?, 'TopK SAE', '[\"topk_sae-42\",\"topk_sae-123\"]', 'stability', 1,"
            " '{}', 0.42, 0.01, 'std over pairs', 1, 'fraction', 'higher', '{\"pairs\":[0.42]}', ?)",
            [config_id, STARTED],
        )
