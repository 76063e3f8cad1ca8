"""The typed study: every section of the config, and what the plan asks it for."""

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PrivateAttr, SerializeAsAny

from polyalign.families import BASE, Policy, family
from polyalign.families.options import Training
from polyalign.families.value_d import ValueTraining
from polyalign.map.words import rows_of
from polyalign.palettes.record import raised_values
from polyalign.paths import Paths
from polyalign.rewards import spec_of
from polyalign.rewards.judging import Judging, PairJudge
from polyalign.rewards.spec import ModelSpec, ValueSpec
from polyalign.runtime.code import canonical
from polyalign.settings import Name, Strict, unique
from polyalign.study.sections import (
    RANDOM,
    SLACKS,
    Evaluation,
    Explore,
    Map,
    Model,
    OnInfeasible,
    Palette,
    Preferences,
    Prompts,
    RewardModel,
    Sampling,
    Sandbox,
    value_name,
)


class Study(Strict):
    """A study: one base model, one prompt set, its values, palettes and policies."""

    study: Name = Field(description="Name; everything is written below results/<study>/.")
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="Seed of every random choice.")
    sandbox: Sandbox | None = Field(
        default=None, description="The small world of the sandbox study; leave it out in your own."
    )
    rewards: str | None = Field(
        default=None,
        description="A table that already has prompts and scores (.parquet, .csv, .jsonl, .json): "
        "a study from scores alone, without a model.",
    )
    model: Model | None = Field(
        default=None, description="The base model; needed unless `rewards` is given."
    )
    prompts: Prompts = Field(
        default=Prompts(),
        description="The prompts; with `rewards` only `test_share` has a meaning.",
    )
    sampling: Sampling = Field(default=Sampling(), description="How the base policy samples.")
    values: dict[Annotated[Name, AfterValidator(value_name)], SerializeAsAny[ValueSpec]] = Field(
        min_length=1, description="One reward function per value, by the value's name."
    )
    reward_models: dict[Name, RewardModel] = Field(
        default={}, description="Reward models that the workflow trains, by name."
    )
    preferences: dict[Name, Preferences] = Field(
        default={}, description="Preference data sets, by name."
    )
    palettes: dict[Name, Palette] = Field(
        default={},
        description="Target levels by palette and value: a number, a quantile of the base policy "
        "(q70), mean, mean+0.5sd, +10% (of the base's spread from q5 to q95), max, max(q50, mean); "
        "`<= LEVEL` is a ceiling, `between LEVEL and LEVEL` a band, and `maximise within NUMBER "
        "nats` the highest level that one value can have at this KL, the others held. A value left "
        "out is free.",
    )
    map: Map = Field(default=Map(), description="How λ is found.")
    policies: dict[str, SerializeAsAny[Strict]] = Field(
        default={}, description="The policies to make and compare with the base model, by family."
    )
    evaluation: Evaluation = Field(default=Evaluation(), description="How policies are judged.")
    explore: Explore = Field(
        default=Explore(), description="Sweeps, fronts and paths that figures are drawn from."
    )
    plots: Annotated[list[str], AfterValidator(unique)] = Field(
        default=["delivery", "palette_path", "heat_map"],
        description="Figures to draw: modules of polyalign.plots. Those of one policy take its "
        "name behind a slash (`reward_histograms/rloo/hhh-60`; default: the base model).",
    )

    _left_out: dict[str, str] = PrivateAttr(default={})

    @cached_property
    def all_policies(self) -> dict[str, Policy]:
        """Policies by name, in the config's order, without the base model."""
        made = policies_of(self.policies)
        return {name: policy for name, policy in made.items() if name not in self._left_out}

    def with_drawn(self) -> "Study":
        """This study with the random palettes that its policies name.

        Their levels are `RANDOM`, of all values that λ may weigh, until they are solved.
        """
        named = [made.palette for made in self.all_policies.values() if made.palette]
        drawn = sorted({name for name in named if name not in self.palettes})
        levels: dict[str, float | str] = dict.fromkeys(self.explored, RANDOM)
        palettes = self.palettes | dict.fromkeys(drawn, levels)
        return self.model_copy(update={"palettes": palettes})

    @property
    def configured(self) -> dict[str, dict[str, float | str]]:
        """The palettes that the config asks for, without those that the study draws."""
        return {
            name: levels for name, levels in self.palettes.items() if RANDOM not in levels.values()
        }

    @property
    def left_out(self) -> dict[str, str]:
        """Policy that this study lacks → why; see `without`."""
        return self._left_out

    def without(self, left_out: Mapping[str, str], plots: Collection[str]) -> "Study":
        """This study without some policies and figures.

        What it asks for stays: its palettes, and the values that they raise.

        Args:
            left_out: policy → why it is left out.
            plots: figures that are left out.
        """
        kept = self.model_copy(update={"plots": [one for one in self.plots if one not in plots]})
        for known in ("all_policies", "as_compared"):
            kept.__dict__.pop(known, None)
        kept._left_out = dict(left_out)
        return kept

    def palettes_behind(self, policy: Policy) -> set[str]:
        """The palettes whose λ a policy needs: its own, and those of its parts."""
        parts = [self.all_policies[part] for part in policy.models if part in self.all_policies]
        own = {policy.palette} if policy.palette else set()
        return own.union(*(self.palettes_behind(part) for part in parts))

    def on_infeasible(self, palette: str) -> OnInfeasible:
        """What becomes of a palette that no policy reaches."""
        given = self.map.on_infeasible
        asked = given.get(palette, "report") if isinstance(given, dict) else given
        opponent = self.all_policies.get(self.evaluation.opponent)
        needed = opponent is not None and palette in self.palettes_behind(opponent)
        return "fail" if needed and asked == "report" else asked

    @property
    def evaluated(self) -> list[Policy]:
        """The base model, then all policies."""
        return [BASE, *self.all_policies.values()]

    @property
    def repeated(self) -> dict[str, list[str]]:
        """Policy that is trained with several seeds → the names of all that there are of it."""
        found: dict[str, list[str]] = {}
        for policy in self.all_policies.values():
            found.setdefault(policy.repeats or policy.name, []).append(policy.name)
        return {name: members for name, members in found.items() if len(members) > 1}

    @property
    def distinct(self) -> list[Policy]:
        """The evaluated policies, each with its first seed alone."""
        seen: dict[str, Policy] = {}
        for policy in self.evaluated:
            seen.setdefault(policy.repeats or policy.name, policy)
        return list(seen.values())

    def of_kind(self, kind: str) -> list[Policy]:
        """The policies of the families of one kind (`train`, `select` or `sample`)."""
        return [made for made in self.all_policies.values() if family(made.family).kind == kind]

    @property
    def steered(self) -> list[Policy]:
        """The policies whose λ is moved before they are sampled, until they realise the palette."""
        return [policy for policy in self.of_kind("sample") if policy.settings.get("adapt")]

    @property
    def value_training(self) -> ValueTraining | None:
        """How the study's value model is trained; None if no family samples with one."""
        for section in self.policies.values():
            if isinstance(section, ValueTraining):
                return ValueTraining(**section.model_dump(include={*ValueTraining.model_fields}))
        return None

    @property
    def learnt_values(self) -> list[str]:
        """The values of the value model's λ: as given, or those of palettes and own λ."""
        given = self.value_training.values if self.value_training else None
        learning = [made for made in self.all_policies.values() if family(made.family).learns]
        own = {value for policy in learning for value in policy.values}
        return [value for value in self.values if value in (given or {*self.explored, *own})]

    @property
    def learnt_signs(self) -> dict[str, int]:
        """Value of the value model → the sign of its λ: -1 where palettes have ceilings alone for
        it, 0 where there are floors, random palettes or a policy's own λ as well, else 1.
        """
        asked = [row for levels in self.configured.values() for row in rows_of(levels)]
        floors = {row.of for row in asked if row.sign > 0}
        ceilings = {row.of for row in asked if row.sign < 0}
        floors |= {
            one for name in self.palettes.keys() - self.configured for one in self.palettes[name]
        }
        floors |= {one for made in self.of_kind("sample") for one in made.settings.get("lam", ())}
        return {
            value: 1 if value not in ceilings else 0 if value in floors else -1
            for value in self.learnt_values
        }

    def weighed(self, policy: Policy) -> list[str]:
        """The values that a policy's λ may weigh: those of its palette, or that it names itself."""
        return list(self.palettes[policy.palette] if policy.palette else policy.values)

    @cached_property
    def as_compared(self) -> "Study":
        """The study with defaults for what changes no number of its results.

        How fast values are scored, and where trainings report and when they write checkpoints.
        """
        sections: dict[str, Any] = {
            "values": {name: spec.at_default_speed() for name, spec in self.values.items()},
            "reward_models": {name: one.unseen() for name, one in self.reward_models.items()},
            "policies": {
                name: one.unseen() if isinstance(one, Training) else one
                for name, one in self.policies.items()
            },
        }
        if judge := self.evaluation.judge:
            asked = {"judge": judge.at_default_conduct()}
            sections["evaluation"] = self.evaluation.model_copy(update=asked)
        study = self.model_copy(update=sections)
        study.__dict__.pop("all_policies", None)
        return study

    def scorer(self, value: str) -> dict[str, Any]:
        """What a value's rewards depend on, JSON-ready: its entry without label and unit.

        A model, template, dtype, device or folder that the entry leaves to the study is filled in.
        """
        spec = self.values[value]
        settings = spec.model_dump(exclude={"label", "unit"})
        if isinstance(spec, ModelSpec) and not spec.model and self.model is not None:
            base = self.model.model_dump()
            settings |= {"model": base.pop("source"), "revision": base.pop("revision")}
            settings |= {key: base[key] for key in base if key not in spec.model_fields_set}
            if settings.get("template", "") is None:
                settings["template"] = self.prompts.template
        if isinstance(spec, Judging) and not spec.folder:
            settings["folder"] = Paths(self.study).calls(value)
        return settings

    @cached_property
    def read_with(self) -> dict[str, str]:
        """Value → the first value that reads texts as it does, which may be itself.

        They share a model, and what it said of a text is kept for all of them.
        """
        first: dict[str, str] = {}
        rules = {name: canonical(spec_of(self.scorer(name)).reading()) for name in self.values}
        return {name: first.setdefault(rule, name) for name, rule in rules.items()}

    @property
    def pair_judge(self) -> PairJudge | None:
        """The judge of pairs of answers, with its folder."""
        judge = self.evaluation.judge
        if judge is None or judge.folder:
            return judge
        return judge.model_copy(update={"folder": Paths(self.study).calls()})

    @property
    def judged(self) -> list[Policy]:
        """The policies whose answers a judge compares with the opponent's."""
        opponent = self.evaluation.opponent
        return [policy for policy in self.evaluated if policy.name != opponent]

    @property
    def columns(self) -> dict[str, str]:
        """Value → column of the table that `rewards` names."""
        return {name: spec.model_dump().get("column") or name for name, spec in self.values.items()}

    @property
    def negated(self) -> list[str]:
        """The values whose scores are taken with the other sign."""
        return [name for name, spec in self.values.items() if spec.sign == -1]

    @property
    def shares(self) -> dict[str, float]:
        """Value → the number above which a score counts, of the values that are shares."""
        return {name: spec.above for name, spec in self.values.items() if spec.above is not None}

    @property
    def labels(self) -> dict[str, str]:
        """Value → its name on axes and in tables."""
        return {name: spec.label or name for name, spec in self.values.items()}

    @property
    def raised(self) -> list[str]:
        """The values that some palette raises: asks for another level than the mean; in order."""
        asked = {value for levels in self.configured.values() for value in raised_values(levels)}
        return [value for value in self.values if value in asked]

    @property
    def maintained(self) -> list[str]:
        """The values that palettes name only to keep them at their mean, in order."""
        named = {value for levels in self.configured.values() for value in levels}
        return [value for value in self.values if value in named and value not in self.raised]

    @property
    def chosen(self) -> list[str]:
        """The values in which a policy has to be better: as given, or raised, or all in λ.

        In the order of the config.
        """
        given = self.evaluation.values or self.raised
        kept = [value for value in self.values if value not in self.evaluation.evaluate_only]
        return [value for value in self.values if value in given] or kept

    @property
    def explored(self) -> list[str]:
        """The values that λ may weigh, those in palettes (else all).

        First those of `evaluation.values` in its order, which figures take their axes from, then
        raised ones.
        """
        named = {one for levels in self.configured.values() for one in levels} or set(self.values)
        order = dict.fromkeys([*self.evaluation.values, *self.raised, *self.values])
        only = self.evaluation.evaluate_only
        return [value for value in order if value in named and value not in only]

    @property
    def traded(self) -> list[str]:
        """The values whose fronts are drawn: the first three chosen ones that λ may weigh."""
        return [value for value in self.explored if value in self.chosen][:3]

    @property
    def slack(self) -> float:
        """How far below one half a win rate may be and still count as navigable."""
        given = self.evaluation.slack
        return SLACKS[given] if isinstance(given, str) else given


def policies_of(sections: Mapping[str, Strict]) -> dict[str, Policy]:
    """Policies by name that the sections of the families make, in their order."""
    made = (
        policy for name, section in sections.items() for policy in family(name).policies(section)
    )
    return {policy.name: policy for policy in made}
