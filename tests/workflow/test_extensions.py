"""One of each extension in a copy of the checkout, as docs/architecture.md says, and a study on it.

A kind of reward is one file, a family a declaration and an implementation, a figure one file, a
table one entry and its caption. Nothing else of the checkout changes.
"""

import json
import runpy
from itertools import product
from pathlib import Path

import pandas as pd
import yaml
from conftest import REPOSITORY, snakemake

LIBRARY = "workflow/polyalign"

FILES = {
    f"{LIBRARY}/rewards/kinds/letter_count.py": '''"""Counts of one letter."""

from typing import Literal

import numpy as np
from pydantic import Field

from polyalign.rewards import Score
from polyalign.rewards.spec import ValueSpec


class Spec(ValueSpec):
    """How often the response has a certain letter.

    Reference: Doe: On letters. 2026.
    """

    kind: Literal["letter_count"] = "letter_count"
    letter: str = Field(description="The letter.")


class Scorer(Score):
    """Counts the letter of a `Spec`."""

    def __init__(self, spec: Spec) -> None:
        self.letter = spec.letter

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """Counts (n,) in n responses."""
        return np.array([float(text.count(self.letter)) for text in responses])
''',
    f"{LIBRARY}/families/first_of.py": '''"""`first-of`: always the first candidate."""

from pydantic import Field

from polyalign.families import Family, Policy
from polyalign.settings import Names, Strict


class Settings(Strict):
    """Take the first candidate of each prompt, as a placebo.

    Reference: Doe: On first answers. 2026.
    """

    names: Names = Field(description="One policy per name.")


def policies(settings: Settings) -> list[Policy]:
    """One policy per name."""
    return [Policy("first-of", name) for name in settings.names]


FAMILY = Family("select", "polyalign.sampling.first_of:first_of", Settings, policies)
''',
    f"{LIBRARY}/sampling/first_of.py": '''"""Selection of the first candidate."""

from typing import Any

import numpy as np
import pandas as pd

from polyalign.data.rewards_table import value_columns
from polyalign.sampling.select import Decoded


def first_of(pool: pd.DataFrame, palette: dict[str, Any], *, seed: int) -> Decoded:
    """The first candidate of each test prompt."""
    test = pool[pool["split"] == "test"].sort_values(["prompt_id", "candidate"])
    first = test.groupby("prompt_id", as_index=False).head(1)
    size = test.groupby("prompt_id").size().to_numpy()
    chosen = first.drop(columns=["logprob", "logprob_base"]).assign(candidate=0, kl=np.log(size))
    expected = {
        name: {"level": float(first[name].mean()), "se": float(first[name].sem())}
        for name in value_columns(first)
    }
    return Decoded(chosen.reset_index(drop=True), {}, expected)
''',
    f"{LIBRARY}/plots/figures/counts.py": '''"""Levels as bars: one panel per value."""

from collections.abc import Sequence
from pathlib import Path

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData

FIGURE = FigureSpec(needs=("levels",))


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    values = list(data.labels)
    with theme.sheet(output, 1, len(values), width=theme.PAGE, height=2.0) as (_, panels):
        for axes, value in zip(panels[0], values, strict=True):
            heights = [data.levels[name]["mean"][value] for name in data.policies]
            axes.bar(list(data.policies), heights)


def finding(data: FigureData) -> str:
    """The number of bars."""
    return f"There are {len(data.policies)} bars."
''',
    "workflow/report/spans.rst": "How far the policies' levels are apart, in each value.\n",
}
MAKER = '''

def spans(study: StudyTables) -> pd.DataFrame:
    """Range of the levels of all policies: one row per value."""
    means = pd.DataFrame({name: table["mean"] for name, table in study.levels.items()})
    span = means.max(axis="columns") - means.min(axis="columns")
    return span.rename("span").rename_axis("value").reset_index()
'''
ENTRY = '    "spans": Table("ranges", "polyalign.report.tables:spans", printed=False),\n'
LETTERS = "abcpq"
STUDY = {
    "study": "extended",
    "model": {"source": "mine/model", "device": "cpu"},
    "prompts": {
        "sources": [{"path": "mine/prompts.jsonl"}],
        "template": "{prompt}:",
        "test_share": 0.5,
    },
    "sampling": {
        "max_new_tokens": 3,
        "candidates": 8,
        "evaluation_candidates": 2,
        "shards": 1,
        "engine": "transformers",
    },
    "values": {"letters": {"kind": "letter_count", "letter": "a"}},
    "palettes": {"more": {"letters": "mean+0.2sd"}},
    "policies": {"map-d": {"palettes": ["more"]}, "first-of": {"names": ["placebo"]}},
    "evaluation": {"bootstrap": 20},
    "map": {"resamples": 20},
    "plots": ["counts"],
}


def test_one_of_each_extension_is_found_and_runs(checkout: Path) -> None:
    for name, text in FILES.items():
        (checkout / name).write_text(text)
    registry = checkout / f"{LIBRARY}/report/registry.py"
    text = registry.read_text()
    assert text.count("TABLES = {\n") == 1
    registry.write_text(text.replace("TABLES = {\n", f"TABLES = {{\n{ENTRY}"))
    with (checkout / f"{LIBRARY}/report/tables.py").open("a") as stream:
        stream.write(MAKER)
    (checkout / "mine").mkdir()
    trainer = runpy.run_path(str(REPOSITORY / "tests/unit/train/enumerable.py"))
    trainer["save_base"](checkout / "mine/model")
    prompts = [" ".join(letters) for letters in product(LETTERS, repeat=3)][:60]
    lines = [json.dumps({"prompt": prompt}) for prompt in prompts]
    (checkout / "mine/prompts.jsonl").write_text("\n".join(lines) + "\n")
    (checkout / "config.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    results = checkout / "results/extended"
    targets = ["tables/spans.csv", "plots/counts.pdf", "overview.html", "tables/families.csv"]
    made = snakemake(
        checkout, "--cores", "2", "--quiet", "rules", "--show-failed-logs",
        "--", *(f"results/extended/{target}" for target in targets),
    )  # fmt: skip
    assert made.returncode == 0, made.stdout
    assert all((results / target).is_file() for target in targets)
    placebo = pd.read_parquet(results / "policies/first-of/placebo/rewards.parquet")
    assert (placebo["letters"] == placebo["response"].str.count("a")).all()
    pool = pd.read_parquet(results / "policies/base/pool/rewards.parquet")
    test = pool[(pool["split"] == "test") & (pool["candidate"] == 0)]
    assert sorted(placebo["response"]) == sorted(test["response"])
    levels = pd.read_csv(results / "tables/levels.csv")
    assert set(levels["family"]) == {"base", "map-d", "first-of"}
    (row,) = pd.read_csv(results / "tables/spans.csv").itertuples()
    assert row.span == levels["letters_mean"].max() - levels["letters_mean"].min()
    # What the report says of them is in their own files.
    page = (results / "overview.html").read_text()
    for said in ("as a placebo", "On first answers", "has a certain letter", "On letters"):
        assert said in page, said
    assert "There are 3 bars." in (results / "plots/counts.txt").read_text()
