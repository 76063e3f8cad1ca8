"""What `polyalign check` can see in the user's own data: small local files, read as the jobs will.

Large files, hub data sets and what the workflow has yet to make are left to the jobs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from polyalign.data.labels import labelled_texts
from polyalign.data.packed import file_of, is_packed
from polyalign.data.pair_counts import said_of
from polyalign.data.preferences import apportion, read_pairs
from polyalign.data.prompts import source_prompts
from polyalign.data.rewards_table import (
    check_splits,
    hold_out,
    read_rewards,
)
from polyalign.data.tables import read_table
from polyalign.errors import InputError
from polyalign.map.cautions import cautions
from polyalign.map.problem import pose
from polyalign.palettes.solve import cells_of
from polyalign.plan.counts import SMALL
from polyalign.plan.stages.shared import pairs_file, pairs_input, pairs_settings
from polyalign.study import Study


@dataclass
class Findings:
    """What was found in the data; one sentence each.

    Attributes:
        faults: what would stop a job.
        warnings: what would not, but a reader must know.
    """

    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_data(study: Study) -> Findings:
    """Read the study's small local files, and say what is wrong with them or lost in them."""
    found = Findings()
    _prompts(study, found)
    for name in study.preferences:
        _pairs(study, name, found)
    for name, made in study.reward_models.items():
        if made.labels and _is_small(str(file_of(made.labels.path))):
            try:
                labelled_texts(read_table(made.labels.path), made.labels)
            except InputError as error:
                found.faults.append(f"reward_models.{name}.labels: {error}")
    if study.rewards is not None and _is_small(study.rewards):
        try:
            _scores(study, study.rewards, found)
        except InputError as error:
            found.faults.append(f"rewards: {error}")
    # What is wrong with a file of pairs is so for its train and test split.
    found.faults = list(dict.fromkeys(found.faults))
    return found


def _is_small(path: str | list[str]) -> bool:
    """Whether a path is a local file small enough to be read now."""
    return isinstance(path, str) and Path(path).is_file() and Path(path).stat().st_size <= SMALL


def _prompts(study: Study, found: Findings) -> None:
    for number, source in enumerate(study.prompts.sources):
        if not _is_small(pairs_file(source.path, source.split)):
            continue
        try:
            read = source_prompts(**source.model_dump(), seed=study.seed)
            found.warnings += read.said(source.path)
        except InputError as error:
            found.faults.append(f"prompts.sources.{number}: {error}")


def _pairs(study: Study, name: str, found: Findings) -> None:
    path = study.preferences[name].path
    judged = any(made.preferences == name for made in study.reward_models.values())
    for split in ("train", "test") if judged else ("train",):
        file = pairs_input(study, name, split)
        if not _is_small(file):
            continue
        source = path if is_packed(path) else file
        settings = {**pairs_settings(study, name), "source": source, "split": split}
        try:
            counts = read_pairs(**settings).counts
        except InputError as error:
            found.faults.append(f"preferences.{name}: {error}")
            continue
        found.warnings += [f"preferences.{name}, {split}: {said}" for said in said_of(counts)]
        if split == "train":
            found.faults += _too_few(study, name, counts["kept"])


def _too_few(study: Study, name: str, there: int) -> Iterator[str]:
    """The largest number of pairs that a policy's mixture draws from a data set, if too large."""
    asked = {
        policy.name: apportion(policy.settings["mixture"], policy.settings["pairs"])[name]
        for policy in study.all_policies.values()
        if name in policy.settings.get("mixture", {})
    }
    most = max(asked, key=lambda policy: asked[policy], default=None)
    if most is not None and asked[most] > there:
        yield (
            f"policies.{most.partition('/')[0]}: {most} draws {asked[most]} pairs from "
            f"preferences.{name}, which has {there} to train on; expected at least as many: lower "
            "`pairs` or the share, or add pairs"
        )


def _scores(study: Study, path: str, found: Findings) -> None:
    frame = read_rewards(
        path,
        columns=study.columns,
        negated=study.negated,
        above=study.shares,
        test_share=study.prompts.test_share,
    )
    check_splits(set(frame["split"]), path)
    pool, _ = hold_out(frame)
    fit = pool[pool["split"] == "fit"]
    if fit.empty:
        raise InputError(f"{path}: no rows of the fit split; expected some to fit λ on")
    said: dict[str, str] = {}
    for name, levels in study.configured.items():
        posed = pose(levels, *cells_of(fit, levels), study.map.scope)
        for caution in cautions(posed.base, posed.levels, posed.target, posed.names):
            said.setdefault(caution, name)
    found.warnings += [f"palette {name}: {caution}" for caution, name in said.items()]
