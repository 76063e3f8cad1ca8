"""The GPU studies of the MAP paper, planned by Snakemake itself: jobs against the experiments.

Models and data are ids of the hub: a dry run needs neither them nor a network.
"""

from collections.abc import Callable

import pytest
from conftest import blocks

PALETTES, RANDOM, MORL = 7, 20, 20
DPO, SOUPS = 2 * 11, 2 * 9  # two β over eleven mixtures; between the ends of each β
VALUES = 6

# Study → rule → number of its jobs; `policies` is the number of policies, each of which is judged.
STUDIES: dict[str, dict[str, int]] = {
    "llama2": {
        "solve": PALETTES + RANDOM,
        "decode_map_d": PALETTES + RANDOM,
        "decode_morl_d": MORL,
        "generate": 16 + 1,
        "annotate": VALUES * (16 + 1),
        "explore_candidates": 1,
        "policies": PALETTES + RANDOM + MORL,
    },
    "opt": {
        "solve": PALETTES + RANDOM,
        "decode_map_d": PALETTES + RANDOM,
        "decode_morl_d": MORL,
        "train_ppo": PALETTES + RANDOM + MORL,
        "train_dpo": DPO,
        "train_soup": SOUPS,
        "generate": 4 + 1 + PALETTES + RANDOM + MORL + DPO + SOUPS,
        "annotate": VALUES * (4 + 1 + PALETTES + RANDOM + MORL + DPO + SOUPS),
        "explore_candidates": 1,
        "policies": 2 * (PALETTES + RANDOM + MORL) + DPO + SOUPS,
    },
    "imdb": {
        "solve": PALETTES,
        "decode_map_d": PALETTES,
        "train_ppo": PALETTES,
        "generate": 4 + 1 + PALETTES,
        "annotate": VALUES * (4 + 1 + PALETTES),
        "explore_candidates": 1,
        "policies": 2 * PALETTES,
    },
}


@pytest.mark.parametrize("study", STUDIES)
def test_the_study_is_planned_whole(plan: Callable[..., str], study: str) -> None:
    config = f"configs/published-{study}.yaml"
    found = {rule: len(jobs) for rule, jobs in blocks(plan("--configfile", config)).items()}
    wanted = dict(STUDIES[study])
    base = 1  # the base model is judged too, and each policy against it
    wanted["levels"] = wanted["winrate"] = wanted.pop("policies") + base
    made = {rule for rule in found if rule.partition("_")[0] in ("decode", "train")}
    assert {rule: found.get(rule, 0) for rule in wanted} == wanted
    assert made <= set(wanted), "a family that the paper has not"
    assert {"prompts", "tables", "overview", "report"} <= set(found)
