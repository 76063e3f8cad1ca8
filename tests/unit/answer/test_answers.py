"""Answers against the law of the model, the study's own annotation, and the candidates' table."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from answerdata import LAM, MOVED, WORDS

from polyalign import rewards
from polyalign.answer.answers import MOST_TILTED, Answer, Answerer, Text, selection_weights
from polyalign.answer.ways import (
    LEARNT,
    MOST,
    Way,
    ask,
    enter_study,
    learns,
    offered,
    read_weights,
    way_of_lam,
    way_of_palette,
    way_of_policy,
)
from polyalign.data.keys import batch_seed
from polyalign.data.tables import write_table
from polyalign.errors import InputError
from polyalign.families import family
from polyalign.models.load import load_causal_lm, load_tokenizer
from polyalign.rewards.annotate import annotate
from polyalign.sampling.drawing import uniforms
from polyalign.study import Study, validate

BASE = Way("base/base", "sample")
PROMPT = "b c"


def one(answerer: Answerer, way: Way, prompt: str = PROMPT, seed: int = 1, **options) -> Answer:
    asked = ask(answerer.study, prompt, way, seed=seed, **options)
    (found,) = answerer.answer([asked])
    return found


def responses(answer: Answer) -> list[str]:
    return [text.response for text in answer.texts]


def test_the_base_model_answers_by_its_sampling_rule(answerer: Answerer) -> None:
    drawn = one(answerer, BASE, samples=MOST).texts
    model = load_causal_lm("results/tiny/models/base/base", dtype="float32", device="cpu")
    with torch.inference_mode():
        logits = model(torch.tensor([[WORDS.index(word) for word in "bc:"]])).logits[0, -1]
    logits = logits / 1.3
    logits[logits < logits.topk(8).values[-1]] = -torch.inf
    expected = logits.softmax(-1).numpy()
    begun = [text.response.split()[0] if text.tokens > 1 else "<eos>" for text in drawn]
    counts = np.array([begun.count(word) for word in WORDS])
    spread = np.sqrt(MOST * expected * (1 - expected))
    assert (np.abs(counts - MOST * expected) <= 3.5 * spread + 1).all()


@pytest.mark.parametrize("way", ["base", "tilt"])
def test_rewards_are_those_of_the_study(answerer: Answerer, study: Study, way: str) -> None:
    found = one(answerer, BASE if way == "base" else way_of_palette(study, "open"), samples=20)
    texts = found.candidates or found.texts
    samples = pd.DataFrame(
        {
            "prompt_id": "p",
            "candidate": range(len(texts)),
            "prompt": PROMPT,
            "response": [text.response for text in texts],
            "end_token": [text.end_token for text in texts],
        }
    )
    for value in study.values:
        score = rewards.load(study.scorer(value))
        table = annotate(samples, value, score)[value].tolist()
        assert [text.rewards[value] for text in texts] == table


def test_some_answers_end_and_some_are_cut(answerer: Answerer) -> None:
    texts = one(answerer, BASE, samples=50).texts
    assert {text.end_token for text in texts if not text.truncated} == {"<eos>"}
    cut = [text for text in texts if text.truncated]
    assert cut
    assert {(text.end_token, text.tokens) for text in cut} == {("", 6)}


@pytest.mark.parametrize("name", ["palette", "map-d/own", "lam"])
def test_200_draws_have_the_expectation_of_the_candidates(
    answerer: Answerer, study: Study, name: str
) -> None:
    ways = {
        "palette": way_of_palette(study, "open"),
        "map-d/own": way_of_policy(study, "map-d/own"),
        "lam": way_of_lam(study, {"vowels": 1.1, "diversity": 0.0}),
    }
    lam = {"palette": LAM, "map-d/own": {"vowels": 0.5}, "lam": {"vowels": 1.1}}[name]
    found = one(answerer, ways[name], samples=200)
    assert len(found.candidates) == 8
    score = [sum(lam[v] * text.rewards[v] for v in lam) for text in found.candidates]
    weights = np.exp(score) / np.exp(score).sum()
    assert found.probabilities == pytest.approx(weights.tolist())
    for value in study.values:
        table = np.array([text.rewards[value] for text in found.candidates])
        drawn = np.array([text.rewards[value] for text in found.texts])
        mean = weights @ table
        error = np.sqrt((weights @ (table - mean) ** 2) / 200)
        assert error > 0
        assert abs(drawn.mean() - mean) <= 2.5 * error
        # The test can tell: the base model's level is further away, for the value that is raised.
        if value == "vowels":
            assert abs(drawn.mean() - table.mean()) > 2.5 * error


def test_a_palette_answers_as_its_policy(answerer: Answerer, study: Study) -> None:
    palette = one(answerer, way_of_palette(study, "open"), samples=9)
    policy = one(answerer, way_of_policy(study, "map-d/open"), samples=9)
    assert responses(palette) == responses(policy)
    assert palette.asked.way.lam == LAM


def test_best_of_takes_the_best(answerer: Answerer, study: Study) -> None:
    found = one(answerer, way_of_policy(study, "best-of/open"), candidates=20, samples=3)
    score = [sum(LAM[v] * text.rewards[v] for v in LAM) for text in found.candidates]
    best = [place for place, points in enumerate(score) if points == max(score)]
    assert max(score) > min(score)
    assert {text.response for text in found.texts} <= {
        found.candidates[place].response for place in best
    }
    assert sum(found.probabilities[place] for place in best) == pytest.approx(1)


def test_equals_are_as_likely() -> None:
    texts = [Text("", "", False, 1, {"v": reward}) for reward in (1.0, 3.0, 3.0)]
    assert selection_weights(texts, Way("b", "best", lam={"v": 2.0})).tolist() == [0, 0.5, 0.5]


def test_the_same_seed_gives_the_same_answer_whatever_else_is_asked(
    answerer: Answerer, study: Study
) -> None:
    ways = [BASE, way_of_palette(study, "open"), way_of_policy(study, "token-d/guided")]
    asked = [
        ask(study, prompt, way, seed=seed, samples=3)
        for way in ways
        for prompt in ("b", "b c d e", "h g a")
        for seed in (1, 2)
    ]
    together = answerer.answer(asked)
    alone = [answerer.answer([each])[0] for each in asked]
    assert [responses(found) for found in together] == [responses(found) for found in alone]
    assert responses(together[0]) != responses(together[1])
    assert len(set(responses(one(answerer, BASE, samples=30)))) > 10


def test_more_candidates_begin_with_the_same_ones(answerer: Answerer, study: Study) -> None:
    few = one(answerer, way_of_lam(study, {"vowels": 1}), candidates=4).candidates
    many = one(answerer, way_of_palette(study, "open"), candidates=300).candidates
    assert len(many) == 300
    assert many[:4] == few


def test_guidance_is_that_of_the_study(answerer: Answerer, study: Study) -> None:
    found = one(answerer, way_of_policy(study, "token-d/guided"), samples=40)
    source = "results/tiny/models/base/base"
    model = load_causal_lm(source, dtype="float32", device="cpu")
    policy = study.all_policies["token-d/guided"]
    engine = family("token-d").implementation()(
        model, load_tokenizer(source), answerer.sampling, {},
        values={"vowels": study.scorer("vowels")}, settings=policy.settings,
    )  # fmt: skip
    seeds = [batch_seed(1, "token-d/guided", place) for place in range(40)]
    uniform = torch.cat([uniforms(seed, 6, 1) for seed in seeds], dim=1)
    ids = [WORDS.index(word) for word in "bc:"]
    drawn = engine.draw([PROMPT] * 40, [ids] * 40, uniform)
    assert responses(found) == [response.text for response in drawn]
    plain = one(answerer, BASE, samples=40)
    level = [np.mean([text.rewards["vowels"] for text in each.texts]) for each in (found, plain)]
    assert level[0] > level[1] + 0.5


def test_the_value_model_draws_as_in_the_study(answerer: Answerer, study: Study) -> None:
    """By a policy, a palette and a λ of the request: the draws of the study's own engine."""
    source = "results/tiny/models/base/base"
    model = load_causal_lm(source, dtype="float32", device="cpu")
    ids = [WORDS.index(word) for word in "bc:"]
    policy = way_of_policy(study, "value-d/learnt")
    palette = way_of_palette(study, "open", by=LEARNT)
    own = way_of_lam(study, {"diversity": 3.0, "vowels": 0.0}, by=LEARNT)
    assert palette.lam == MOVED
    assert way_of_policy(study, "value-d/open") == palette
    seen = []
    for way in (policy, palette, own):
        engine = family("value-d").implementation()(
            model, load_tokenizer(source), answerer.sampling, {},
            settings={"lam": dict(way.lam)}, value_model="results/tiny/models/value/pool",
        )  # fmt: skip
        seeds = [batch_seed(1, way.name, place) for place in range(40)]
        uniform = torch.cat([uniforms(seed, 6, 1) for seed in seeds], dim=1)
        drawn = engine.draw([PROMPT] * 40, [ids] * 40, uniform)
        found = one(answerer, way, samples=40)
        assert responses(found) == [response.text for response in drawn]
        assert found.candidates == []
        seen.append(responses(found))
    assert len({tuple(several) for several in seen}) == 3


def test_a_palette_without_a_solution_has_no_lambda_to_move(study: Study) -> None:
    """Another run would not help, so it is not asked for."""
    config = study.model_dump(exclude_unset=True)
    config["policies"]["value-d"]["palettes"] = ["open", "shut"]
    with pytest.raises(InputError, match=r"palette 'shut' has no λ.*no policy reaches it"):
        way_of_palette(validate(config), "shut", by=LEARNT)


def test_lambda_that_was_moved_is_the_policys(study: Study, here: Path) -> None:
    """A palette that no policy samples for has its λ for training; one not moved yet has none."""
    moved = here / "results/tiny/policies/value-d/open/lam.json"
    kept = moved.rename(moved.with_suffix(".kept"))
    try:
        with pytest.raises(InputError, match=r"λ of 'value-d/open' has not been moved"):
            way_of_policy(study, "value-d/open")
        config = study.model_dump(exclude_unset=True)
        config["policies"]["value-d"]["adapt"] = False
        told = {"vowels": 0.5, "diversity": 0.5}
        assert way_of_policy(validate(config), "value-d/open").lam == told
        del config["policies"]["value-d"]["palettes"], config["policies"]["value-d"]["adapt"]
        assert way_of_palette(validate(config), "open", by=LEARNT).lam == told
    finally:
        kept.rename(moved)


def test_few_copies_of_the_base_model_are_kept_whatever_is_asked(
    answerer: Answerer, study: Study
) -> None:
    """One name, another λ each: none is answered with the λ of another request, or with p0."""
    ways = [way_of_lam(study, {"vowels": weight}, by=LEARNT) for weight in (0, 1, 2, 3, 4, 5)]
    asked = [ask(study, PROMPT, way, seed=1, samples=30) for way in ways]
    together = [responses(found) for found in answerer.answer(asked)]
    alone = [responses(answerer.answer([each])[0]) for each in reversed(asked)]
    assert together == alone[::-1]
    assert len({tuple(several) for several in together}) == len(ways)
    # The base model itself is left as it is.
    before = one(Answerer(study), BASE, samples=30)
    assert responses(one(answerer, BASE, samples=30)) == responses(before)
    assert len(answerer._tilted) == MOST_TILTED


def test_what_the_value_model_cannot_do_is_said(study: Study, here: Path) -> None:
    manifest = here / "results/tiny/models/value/pool.json"
    kept = manifest.rename(manifest.with_suffix(".kept"))
    try:
        with pytest.raises(InputError, match=r"value-d: the value model has not been trained"):
            way_of_lam(study, {"vowels": 1.0}, by=LEARNT)
        assert not learns(study)
        assert not any(name.startswith("value-d") for name in offered(study))
    finally:
        kept.rename(manifest)
    assert learns(study)
    config = study.model_dump(exclude_unset=True)
    config["policies"]["value-d"]["values"] = ["diversity"]
    del config["policies"]["value-d"]["palettes"], config["policies"]["value-d"]["lam"]
    config["policies"]["value-d"]["lam"] = {"own": {"diversity": 1.0}}
    with pytest.raises(InputError, match=r"weighs 'vowels', which the value model does not know"):
        way_of_palette(validate(config), "open", by=LEARNT)
    del config["policies"]["value-d"]
    with pytest.raises(InputError, match=r"has no value model; expected a policy of the family"):
        way_of_lam(validate(config), {"vowels": 1.0}, by=LEARNT)


def test_lambda_far_beyond_the_trained_strength_is_refused(study: Study, here: Path) -> None:
    draws = np.random.default_rng(1)
    rewards = {"vowels": draws.normal(size=(20, 5)), "diversity": draws.normal(size=(20, 5)) / 3}
    # Between prompts, and in the test split, rewards may differ as they like.
    rewards["vowels"] += 9 * draws.normal(size=(20, 1))
    rewards["vowels"][10:] *= 50
    rows = pd.DataFrame({name: table.ravel() for name, table in rewards.items()})
    rows.insert(0, "prompt_id", np.repeat([f"p{i}" for i in range(20)], 5))
    rows["split"] = np.repeat(["fit", "test"], 50)
    summed = (rewards["vowels"] + 2 * rewards["diversity"])[:10]
    spread = np.sqrt(summed.var(axis=1, ddof=1).mean())
    training = study.value_training
    assert training is not None
    most = 2 * training.strength / spread
    path = here / "results/tiny/policies/base/pool/rewards.parquet"
    path.parent.mkdir(parents=True)
    write_table(rows, path, {})
    try:
        lam = {"vowels": 0.999 * most, "diversity": 2 * 0.999 * most}
        assert way_of_lam(study, lam, by=LEARNT).lam == lam
        lam = {name: weight * 1.002 for name, weight in lam.items()}
        with pytest.raises(InputError, match=r"nats within a prompt, and the value model was tra"):
            way_of_lam(study, lam, by=LEARNT)
        assert way_of_lam(study, lam).lam == lam, "candidates can be chosen among"
    finally:
        shutil.rmtree(path.parents[1])


def test_a_trained_policy_answers_with_its_own_model(answerer: Answerer, study: Study) -> None:
    drawn = one(answerer, way_of_policy(study, "rloo/open"), samples=MOST).texts
    model = load_causal_lm("results/tiny/models/rloo/open", dtype="float32", device="cpu")
    with torch.inference_mode():
        logits = model(torch.tensor([[WORDS.index(word) for word in "bc:"]])).logits[0, -1]
    likeliest = int(logits.argmax())
    logits = logits / 1.3
    logits[logits < logits.topk(8).values[-1]] = -torch.inf
    p = float(logits.softmax(-1)[likeliest])
    share = np.mean([text.response.split()[:1] == [WORDS[likeliest]] for text in drawn])
    assert abs(share - p) <= 3 * np.sqrt(p * (1 - p) / MOST)


def test_answers_are_told_while_they_grow(answerer: Answerer, study: Study) -> None:
    heard: dict[tuple[int, int], list[str]] = {}
    asked = [
        ask(study, PROMPT, way, seed=3, samples=2) for way in (way_of_palette(study, "open"), BASE)
    ]
    _, plain = answerer.answer(
        asked, lambda number, place, text: heard.setdefault((number, place), []).append(text)
    )
    # What is chosen is not known before all is drawn.
    assert set(heard) == {(1, 0), (1, 1)}
    for (_, place), told in heard.items():
        assert told[-1] == plain.texts[place].response
        assert len(told) == plain.texts[place].tokens
        assert all(late.startswith(early) for early, late in pairwise(told))


def test_each_policy_has_its_own_lam(study: Study) -> None:
    assert way_of_policy(study, "map-d/open").lam == LAM
    # Guidance draws new responses, so its λ is that for K → ∞.
    assert way_of_policy(study, "token-d/open").lam == {"vowels": 0.5, "diversity": 0.5}
    assert way_of_policy(study, "token-d/guided").lam == {"vowels": 3.0}
    (drawn,) = (policy for name, policy in study.all_policies.items() if name.startswith("morl-d"))
    table = Path(f"results/tiny/policies/{drawn.name}/rewards.parquet")
    table.parent.mkdir(parents=True)
    write_table(pd.DataFrame({"vowels": [1.0]}), table, {"lam": {"vowels": 0.7}})
    try:
        assert way_of_policy(study, drawn.name).lam == {"vowels": 0.7}
    finally:
        table.unlink()


def test_what_is_made_is_offered(study: Study) -> None:
    made = [
        "base/base",
        "map-d/open",
        "map-d/own",
        "best-of/open",
        "token-d/open",
        "token-d/guided",
        "value-d/open",
        "value-d/learnt",
        "rloo/open",
    ]
    assert list(offered(study)) == [*made, "open"]


def faults(study: Study) -> dict[str, tuple]:
    ways = way_of_lam(study, {"vowels": 1})
    return {
        "no policy 'rlo/open'.*write 'rloo/open'": (way_of_policy, "rlo/open"),
        "'rloo/shut' has not been trained": (way_of_policy, "rloo/shut"),
        "'morl-d/.*' has not been decoded": (way_of_policy, "morl-d/random-0"),
        "no palette 'opne'.*write 'open'": (way_of_palette, "opne"),
        "palette 'shut' has no λ.*no policy reaches it": (way_of_palette, "shut"),
        "'vowel'.*one of vowels, diversity; write 'vowels'": (way_of_lam, {"vowel": 1.0}),
        "'fluency'.*no such value to weigh": (way_of_lam, {"fluency": 1.0}),
        "is -1; expected a number from 0": (way_of_lam, {"vowels": -1.0}),
        "is 1e\\+300; expected a number from 0 to 1e\\+06": (way_of_lam, {"vowels": 1e300}),
        "is nan": (way_of_lam, {"vowels": float("nan")}),
        "no λ is given": (way_of_lam, {}),
        "candidates is 1000000000; expected a number from 1 to 1024": (
            lambda study, k: ask(study, "a", ways, seed=1, candidates=k), 10**9,
        ),
        "samples is 0; expected": (lambda study, n: ask(study, "a", ways, seed=1, samples=n), 0),
        "seed is -1; expected": (lambda study, seed: ask(study, "a", ways, seed=seed), -1),
        "base/base draws its answers itself": (
            lambda study, k: ask(study, "a", BASE, seed=1, candidates=k), 2,
        ),
        "half a character": (lambda study, text: ask(study, text, ways, seed=1), "a\ud800"),
    }  # fmt: skip


def test_bad_input_is_one_clear_error(study: Study) -> None:
    random = next(name for name in study.all_policies if name.startswith("morl-d/"))
    for message, (function, given) in faults(study).items():
        given = random if given == "morl-d/random-0" else given
        with pytest.raises(InputError, match=message) as fault:
            function(study, given)
        assert "\n" not in str(fault.value)


@pytest.mark.parametrize("text", ["humor", "humor=", "humor=x", "=1", "a=1,a=2", "", "a=nan"])
def test_a_lam_that_is_not_written_so_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match="is no λ of a value"):
        read_weights(text)


def test_a_lam_is_read() -> None:
    assert read_weights("humor=1, helpful=2.5e0") == {"humor": 1.0, "helpful": 2.5}


def test_a_prompt_may_be_as_long_as_the_model_allows(answerer: Answerer) -> None:
    # 24 positions, 6 for the answer, 1 for the template.
    assert one(answerer, BASE, prompt="a " * 17).prompt_tokens == 18
    with pytest.raises(InputError, match="has 19 tokens with its template; expected at most 18"):
        one(answerer, BASE, prompt="a " * 18)


def test_a_study_whose_models_are_not_made_is_refused(here: Path, study: Study) -> None:
    manifest = here / "results/tiny/models/base/base.json"
    kept = manifest.rename(manifest.with_suffix(".kept"))
    try:
        with pytest.raises(InputError, match=r"the base model .* has not been trained"):
            Answerer(study)
    finally:
        kept.rename(manifest)


def test_a_folder_without_a_study_is_refused(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"no config.json.*below results there are tiny"):
        enter_study("results/tinny")
    shutil.copytree("results/tiny", tmp_path / "results/copy")
    with pytest.raises(InputError, match="expected it in the folder results/tiny"):
        enter_study(tmp_path / "results/copy")
    monkeypatch.chdir(tmp_path)
    scores = {"study": "scores", "rewards": "scores.csv", "values": {"v": {"kind": "column"}}}
    Path("scores.csv").write_text("prompt,v\na,1.0\na,2.0\n", encoding="utf-8")
    Path("results/scores").mkdir()
    Path("results/scores/config.json").write_text(json.dumps(scores), encoding="utf-8")
    with pytest.raises(InputError, match="made from scores alone"):
        enter_study("results/scores")
