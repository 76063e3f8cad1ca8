"""Paths are built and parsed back by the same grammar."""

import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from polyalign.families import BASE, POOL, Policy
from polyalign.paths import (
    FAMILIES,
    OF_ANY,
    OF_POLICIES,
    JobFile,
    Paths,
    job_name,
    model_of,
    parse_job,
    policy_of,
    repair,
)
from polyalign.settings import NAME

PATHS = Paths("my-study.2")
NAMES = st.from_regex(re.compile(NAME, re.ASCII), fullmatch=True)
POLICIES = st.builds(Policy, st.sampled_from(FAMILIES), NAMES)

AWKWARD = [
    BASE,
    POOL,
    Policy("map-d", "hhh-70"),
    Policy("best-of", "of-3"),
    Policy("token-d", "d-token-d"),
    Policy("dpo", "beta-0.1_helpful-0.3_harmless-0.7"),
    Policy("soup", "a.json"),
    Policy("ppo", "item_0-of-1"),
]


def within(path: str, folder: str) -> Path:
    """A path of the study, relative to one of its folders."""
    return Path(path).relative_to(f"{PATHS.results}/{folder}")


def files(stage: str, name: str) -> list[Path]:
    """Log and record of a job, as `parse_job` takes them."""
    log = within(PATHS.log(stage, name), "logs")
    record = log.with_name(log.name.removesuffix(".log") + ".json")
    return [log, record]


@given(policy=POLICIES, stage=st.sampled_from(sorted(set(OF_POLICIES) - {"annotate"})))
def test_jobs_of_a_policy_are_parsed_back(policy: Policy, stage: str) -> None:
    item = {"i": 3, "n": 12} if stage == "generate" else {}
    name = job_name(policy, **item)
    for path in files(stage, name):
        assert parse_job(path) == JobFile(stage, name, policy)


@given(policy=POLICIES, values=st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_jobs_that_score_a_value_are_parsed_back(policy: Policy, values: list[str]) -> None:
    value, stem = values[0], f"{policy.variant}_{values[0]}"
    # A longer value that the variant ends in could be meant as well.
    assume(not any(stem.endswith(f"_{other}") for other in values[1:] if len(other) > len(value)))
    name = job_name(policy, value, 0, 1)
    for path in files("annotate", name):
        assert parse_job(path, values) == JobFile("annotate", name, policy, value)
        assert parse_job(path) == JobFile("annotate", name)


@pytest.mark.parametrize("policy", AWKWARD, ids=lambda policy: policy.name)
@pytest.mark.parametrize("value", ["humor", "log_likelihood", "a.b", "0-of-1"])
def test_awkward_names_are_parsed_back(policy: Policy, value: str) -> None:
    for stage in OF_POLICIES:
        scored = value if stage == "annotate" else ""
        item = {"i": 0, "n": 2} if stage in ("annotate", "generate") else {}
        name = job_name(policy, scored, **item)
        for path in files(stage, name):
            assert parse_job(path, ["x", value]) == JobFile(stage, name, policy, scored or None)


def test_the_longest_value_that_fits_is_meant() -> None:
    path = Path("annotate/rloo-hhh_log_likelihood_0-of-1.log")
    found = parse_job(path, ["likelihood", "log_likelihood"])
    assert (found.policy, found.value) == (Policy("rloo", "hhh"), "log_likelihood")


@pytest.mark.parametrize(
    ("stage", "name"),
    [("base_model", ""), ("solve", "hhh-70.5"), ("plot", "radar"), ("plot", "radar/map-d/hhh-0.5")],
)
def test_other_jobs_have_a_stage_and_a_name(stage: str, name: str) -> None:
    for path in files(stage, name):
        assert parse_job(path) == JobFile(stage, name)


def test_a_job_of_an_unknown_family_has_no_policy() -> None:
    assert parse_job(Path("train/grpo-hhh.log")) == JobFile("train", "grpo-hhh")


@given(policy=POLICIES)
def test_files_of_a_policy_name_it(policy: Policy) -> None:
    for path in (PATHS.rewards(policy), PATHS.levels(policy), PATHS.winrate(policy)):
        assert policy_of(Path(path)) == policy
    for path in (PATHS.manifest(policy), PATHS.metrics(policy)):
        assert model_of(Path(path)) == policy


@given(policy=POLICIES, value=NAMES, i=st.integers(0, 99), n=st.integers(1, 99))
def test_a_pattern_with_wildcards_is_the_path_of_each_job(
    policy: Policy, value: str, i: int, n: int
) -> None:
    """Rules build their patterns with the same functions as jobs build their paths."""
    wildcards = {"family": policy.family, "variant": policy.variant, "value": value, "i": i, "n": n}
    of_family = Policy(policy.family, "{variant}")
    for any_policy in (OF_ANY, of_family):
        pairs = {
            PATHS.samples(any_policy): PATHS.samples(policy, i, n),
            PATHS.shard(any_policy): PATHS.shard(policy, value, i, n),
            PATHS.rewards(any_policy): PATHS.rewards(policy),
            PATHS.levels(any_policy): PATHS.levels(policy),
            PATHS.winrate(any_policy): PATHS.winrate(policy),
            PATHS.model(any_policy): PATHS.model(policy),
            PATHS.manifest(any_policy): PATHS.manifest(policy),
            PATHS.metrics(any_policy): PATHS.metrics(policy),
            PATHS.log("merge", job_name(any_policy)): PATHS.log("merge", job_name(policy)),
            PATHS.log("annotate", job_name(any_policy, "{value}", "{i}", "{n}")): (
                PATHS.log("annotate", job_name(policy, value, i, n))
            ),
        }
        for pattern, path in pairs.items():
            assert pattern.format(**wildcards) == path
    assert parse_job(within(PATHS.log("train", job_name(of_family)), "logs")).policy == of_family


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (PATHS.lam(), PATHS.lam("hhh")),
        (PATHS.palette(), PATHS.palette("hhh")),
        (PATHS.plot(), PATHS.plot("radar")),
    ],
)
def test_other_patterns_are_the_paths_of_jobs(pattern: str, path: str) -> None:
    assert pattern.format(palette="hhh", figure="radar") == path


def test_all_paths_are_below_the_folder_of_the_study_and_differ() -> None:
    policy = Policy("dpo", "hhh")
    built = [
        *(PATHS.file("config.json"), PATHS.world("corpus.jsonl"), PATHS.model(policy)),
        *(PATHS.manifest(policy), PATHS.metrics(policy), PATHS.samples(policy, 0, 1)),
        *(PATHS.shard(policy, "humor", 0, 1), PATHS.rewards(policy), PATHS.levels(policy)),
        *(PATHS.winrate(policy), PATHS.lam("hhh"), PATHS.palette("hhh"), PATHS.explored("random")),
        *(PATHS.table("levels"), PATHS.plot("levels"), PATHS.cache()),
        *(PATHS.work("train", "hhh"), PATHS.log("train", "hhh")),
    ]
    assert len(set(built)) == len(built)
    assert all(path.startswith("results/my-study.2/") for path in built)


def test_a_study_makes_the_models_in_its_own_folder() -> None:
    assert PATHS.makes(PATHS.model(BASE))
    assert not PATHS.makes("results/my-study/models/base/base")
    assert not PATHS.makes("org/model-7b")


def test_only_what_the_workflow_made_is_to_be_deleted() -> None:
    assert repair("results/mine/models/dpo/a", "the folder") == (
        "delete the folder and let the workflow make it again"
    )
    for own in ("my/model", "my-results/model", "owner/model", "/data/scores.csv"):
        assert "delete" not in repair(own)
