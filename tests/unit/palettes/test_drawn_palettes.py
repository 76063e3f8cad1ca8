"""Random palettes of a study: named without the pool, drawn from it, feasible and supported."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from test_sweeps import VALUES, pool

from polyalign.errors import InputError
from polyalign.map.dual import Limits, solve
from polyalign.map.palette import parse_target
from polyalign.palettes.drawn import draw_levels
from polyalign.palettes.solve import solve_palette
from polyalign.plan import shown, stages
from polyalign.study import ConfigError, Study, validate

ROOT = Path(__file__).parents[3]
LIMITS = Limits()


def draw(number: int, seed: int = 1, scope: str = "prompt", **limits: float) -> dict[str, float]:
    name = f"random-{number:02d}"
    return draw_levels(pool(), name, VALUES, scope=scope, limits=Limits(**limits), seed=seed)


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_random_palettes_are_supported_and_above_the_base_levels(scope: str) -> None:
    fit = pool().query("split == 'fit'")
    groups = fit["prompt_id"].factorize()[0]
    for number in range(1, 7):
        levels = draw(number, scope=scope)
        target = np.array([levels[value] for value in VALUES])
        assert (target > fit[VALUES].mean().to_numpy()).all()
        found = solve(fit[VALUES].to_numpy(), target, groups=groups, scope=scope)
        assert found.verdict == "supported"
    levels = {value: str(level) for value, level in draw(1).items()}
    record = solve_palette(pool(), "random-01", draw(1), scope="prompt", limits=LIMITS)
    assert not record["adjusted"]
    asked = parse_target(levels, fit[VALUES].to_numpy(), VALUES, groups, scope="prompt")
    assert record["asked"] == pytest.approx(asked.tolist())


def test_draws_differ_by_number_and_seed_alone() -> None:
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert draw(1) != draw(1, seed=2)


def test_random_palettes_keep_the_limits_of_the_study() -> None:
    fit = pool().query("split == 'fit'")
    groups = fit["prompt_id"].factorize()[0]
    for number in range(1, 4):
        target = np.array(list(draw(number, max_norm=0.2).values()))
        lam = solve(fit[VALUES].to_numpy(), target, groups=groups, scope="prompt").lam
        assert 0 < lam.sum() <= 0.2 * (1 + 1e-6)
    with pytest.raises(InputError, match="not even the base policy is supported; expected limits"):
        draw(1, min_ess=1e9)


def config() -> dict:  # type: ignore[type-arg]
    found = yaml.safe_load((ROOT / "configs/scores-only.yaml").read_text())
    found["rewards"] = str(ROOT / found["rewards"])
    return found  # type: ignore[no-any-return]


def study(**map_d: object) -> Study:
    given = config()
    given["policies"]["map-d"] = map_d
    return validate(given)


def test_random_policies_are_planned_by_their_number() -> None:
    made = study(palettes=["hhh-60"], random=3)
    names = [f"random-{number:02d}" for number in (1, 2, 3)]
    assert list(made.all_policies) == ["map-d/hhh-60", *(f"map-d/{name}" for name in names)]
    assert [name for name in made.palettes if name not in made.configured] == names
    assert list(made.palettes["random-02"]) == made.explored
    assert len(shown.palettes(made)) == 4 + 3
    # What somebody asked for stays: values that are raised, and figures of the mathematics.
    assert made.raised == study(palettes=["hhh-60"]).raised
    rounds = stages.STAGES["explore"].inputs(made, {"name": "rounds"})["palettes"]
    assert not any("random" in path for path in rounds)
    assert list(study(random=1).all_policies) == ["map-d/random-01"]


def test_only_random_palettes_depend_on_the_seed() -> None:
    made = study(palettes=["hhh-60"], random=2)
    given = stages.STAGES["solve"].settings
    assert "drawn" not in given(made, {"palette": "hhh-60"})
    told = given(made, {"palette": "random-01"})
    assert told["drawn"]["seed"] == made.seed
    assert set(told["levels"]) == set(made.explored)
    # More of them change none of the first.
    assert given(study(palettes=["hhh-60"], random=9), {"palette": "random-01"}) == told


@pytest.mark.parametrize("section", [{"random": 2}, {"palettes": ["hhh-60"], "random": 2}])
def test_trained_families_share_the_random_palettes(section: dict) -> None:  # type: ignore[type-arg]
    given = yaml.safe_load((ROOT / "config.yaml").read_text())
    given["policies"]["map-d"]["random"] = 3
    given["policies"]["rloo"] = {**given["policies"]["rloo"], **section}
    if "palettes" not in section:
        del given["policies"]["rloo"]["palettes"]
    given["plots"] = ["delivery"]
    # Those that start from a model of dpo need it for the same palettes.
    given["policies"]["dpo"]["labelled"] = {"palettes": ["hhh-60"], "random": 2}
    made = validate(given)
    assert made.all_policies["rloo/random-02"].start == "dpo/random-02"
    assert {"rloo/random-01", "rloo/random-02", "map-d/random-03"} <= set(made.all_policies)
    assert "dpo/random-01" in made.all_policies
    assert "random" not in made.all_policies["rloo/random-01"].settings
    assert sorted(set(made.palettes) - set(made.configured)) == [
        "random-01", "random-02", "random-03",
    ]  # fmt: skip
    needed = stages.STAGES["train"].inputs(made, {"family": "rloo", "variant": "random-01"})
    assert "results/sandbox/palettes/lam/random-01.json" in str(needed["palette"])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"palettes": {"random-01": {"humor": "q60"}}}, "random-01: is the name of a random palet"),
        ({"policies": {"map-d": {"random": 100}}}, "random"),
        ({"policies": {"map-d": {"palettes": ["random-01"]}}}, "no palette 'random-01'"),
        ({"policies": {"map-d": {}}}, "neither `palettes` nor `lam`, nor `random`"),
    ],
)
def test_faults(change: dict, fault: str) -> None:  # type: ignore[type-arg]
    given = config()
    given["policies"] = {"map-d": {"random": 2}}
    for section, entries in change.items():
        given[section] |= entries
    with pytest.raises(ConfigError, match=re.escape(fault)):
        validate(given)
