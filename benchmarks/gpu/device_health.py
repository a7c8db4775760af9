"""Memory that grows from cell to cell, and a method that needs more memory than there is."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path

import torch

import harness
import results
from gpu.demo_run import small_suite
from gpu.record import Record
from harness.cells.run_cell import OUT_OF_MEMORY
from methods.plugin_files import load_plugin_file

TITLE = "Leaks over 20 cells, and a method that runs out of memory"
ORDER = 8
LIMIT_S = 30

GREEDY = '''
"""Method that allocates a petabyte."""
import torch

from methods import register
from methods.base import Dictionary, Method, MethodSpec


@register
class Greedy(Method):
    spec = MethodSpec("greedy", "greedy", "control", "output", "the GPU report", training_free=True)
    fitted = ("mean",)
    n_units = 1

    def fit(self, tokens, site, *, seed=42, device="cpu", progress=None):
        self.mean = torch.zeros(2**48, device=device)
        return self

    def encode(self, x):
        return x[:, :1]

    def decode(self, codes):
        return codes

    def dictionary(self):
        return Dictionary(torch.ones(1, 1), None, "writer")
'''


def allocated_mib(record: Record) -> float:
    """Return the MiB of tensors on the device; 0.0 on a CPU.

    PyTorch's allocator also holds a workspace of cuBLAS, 32 MiB on Hopper, for each handle and stream. A thread that
    multiplies while others exist takes a further handle, and the workspace stays when the thread has ended: these are
    freed first.
    """
    gc.collect()
    if not record.on_gpu:
        return 0.0
    torch.cuda.synchronize(record.device)
    torch._C._cuda_clearCublasWorkspaces()
    return torch.cuda.memory_allocated(record.device) / 2**20


def run(record: Record) -> None:
    """Run 20 cells in one process, then a suite whose first method fails and whose second must still run."""
    device = str(record.device)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "results.duckdb"
        seeds = tuple(range(1, 4 if record.tiny else 21))
        allocated = []
        for some in (seeds[:2], seeds):
            suite = small_suite(("topk_sae",), some)
            summary = harness.run_suite(suite, store=store, device=device)
            allocated.append(allocated_mib(record))
            record.row("cells", finished=summary.finished, failed=summary.failed, allocated_mib=allocated[-1])
        record.check("MiB that the further cells left allocated", allocated[1] - allocated[0], 1.0)

        plugin = Path(folder) / "greedy.py"
        plugin.write_text(GREEDY)
        load_plugin_file(plugin)
        harness.run_suite(small_suite(("greedy", "identity"), (1,)), store=store, device=device)
        cells = results.open_store(store).cells()
        for method in ("greedy", "identity"):
            (cell,) = cells[cells["method"] == method].to_dict("records")
            record.row("out of memory", method=method, status=cell["status"], message=cell["error_message"])
            expected = "failed" if method == "greedy" else "finished"
            record.check(f"{method} is not {expected}", float(cell["status"] != expected), 0)
            if method == "greedy":
                helps = str(cell["error_message"]).startswith(OUT_OF_MEMORY)
                record.check("the message does not say what to do", float(not helps), 0)
