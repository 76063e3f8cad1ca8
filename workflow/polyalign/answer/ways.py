"""How a prompt can be answered: by the policies and palettes of a study, or with λ given directly.

Nothing here imports torch, so that a wrong name is reported at once.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from polyalign.answer.reach import check_reach
from polyalign.data.chats import with_system
from polyalign.data.tables import read_settings
from polyalign.errors import InputError, nearest
from polyalign.families import BASE, VALUE, Policy, family
from polyalign.palettes.lam import read_lam
from polyalign.palettes.record import lam_of
from polyalign.paths import Paths
from polyalign.settings import SamplingRule
from polyalign.study import Study, load, validate

MOST = 1024
"""Most candidates, and most answers, of one prompt."""

MOST_LAM = 1e6
"""Largest λ, in 1 / the reward's units: far below what rounding to numbers would spoil."""

MOST_SEED = 2**63 - 1

LAM = "lam"
"""The name of a way that chooses among candidates with a λ that is given directly."""

LEARNT = "value-d"
"""The family that samples with the study's value model, and the way that does so with any λ."""

NOT_YET = "has not been {}; expected a finished study; run it with `polyalign run`"


@dataclass(frozen=True)
class Way:
    """How a prompt is answered.

    Attributes:
        name: a policy (`rloo/hhh-60`); for a λ that is given directly `lam`, or `LEARNT` if the
            value model draws.
        kind: `sample` draws from a model, `guide` with token-level guidance, `learnt` with the
            study's value model; `tilt` draws among candidates with weights exp(λ·r), and `best`
            takes the one of largest λ·r.
        model: the policy whose model draws; the base model's for all kinds but `sample`.
        lam: value → weight λ ≥ 0; empty for `sample`.
        guidance: settings of token-level guidance.
    """

    name: str
    kind: Literal["sample", "guide", "learnt", "tilt", "best"]
    model: Policy = BASE
    lam: Mapping[str, float] = field(default_factory=dict)
    guidance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chooses(self) -> bool:
        """Whether it chooses among candidates of the base model."""
        return self.kind in ("tilt", "best")

    @property
    def key(self) -> tuple[str, tuple[tuple[str, float], ...]]:
        """What tells it from other ways of a study: its name, and λ, which may come with it."""
        return self.name, tuple(sorted(self.lam.items()))


@dataclass(frozen=True)
class Asked:
    """What is asked: a prompt, how it is answered, how often, and the seed.

    Attributes:
        prompt: the prompt, without its template.
        way: how it is answered.
        seed: of everything random; the same seed gives the same answer.
        samples: number of answers. They are independent; those that are chosen are drawn, with
            replacement, from the same candidates.
        candidates: candidates of the base model (K); None where nothing is chosen among any.
        text: what the model reads; None for the prompt in the study's template.
        rule: how the model samples; None for the study's rule. With another one the answers are
            those of another policy.
        beams: texts that a beam search keeps (the answer is then no sample); 1 draws.
    """

    prompt: str
    way: Way
    seed: int
    samples: int = 1
    candidates: int | None = None
    text: str | None = None
    rule: SamplingRule | None = None
    beams: int = 1


def enter_study(path: str | Path) -> Study:
    """`open_study`, of a study that can answer.

    Raises:
        InputError: as `open_study`, or if the study has no model.
    """
    study = open_study(path)
    if study.model is None:
        raise InputError(
            f"{path}: the study {study.study!r} is made from scores alone; expected one with a "
            "model, which can answer"
        )
    return study


def open_study(path: str | Path) -> Study:
    """The study of a config file, or of a folder `results/<study>`.

    The paths in a config start at the folder that holds `results`. So this becomes the working
    folder, if a folder is given.

    Raises:
        InputError: if there is no such study, or its config has faults.
    """
    path = Path(path)
    if path.suffix in (".yaml", ".yml"):
        return load(path)
    file = path / "config.json"
    if not file.is_file():
        found = sorted(one.parent.name for one in Path("results").glob("*/config.json"))
        there = f"; below results there are {', '.join(found)}" if found else ""
        raise InputError(
            f"{path}: has no config.json; expected a config (.yaml), or the folder "
            f"results/<study> of a study that has run{there}"
        )
    folder = path.resolve()
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise InputError(
            f"{file}: is no JSON ({fault}); expected the config as the study used it; "
            "run the study again"
        ) from fault
    if folder.parent.name != "results" or config.get("study") != folder.name:
        raise InputError(
            f"{path}: holds the study {config.get('study')!r}; expected it in the folder "
            f"results/{config.get('study')}, since its models are named so; move it there"
        )
    os.chdir(folder.parent.parent)
    return validate(config)


def ask(
    study: Study,
    prompt: str,
    way: Way,
    *,
    seed: int,
    samples: int = 1,
    candidates: int | None = None,
    most: int = MOST,
) -> Asked:
    """Check what is asked, and fill in the study's system prompt and number of candidates.

    Args:
        study: the study.
        prompt: the prompt, without its template.
        way: how it is answered.
        seed: from 0 to `MOST_SEED`.
        samples: number of answers.
        candidates: K; None takes the study's, where something is chosen.
        most: most candidates, and most answers.

    Raises:
        InputError: if a number is out of its bounds, or the prompt is no text.
    """
    try:
        prompt.encode()
    except UnicodeEncodeError as fault:
        raise InputError(
            f"the prompt holds half a character ({fault.object[fault.start]!r} at "
            f"{fault.start}), which no model can read; expected text; remove it"
        ) from fault
    if candidates is not None and not way.chooses:
        raise InputError(
            f"{way.name} draws its answers itself and has no candidates; expected `candidates` "
            "with a palette, with λ, or with a policy that chooses; leave it out"
        )
    if candidates is None and way.chooses:
        candidates = study.sampling.candidates
    for name, number in (("samples", samples), ("candidates", candidates)):
        if number is not None and not 1 <= number <= most:
            raise InputError(f"{name} is {number}; expected a number from 1 to {most}; change it")
    if not 0 <= seed <= MOST_SEED:
        raise InputError(f"seed is {seed}; expected a number from 0 to {MOST_SEED}; change it")
    return Asked(with_system(prompt, study.prompts.system), way, seed, samples, candidates)


def way_of_policy(study: Study, name: str) -> Way:
    """How a policy of the study, or the base model (`base/base`), answers.

    Raises:
        InputError: if there is no such policy, or it is not made yet, or has no λ.
    """
    if name == BASE.name:
        return Way(name, "sample")
    policy = study.all_policies.get(name)
    if policy is None:
        names = [BASE.name, *study.all_policies]
        raise InputError(
            f"the study {study.study!r} has no policy {name!r}; expected one of "
            f"{', '.join(names)}; {nearest(name, names)}"
        )
    if family(policy.family).kind == "train":
        if not _is_trained(study, policy):
            raise InputError(f"policy {name!r} {NOT_YET.format('trained')}")
        return Way(name, "sample", model=policy)
    if policy.family == "token-d":
        guidance = {key: one for key, one in policy.settings.items() if key != "lam"}
        return Way(name, "guide", lam=_lam(study, policy, "lam_train"), guidance=guidance)
    if policy.family == LEARNT:
        return _learnt(study, name, _guiding(study, policy))
    if policy.family in ("map-d", "morl-d"):
        return Way(name, "tilt", lam=_lam(study, policy, "lam"))
    if policy.family == "best-of":
        return Way(name, "best", lam=_lam(study, policy, "lam"))
    raise InputError(
        f"policy {name!r}: a single prompt cannot be asked of the family {policy.family}; expected "
        "a trained policy, or one of map-d, morl-d, best-of, token-d, value-d"
    )


def way_of_palette(study: Study, name: str, by: str = LAM) -> Way:
    """With the λ of a palette: selection among candidates, as the policy `map-d/NAME` does it, or
    sampling with the study's value model, as `value-d/NAME` does it.

    Args:
        study: the study.
        name: the palette.
        by: `LAM` chooses, `LEARNT` samples.

    Raises:
        InputError: if there is no such palette, or it is not solved, or has no solution; if the
            study has no value model.
    """
    if name not in study.palettes:
        raise InputError(
            f"the study {study.study!r} has no palette {name!r}; expected one of "
            f"{', '.join(study.palettes) or 'none: it has no palettes'}; "
            f"{nearest(name, study.palettes)}"
        )
    if by == LEARNT:
        policy = Policy(LEARNT, name, palette=name)
        return _learnt(study, policy.name, _guiding(study, policy))
    lam = _lam(study, Policy("map-d", name, palette=name), "lam")
    return Way(f"map-d/{name}", "tilt", lam=lam)


def way_of_lam(study: Study, lam: Mapping[str, float], by: str = LAM) -> Way:
    """With λ given directly: selection among candidates, or sampling with the value model.

    Args:
        study: the study.
        lam: value → weight, from 0 to `MOST_LAM`, in 1 / the reward's units; others have 0.
        by: `LAM` chooses, `LEARNT` samples.

    Raises:
        InputError: if a value is unknown or only evaluated, or a weight is out of its bounds; if
            the study has no value model.
    """
    known = [value for value in study.values if value not in study.evaluation.evaluate_only]
    if not lam:
        raise InputError("no λ is given; expected a number for a value, as in humor=1; add one")
    for value, weight in lam.items():
        if value not in known:
            raise InputError(
                f"λ of {value!r}: the study {study.study!r} has no such value to weigh; expected "
                f"one of {', '.join(known)}; {nearest(value, known)}"
            )
        if not (math.isfinite(weight) and 0 <= weight <= MOST_LAM):
            raise InputError(
                f"λ of {value!r} is {weight:g}; expected a number from 0 to {MOST_LAM:g}, in 1 / "
                "the reward's units; for the best of all candidates ask a policy best-of"
            )
    if by == LEARNT:
        return _learnt(study, LEARNT, dict(lam))
    return Way(LAM, "tilt", lam=dict(lam))


def learns(study: Study) -> bool:
    """Whether the study has a value model, and it is trained."""
    return study.value_training is not None and _is_trained(study, VALUE)


def _is_trained(study: Study, model: Policy) -> bool:
    return Path(Paths(study.study).manifest(model)).is_file()


def _learnt(study: Study, name: str, lam: dict[str, float]) -> Way:
    """Sampling with the study's value model at λ.

    Raises:
        InputError: if there is none, it is not trained, does not know a value that λ weighs, or was
            trained on λ that are far weaker.
    """
    if study.value_training is None:
        raise InputError(
            f"{name}: the study {study.study!r} has no value model; expected a policy of the "
            f"family {LEARNT} in its config; add one, or choose among candidates"
        )
    if not _is_trained(study, VALUE):
        raise InputError(f"{name}: the value model {NOT_YET.format('trained')}")
    known = study.learnt_values
    for value, weight in lam.items():
        if weight > 0 and value not in known:
            raise InputError(
                f"{name}: λ weighs {value!r}, which the value model does not know; expected some "
                f"of {', '.join(known)}; name it in policies.{LEARNT}.values, or leave it out"
            )
    check_reach(study, name, lam, study.value_training.strength)
    return Way(name, "learnt", lam=lam)


def read_weights(text: str) -> dict[str, float]:
    """λ written as `humor=1,helpful=0.5`.

    Raises:
        InputError: if it is written otherwise, or names a value twice.
    """
    lam: dict[str, float] = {}
    for part in text.split(","):
        value, _, number = (one.strip() for one in part.partition("="))
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not value or value in lam or math.isnan(weight):
            raise InputError(
                f"{part!r} in {text!r} is no λ of a value; expected each value once, with a "
                "number, as in humor=1,helpful=0.5; correct it"
            )
        lam[value] = weight
    return lam


def offered(study: Study) -> dict[str, Way]:
    """What can be asked now: base model, policies and palettes by name, without those not made."""
    found = {}
    for names, way_of in (
        ([BASE.name, *study.all_policies], way_of_policy),
        (study.palettes, way_of_palette),
    ):
        for name in names:
            try:
                found[name] = way_of(study, name)
            except InputError:
                continue
    return found


def _guiding(study: Study, policy: Policy) -> dict[str, float]:
    """λ with which the value model samples: that which the policy moved, if it does."""
    # A palette without a solution is refused here.
    solved = _lam(study, policy, "lam_train")
    if study.all_policies.get(policy.name) not in study.steered:
        return solved
    path = Path(Paths(study.study).steered(policy))
    if not path.is_file():
        raise InputError(f"λ of {policy.name!r} {NOT_YET.format('moved')}")
    lam: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))["lam"]
    return lam


def _lam(study: Study, policy: Policy, key: Literal["lam", "lam_train"]) -> dict[str, float]:
    """Value → λ of a policy: its own, its palette's (`key` says for which use), or a random one."""
    own: dict[str, float] | None = policy.settings.get("lam")
    if own:
        return own
    paths = Paths(study.study)
    if policy.palette:
        path = paths.lam(policy.palette)
        if not Path(path).is_file():
            raise InputError(f"palette {policy.palette!r} {NOT_YET.format('solved')}")
        return lam_of(read_lam(path), key)
    table = paths.rewards(policy)
    if not Path(table).is_file():
        raise InputError(f"policy {policy.name!r} {NOT_YET.format('decoded')}")
    lam: dict[str, float] = read_settings(table)["lam"]
    return lam
