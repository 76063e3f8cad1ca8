"""The grammar of all paths below results/: written once, built here and parsed back here.

    results/{study}/
      prompts.parquet, config.json, overview.html, report.html
      world/…                                     data that the sandbox writes
      models/{family}/{variant}/ .json .csv       a model, its manifest, the metrics of its training
      policies/{family}/{variant}/
        shards/samples_{i}-of-{n}.parquet         one scatter item of a policy's responses
        shards/{value}_{i}-of-{n}.parquet         the rewards of one value for that item
        rewards.parquet, levels.csv, winrate.csv, votes.jsonl
        lam.json                                  λ moved until the policy realises its palette
      palettes/lam/{palette}.json                 λ; palettes/{palette}.json adds its diagnostics
      explore/{name}.csv, tables/{name}.{kind}, plots/{figure}.{kind}
      logs/{stage}/{job}.log .json                a job's log, and its record beside it
      calls/values/{value}/, calls/pairs/         answers of a judge, and the number of its requests
      cache/, work/{stage}-{variant}/             kept for later runs and attempts; no rule's output

A part in braces may also be a wildcard of Snakemake (`"{variant}"`): rules call the same functions.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from polyalign.families import NAMES, Policy

OF_ANY = Policy("{family}", "{variant}")
"""Stands for any policy in the files of a rule."""


@dataclass(frozen=True)
class Paths:
    """The paths of one study, relative to the folder that Snakemake runs in.

    Attributes:
        study: name of the study.
    """

    study: str

    @property
    def results(self) -> str:
        """The folder of the study."""
        return f"results/{self.study}"

    def file(self, name: str) -> str:
        """A file of the whole study, such as `prompts.parquet`."""
        return f"{self.results}/{name}"

    def world(self, name: str) -> str:
        """A file that the sandbox writes."""
        return f"{self.results}/world/{name}"

    def model(self, policy: Policy) -> str:
        """Folder of a model; of a reward model as `Policy("reward", name)`."""
        return f"{self.results}/models/{policy.name}"

    def manifest(self, policy: Policy) -> str:
        """What the model's weights and settings are: the file that other jobs depend on."""
        return f"{self.model(policy)}.json"

    def metrics(self, policy: Policy) -> str:
        """Metrics of the model's training by step."""
        return f"{self.model(policy)}.csv"

    def calibration(self) -> str:
        """Calibration of the study's value model on held-out prompts."""
        return f"{self.results}/models/value/calibration.csv"

    def makes(self, source: str) -> bool:
        """Whether `source` names a model that this study makes."""
        return source.startswith(f"{self.results}/models/")

    def samples(self, policy: Policy, i: int | str = "{i}", n: int | str = "{n}") -> str:
        """Scatter item `i` of `n` of a policy's responses."""
        return self.shard(policy, "samples", i, n)

    def shard(
        self, policy: Policy, what: str = "{value}", i: int | str = "{i}", n: int | str = "{n}"
    ) -> str:
        """One scatter item of a policy: `samples`, or the rewards of the value `what`."""
        return f"{self.results}/policies/{policy.name}/shards/{what}_{i}-of-{n}.parquet"

    def rewards(self, policy: Policy = OF_ANY) -> str:
        """Samples and rewards of a policy."""
        return self.of_policy(policy, "rewards.parquet")

    def levels(self, policy: Policy = OF_ANY) -> str:
        """Levels of a policy."""
        return self.of_policy(policy, "levels.csv")

    def winrate(self, policy: Policy = OF_ANY) -> str:
        """Win rates of a policy."""
        return self.of_policy(policy, "winrate.csv")

    def votes(self, policy: Policy = OF_ANY) -> str:
        """Votes of the judge of pairs between a policy and its opponent."""
        return self.of_policy(policy, "votes.jsonl")

    def steered(self, policy: Policy = OF_ANY) -> str:
        """λ of a guided policy that was moved until it realises its palette."""
        return self.of_policy(policy, "lam.json")

    def of_policy(self, policy: Policy, name: str) -> str:
        """A file of one policy."""
        return f"{self.results}/policies/{policy.name}/{name}"

    def lam(self, palette: str = "{palette}") -> str:
        """λ of a palette, without diagnostics."""
        return f"{self.results}/palettes/lam/{palette}.json"

    def palette(self, palette: str = "{palette}") -> str:
        """λ of a palette with its diagnostics."""
        return f"{self.results}/palettes/{palette}.json"

    def explored(self, name: str, kind: str = "csv") -> str:
        """A table that figures alone are drawn from."""
        return f"{self.results}/explore/{name}.{kind}"

    def table(self, name: str, kind: str = "csv") -> str:
        """A table of the report."""
        return f"{self.results}/tables/{name}.{kind}"

    def plot(self, figure: str = "{figure}", kind: str = "pdf") -> str:
        """A figure; one of a policy has the policy's name behind a slash."""
        return f"{self.results}/plots/{figure}.{kind}"

    def cache(self) -> str:
        """Folder of all scores, by specification and content."""
        return f"{self.results}/cache"

    def calls(self, value: str = "") -> str:
        """Folder of all that the judge of a value has answered, or that of pairs of answers."""
        return f"{self.results}/calls/{f'values/{value}' if value else 'pairs'}"

    def work(self, stage: str, variant: str) -> str:
        """Folder of the checkpoints of a training."""
        return f"{self.results}/work/{stage}-{variant}"

    def log(self, stage: str, job: str = "") -> str:
        """Log of a job (`job_name`), or of the one job of a stage."""
        return f"{self.results}/logs/{stage}{f'/{job}' if job else ''}.log"


def job_name(policy: Policy = OF_ANY, value: str = "", i: int | str = "", n: int | str = "") -> str:
    """Name of a job of one policy below logs/{stage}/: `rloo-hhh-60_humor_0-of-1`."""
    scored = f"_{value}" if value else ""
    item = f"_{i}-of-{n}" if n else ""
    return f"{policy.family}-{policy.variant}{scored}{item}"


@dataclass(frozen=True)
class JobFile:
    """What the path of a log or record says of its job.

    Attributes:
        stage: name of the stage, the first folder or the file's own name.
        name: the job's name within its stage; empty for the one job of a stage.
        policy: the policy, for a stage whose jobs are of one policy each.
        value: the value, for the stage `annotate`, whose jobs score one value each.
    """

    stage: str
    name: str = ""
    policy: Policy | None = None
    value: str | None = None


OF_POLICIES = (
    "annotate", "decode", "generate", "judge", "levels", "merge", "steer", "train", "winrate",
)  # fmt: skip
"""Stages whose jobs are of one policy each; `annotate` needs the values to tell which."""

FAMILIES = ("base", *NAMES)


def parse_job(path: Path, values: Iterable[str] = ()) -> JobFile:
    """Read what `Paths.log` wrote.

    Args:
        path: relative to the folder `logs`.
        values: the study's values; the name of a job of `annotate` ends in one of them, the longest
            one if there are several.
    """
    stage, *names = path.with_suffix("").parts
    name = "/".join(names)
    if stage not in OF_POLICIES:
        return JobFile(stage, name)
    stem, value = name, None
    if stage in ("generate", "annotate"):
        stem = re.sub(r"_\d+-of-\d+$", "", stem)
    if stage == "annotate":
        value = max((one for one in values if stem.endswith(f"_{one}")), key=len, default=None)
        if value is None:
            return JobFile(stage, name)
        stem = stem.removesuffix(f"_{value}")
    for family in FAMILIES:
        if stem.startswith(f"{family}-"):
            return JobFile(stage, name, Policy(family, stem.removeprefix(f"{family}-")), value)
    return JobFile(stage, name, None, value)


def policy_of(path: Path) -> Policy:
    """The policy of a file in policies/{family}/{variant}/."""
    return Policy(path.parent.parent.name, path.parent.name)


def model_of(path: Path) -> Policy:
    """The model of a manifest or of the metrics of a training: models/{family}/{variant}.json."""
    return Policy(path.parent.name, path.with_suffix("").name)


def repair(path: str | Path, what: str = "it") -> str:
    """How to replace a damaged file or folder: only the workflow's own are made again.

    Args:
        path: what is damaged, from the folder that Snakemake runs in.
        what: what is to be deleted, in words.
    """
    if "results" in Path(path).parts:
        return f"delete {what} and let the workflow make it again"
    return "correct the path, or restore the original"
