"""For every check of `harness check` a plugin that breaks it: the check finds it and says what to do.

Each broken plugin is the starting point that `harness new` writes, with one thing changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from plugins import clean_registries, loaded

from harness import backbones
from harness.check import CheckTarget, Finding, check
from harness.check.backbones import CHECKS as BACKBONE_CHECKS
from harness.check.backbones import check_backbone
from harness.check.datasets import CHECKS as DATASET_CHECKS
from harness.check.finding import name_of
from harness.check.judges import CHECKS as PANEL_CHECKS
from harness.check.methods import CHECKS as METHOD_CHECKS
from harness.check.metrics import CHECKS as METRIC_CHECKS
from harness.check.metrics import check_metric
from harness.check.protocols import CHECKS as PROTOCOL_CHECKS
from harness.check.world import CheckWorld, small_world
from harness.metrics.base import METRICS
from harness.scaffold import scaffold

pytestmark = pytest.mark.run

PLACE = "    def __init__(self, baseline):"

#: kind, check -> what is changed in the starting point, and words of the explanation.
BROKEN: dict[tuple[str, str], tuple[list[tuple[str, str]], list[str]]] = {
    ("method", "settings"): ([("(MethodConfig):", '(MethodConfig, extra="ignore"):')], ["does not exist"]),
    ("method", "fit"): ([("        return self\n", "")], ["fit returns NoneType; it must return self"]),
    ("method", "encode and decode"): (
        [('reads="output"', 'reads="input"')],
        ["line 43 of broken.py", "spec.reads is 'input'", "(600, 24)"],
    ),
    ("method", "dtype and device kept"): (
        [("return codes @ self.atoms + self.mean", "return (codes @ self.atoms + self.mean).double()")],
        ["decode turns torch.float32 into torch.float64"],
    ),
    ("method", "dictionary"): ([('side="writer"', 'side="reader"')], ["atoms (8, 8)", "(8, 24)"]),
    ("method", "empty and single batches"): (
        [("(x - self.mean) @ self.atoms.T", "((x - self.mean) @ self.atoms.T).squeeze(0)")],
        ["A batch of 1 tokens is encoded as (8,), not (1, 8)"],
    ),
    ("method", "independent of the batch"): (
        [("(x - self.mean) @", "(x - x.mean(0)) @")],
        ["change with the batch", "each row independently"],
    ),
    ("method", "inputs unchanged"): (
        [("return (x - self.mean) @", "x -= self.mean\n        return x @")],
        ["encode changes its input in place"],
    ),
    ("method", "fingerprint"): (
        [
            (
                "    def encode(",
                "    def fingerprint(self):\n        return str(torch.rand(9).tolist())\n\n    def encode(",
            )
        ],
        ["another value at each call"],
    ),
    ("method", "prerequisite"): (
        [
            (
                "    def encode(",
                "    @classmethod\n    def prerequisite(cls, config):\n        return cls, config\n\n    def encode(",
            )
        ],
        ["prerequisite() returns a tuple"],
    ),
    ("method", "same codes at each call"): (
        [
            (
                "        return (x - self.mean) @ self.atoms.T",
                "        self.mean = self.mean + 1\n        return (x - self.mean) @ self.atoms.T",
            ),
        ],
        ["from call to call", ".eval()"],
    ),
    ("method", "same dictionary at each call"): (
        [
            (
                "        return Dictionary(self.atoms,",
                "        self.atoms = self.atoms * 1.5\n        return Dictionary(self.atoms,",
            )
        ],
        ["other atoms or parents at a later call"],
    ),
    ("method", "bounded memory"): (
        [
            (
                "        return (x - self.mean) @",
                "        vars(self).setdefault('seen', []).append(x)\n        return (x - self.mean) @",
            )
        ],
        ["keeps the tensors of every call"],
    ),
    ("method", "safe file"): (
        [
            (
                "    def encode(",
                "    def save(self, path):\n        torch.save({}, path)\n        return path\n\n    def encode(",
            )
        ],
        ["not safetensors", "pickle"],
    ),
    ("method", "same fit in parts"): (
        [
            (
                "from methods import register\n",
                "from methods import register\nfrom methods.divisible import DivisibleFit\n",
            ),
            ("(Method):", "(DivisibleFit):"),
            (
                "    def encode(",
                "    @classmethod\n    def fit_items(cls, config, site):\n        return site.d_out\n\n"
                "    def fit_part(self, tokens, site, items, **options):\n        pass\n\n    def encode(",
            ),
        ],
        ["fit_part leaves no file in work_dir"],
    ),
    ("method", "deterministic under a seed"): (
        [(", generator=torch.Generator().manual_seed(seed))", ")")],
        ["same seed differ", "generator seeded with `seed`"],
    ),
    ("method", "uses seed is correct"): (
        [("training_free=True,", "training_free=True, uses_seed=False,")],
        ["another seed gives other codes", "uses_seed=True"],
    ),
    ("method", "supervised is correct"): (
        [(".to(device)\n        return", ".to(device) + float((tokens.label == 1).mean())\n        return")],
        ["other class labels", "supervised=True"],
    ),
    ("method", "training free is correct"): (
        [
            (
                "    @property\n    def n_units",
                '    curves = {"loss": [(1, 0.5)]}\n\n    @property\n    def n_units',
            )
        ],
        ["training curves (loss)"],
    ),
    ("method", "lossless is correct"): (
        [("lossless=False", "lossless=True"), ("n = min(self", "n = 4 or min(self")],
        ["spec.lossless is True", "the error of decode"],
    ),
    ("method", "decode reads input is correct"): (
        [
            ("def decode(self, codes):", "def decode(self, codes, x=None):"),
            ("return codes @ self.atoms + self.mean", "return codes @ self.atoms + self.mean if x is None else x + 0"),
        ],
        ["another result when it is given x", "set decode_reads_input = True"],
    ),
    ("method", "dictionary matches decode"): (
        [("return codes @", "return torch.tanh(codes) @")],
        ["not codes @ dictionary().atoms"],
    ),
    ("method", "save and load"): (
        [('fitted = ("atoms", "mean")', 'fitted = ("atoms",)')],
        ["no attribute 'mean'", "name every tensor it needs in `fitted`"],
    ),
    ("metric", "declaration"): ([('direction = "higher"', 'direction = "up"')], ["'up'", "higher, lower, none"]),
    ("metric", "applies"): (
        [
            (
                PLACE,
                f"    @classmethod\n    def applies(cls, method, baseline):\n        return method.n_units\n\n{PLACE}",
            )
        ],
        ["applies returns", "True or False"],
    ),
    ("metric", "scores"): ([("self.score(self.near", "self.score(100 * self.near")], ["printed in percent", "`unit`"]),
    ("metric", "parameters"): (
        [('return {"cosine": 0.9}', 'return {"cosine": 0.9, "near": self.near}')],
        ["params differs between methods"],
    ),
    ("metric", "deterministic"): (
        [("import math\n", "import math\nimport random\n"), ("self.near / self.n", "random.random()")],
        ["two passes over the same images differ", "seed"],
    ),
    ("metric", "any batch size"): (
        [
            ("int((cosine > self.params", "float((cosine > self.params"),
            ('["cosine"]).sum())', '["cosine"]).float().mean())'),
            ("cosine.numel()", "1"),
        ],
        ["batches of 4 and of 7 images", "divide in `compute`"],
    ),
    ("metric", "dead units"): (
        [("self.near / self.n if self.n else math.nan", "0.1 / int(outcome.units.alive.sum())")],
        ["ZeroDivisionError", "line 33 of broken.py"],
    ),
    ("metric", "batches unchanged"): (
        [("        cosine = cos", "        batch.a.mul_(2)\n        cosine = cos")],
        ["update changes the batch in place"],
    ),
    ("metric", "bounded memory"): (
        [
            ("self.near = self.n = 0", "self.near = self.n = 0\n        self.seen = []"),
            ("self.n += cosine.numel()", "self.n += cosine.numel()\n        self.seen.append(batch.a_hat)"),
        ],
        ["bytes for every", "Keep sums and counts"],
    ),
    ("judge", "judges"): ([("(1, 2, 4)", "(1, 2)")], ["odd number"]),
    ("judge", "settings and ids"): ([('"version": 1', '"version": id(self)')], ["another id each time"]),
    ("judge", "unknown options"): ([("wanted.options or wanted.judges:", "wanted.judges:")], ["is ignored"]),
    ("judge", "replies"): ([("in questions:", "in questions[1:]:")], ["1 got no reply", "`keep`"]),
    ("judge", "verdicts"): ([('"A" if', '"grid A" if')], ['neither "A" nor "B"', '"answer": "A"']),
    ("judge", "same questions same answers"): (
        [("import json\n", "import json\nimport random\n"), ("spread[0] < spread[1]", "random.random() < 0.5")],
        ["differently if they are asked again", "random draws seeded"],
    ),
    ("judge", "depends on the grids"): (
        [('"A" if spread[0] < spread[1] else "B"', '"A"')],
        ["answers A in both orders", "50 %"],
    ),
    ("protocol", "prompts"): ([('Prompt("@-1", TEXT,', 'Prompt("version 1", TEXT,')], ["without spaces"]),
    ("protocol", "versions"): ([('"@-1+outlined"', '"@-1"')], ["Both styles have the version"]),
    ("protocol", "schema"): (
        [("structured=True,", 'structured=True, schema={"type": "string"},')],
        ["must be that of an object"],
    ),
    ("protocol", "reader"): (
        [
            ("import PROTOCOLS, Prompt", "import PROTOCOLS, Prompt\nimport json"),
            ("structured=True,", "read=json.loads,"),
        ],
        ["The check raised TypeError"],
    ),
    ("backbone", "listing"): (
        [('source="mine", license="mine", build', 'source="mine", license="", build')],
        ["license of the Source is empty"],
    ),
    ("backbone", "loads"): ([("name=request.spec", 'name="other"')], ["name=request.spec"]),
    ("backbone", "features"): ([(": net(images)", ": net(images).double()")], ["must return float32"]),
    ("backbone", "independent of the batch"): (
        [(".mean((2, 3))", ".mean((2, 3)) + images.mean()")],
        ["change with the batch"],
    ),
    ("backbone", "different features"): ([(".mean((2, 3))", ".mean((2, 3)) * 0")], ["do not depend on the images"]),
    ("backbone", "default site"): ([('default_site="mix"', 'default_site="mxi"')], ["no layer 'mxi'", "mix"]),
    ("backbone", "layer affects the features"): (
        [
            (
                "self.rest(self.mix(self.stem(images)))",
                "self.rest(self.mix(self.stem(images)) * 0 + images.mean((2, 3))[:, :1, None, None])",
            )
        ],
        ["by zeros changes nothing"],
    ),
    ("backbone", "head"): (
        [("n_prefix_tokens=0,", "n_prefix_tokens=0,\n        n_classes=5,")],
        ["belong together"],
    ),
    ("backbone", "reproducible"): (
        [("        torch.manual_seed(0)\n", "")],
        ["gives two networks", "seed the weights"],
    ),
    ("backbone", "global generator unchanged"): (
        [("with torch.random.fork_rng(devices=[]):", "if True:")],
        ["torch.random.fork_rng()"],
    ),
    ("backbone", "checkpoint"): ([("if request.checkpoint is not None:", "if False:")], ["checkpoint is ignored"]),
    ("dataset", "loads"): ([("range(int(identifier or 120))", "range(0)")], ["has no images"]),
    ("dataset", "names"): ([("int(identifier or 120))]", "int(identifier or 120))][::-1]")], ["not sorted by name"]),
    ("dataset", "labels"): ([("number % len(CLASSES))", "number % 4)")], ["has the label 3", "count from 0"]),
    ("dataset", "images readable"): (
        [("return file.getvalue()", "return b'text ' + record.name.encode()")],
        ["cannot be read", "no image format"],
    ),
    ("dataset", "reader"): ([("return len(self.read(record))", "return 1")], ["reader.size returns 1"]),
    ("dataset", "reproducible"): ([("default_rng(number)", "default_rng()")], ["other contents", "seed random draws"]),
    ("dataset", "no duplicate images"): (
        [("default_rng(number)", "default_rng(number // 6)")],
        ["are the same image"],
    ),
    ("dataset", "split"): (
        [
            ("from methods.errors", "from harness.datasets.base import PredefinedSplit\nfrom methods.errors"),
            ("CLASSES, Drawn())", "CLASSES, Drawn(), PredefinedSplit(np.arange(10), np.arange(5, 20)))"),
        ],
        ["5 images are in both parts"],
    ),
    ("dataset", "identifier"): (
        [("    if identifier and not", '    identifier = ""\n    if identifier and not')],
        ["raise UserError for an unknown identifier"],
    ),
}


@pytest.fixture(scope="module")
def world() -> Iterator[CheckWorld]:
    with small_world() as made:
        yield made


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    with clean_registries():
        yield


def findings(kind: str, path: Path, world: CheckWorld) -> dict[str, Finding]:
    (name,) = loaded(path, kind)
    # One world for all metrics: it takes longer to make than a metric to check.
    found = check_metric(METRICS.get(name), world) if kind == "metric" else check(CheckTarget(kind, name)).findings
    return {one.check: one for one in found}


def test_every_check_has_a_plugin_that_breaks_it() -> None:
    tables = {
        "method": METHOD_CHECKS,
        "metric": METRIC_CHECKS,
        "judge": PANEL_CHECKS,
        "protocol": PROTOCOL_CHECKS,
        "backbone": BACKBONE_CHECKS,
        "dataset": DATASET_CHECKS,
    }
    assert set(BROKEN) == {(kind, name) for kind in tables for name in map(name_of, tables[kind])}


@pytest.mark.parametrize("kind", ["method", "metric", "judge", "protocol", "backbone", "dataset"])
def test_starting_points_pass(kind: str, tmp_path: Path, world: CheckWorld) -> None:
    found = findings(kind, scaffold(kind, tmp_path / f"my_{kind}.py"), world)
    assert [one for one in found.values() if not one.ok] == []
    assert sum(one.applies for one in found.values()) >= (5 if kind == "protocol" else 7)


@pytest.mark.parametrize(("kind", "check_name"), BROKEN)
def test_each_broken_promise_is_found_and_explained(
    kind: str, check_name: str, tmp_path: Path, world: CheckWorld
) -> None:
    changes, words = BROKEN[kind, check_name]
    path = scaffold(kind, tmp_path / "broken.py")
    text = path.read_text()
    for old, new in ((old.replace('"@-1', '"broken-1'), new.replace('"@-1', '"broken-1')) for old, new in changes):
        assert text.count(old) == 1, f"the starting point has {old!r} {text.count(old)} times"
        text = text.replace(old, new)
    path.write_text(text)
    found = findings(kind, path, world)[check_name]
    assert not found.ok
    for word in words:
        assert word in found.why, found.why


def test_tokens_that_have_no_place_are_found() -> None:
    whole = backbones.load("tiny_vit")
    source = backbones.BACKBONES.get("tiny_vit")
    for count, fine in ((1, True), (0, False)):
        built = replace(whole, name=f"vit_{count}", n_prefix_tokens=count)
        backbones.register(replace(source, name=f"vit_{count}", build=lambda request, built=built: built))
        found = {one.check: one for one in check_backbone(f"vit_{count}")}["default site"]
        assert found.ok == fine
        if not fine:
            assert "17 tokens" in found.why and "Count CLS" in found.why
