"""Every class of fault is one line with file, line, key and the mend."""

import json
import re
from pathlib import Path

import pytest
import yaml

from polyalign.plan import stages
from polyalign.plan.shown import method_settings
from polyalign.study import ConfigError, load, validate

# what is replaced, by what, text of the line that is blamed, key, what the message says
FAULTS = {
    "unknown key": ("seed: 3", "sed: 3", "sed:", "sed", ["no key 'sed'", "write 'seed'"]),
    "unknown nested key": (
        "split: test",
        "splt: test",
        "splt",
        "prompts.sources[0].splt",
        ["expected one of column, input_column, opening, path, split, turns", "write 'split'"],
    ),
    "python function without a file": (
        "diversity: {kind: ngram_diversity}",
        "diversity: {kind: python, function: 'rewards.mine:score'}",
        "rewards.mine",
        "values.diversity.function",
        ["there is no rewards/mine.py", "correct the name"],
    ),
    "python function that the module lacks": (
        "diversity: {kind: ngram_diversity}",
        "diversity: {kind: python, function: 'mine:politenes'}",
        "mine:politenes",
        "values.diversity.function",
        ["mine.py has no function 'politenes'", "one of politeness, other", "write 'politeness'"],
    ),
    "mistyped folder": (
        "source: results/small/models/base/base",
        "source: data/tiny_clasifier",
        "data/tiny_clasifier",
        "model.source",
        ["'data/tiny_clasifier' does not exist, and 'data' is a folder", "'data/tiny_classifier'"],
    ),
    "python function without a name": (
        "diversity: {kind: ngram_diversity}",
        "diversity: {kind: python, function: mine}",
        "function: mine",
        "values.diversity.function",
        ["'mine' names no function", "expected `module:function`"],
    ),
    "value of random policies": (
        "  rloo:\n",
        "  morl-d: {values: [humor, diversty]}\n  rloo:\n",
        "diversty",
        "policies.morl-d.values[1]",
        ["no value 'diversty'", "diversity"],
    ),
    "palette of guided sampling": (
        "  rloo:\n",
        "  token-d: {palettes: [fanny]}\n  rloo:\n",
        "fanny",
        "policies.token-d.palettes[0]",
        ["no palette 'fanny'", "funny"],
    ),
    "value of a λ of one's own": (
        "  rloo:\n",
        "  token-d: {lam: {mine: {humour: 1, diversity: 0.5}}}\n  rloo:\n",
        "humour",
        "policies.token-d.lam.mine.humour",
        ["no value 'humour'", "write 'humor'"],
    ),
    "negative λ": (
        "palettes: [funny, plain]",
        "lam: {mine: {humor: -1}}",
        "mine",
        "policies.map-d.lam.mine.humor",
        ["-1", "at least 0"],
    ),
    "λ of nothing": (
        "palettes: [funny, plain]",
        "lam: {mine: {humor: 0}}",
        "mine",
        "policies.map-d.lam.mine",
        ["every λ is 0, which is the base model; expected one above 0"],
    ),
    "neither a palette nor a λ": (
        "    palettes: [funny, plain]",
        "    draws: 2",
        "map-d",
        "policies.map-d",
        ["has neither `palettes` nor `lam`"],
    ),
    "a λ with the name of a palette": (
        "palettes: [funny, plain]",
        "palettes: [funny, plain]\n    lam: {plain: {humor: 1}}",
        "map-d",
        "policies.map-d",
        ["'plain' names both a palette and a λ"],
    ),
    "a λ of one's own on a value that is only evaluated": (
        "map:\n  scope: auto\npolicies:\n  map-d:\n",
        "evaluation:\n  evaluate_only: [fluency]\n"
        "policies:\n  map-d:\n    lam: {mine: {fluency: 1, humor: 1}}\n",
        "fluency: 1",
        "policies.map-d.lam.mine.fluency",
        ["λ would weigh 'fluency', which is in evaluation.evaluate_only"],
    ),
    "soup of a policy that samples": (
        "  soup:\n    models:\n      half: {dpo/beta-0.1_mostly: 0.5, dpo/beta-0.5_mostly: 0.5}",
        "  token-d: {palettes: [funny]}\n"
        "  soup:\n    models:\n      half: {dpo/beta-0.1_mostly: 0.5, token-d/funny: 0.5}",
        "half:",
        "policies.soup.models.half.token-d/funny",
        ["has no model of its own"],
    ),
    "opening the wrong way round": (
        "{path: data/hh, split: test}",
        "{path: data/hh, opening: {shortest: 30, longest: 20}}",
        "opening",
        "prompts.sources[0].opening",
        ["longest 20 is below shortest 30"],
    ),
    "engine that is not installed": (
        "temperature: 1.0",
        "engine: vllm",
        "engine",
        "sampling.engine",
        ["vllm is not installed", "write `engine: transformers`"],
    ),
    "number read as text": (
        "temperature: 1.0",
        "temperature: 1e-6",
        "1e-6",
        "sampling.temperature",
        ["'1e-6' is read as text", "expected a number", "write 1.0e-6"],
    ),
    "level read as text": (
        "plain: {humor: 0.5}",
        "plain: {humor: 2e3}",
        "2e3",
        "palettes.plain.humor",
        ["read as text", "write 2.0e+3"],
    ),
    "number in quotes": (
        "candidates: 16",
        "candidates: '16'",
        "'16'",
        "sampling.candidates",
        ["'16' is read as text; expected a whole number; write 16 without quotes"],
    ),
    "boolean for a number": (
        "shards: 2",
        "shards: yes",
        "shards",
        "sampling.shards",
        ["is read as true; expected a whole number"],
    ),
    "word for a number": (
        "temperature: 1.0",
        "temperature: warm",
        "warm",
        "sampling.temperature",
        ["'warm' is text; expected a number"],
    ),
    "fraction for a whole number": (
        "shards: 2",
        "shards: 2.0",
        "shards",
        "sampling.shards",
        ["expected a whole number; write 2"],
    ),
    "number for text": (
        "study: small",
        "study: 7",
        "study: 7",
        "study",
        ["read as the number 7; expected text; put it in quotes"],
    ),
    "nothing given": (
        "shards: 2",
        "shards:",
        "shards",
        "sampling.shards",
        ["is empty; expected a whole number; give a value or remove the key"],
    ),
    "text for a section": (
        "map:\n  scope: auto",
        "map: auto",
        "map: auto",
        "map",
        ["'auto' is text; expected keys with values"],
    ),
    "one resample": (
        "map:\n  scope: auto",
        "map:\n  resamples: 1",
        "resamples: 1",
        "map.resamples",
        ["1 resample has no spread; expected 0 (the delta method) or at least 2"],
    ),
    "text for a list": (
        "plots: [radar]",
        "plots: radar",
        "plots",
        "plots",
        ["'radar' is text; expected a list"],
    ),
    "unknown choice": (
        "dtype: float32",
        "dtype: floot32",
        "floot32",
        "model.dtype",
        ["expected one of float32, bfloat16, float16; write 'float32'"],
    ),
    "out of range": (
        "test_share: 0.4",
        "test_share: 1.0",
        "test_share",
        "prompts.test_share",
        ["1.0; expected below 1; change it"],
    ),
    "no shards": (
        "shards: 2",
        "shards: 0",
        "shards",
        "sampling.shards",
        ["0; expected at least 1"],
    ),
    "no evaluation samples": (
        "shards: 2",
        "evaluation_candidates: 0",
        "evaluation",
        "sampling.evaluation_candidates",
        ["0; expected at least 1"],
    ),
    "missing nested key": (
        "{path: data/hh, split: test}",
        "{split: test}",
        "{split",
        "prompts.sources[0].path",
        ["missing; expected folder in Anthropic HH's layout", "add it"],
    ),
    "bad name of a study": (
        "study: small",
        "study: .hidden/x",
        "study:",
        "study",
        ["cannot name a folder", "rename it"],
    ),
    "bad name of a palette": (
        "plain: {humor: 0.5}",
        "plain one: {humor: 0.5}",
        "plain one",
        "palettes.plain one",
        ["'plain one' cannot name a folder", "rename it"],
    ),
    "name read as a number": (
        "plain: {humor: 0.5}",
        "70: {humor: 0.5}",
        "  70:",
        "palettes[70]",
        ["read as the number 70; expected text; put it in quotes"],
    ),
    "variant with too long a name": (
        "half: {dpo",
        f"{'h' * 97}: {{dpo",
        "h" * 97,
        f"policies.soup.models.{'h' * 97}",
        ["1 to 96 letters"],
    ),
    "value named like a column": (
        "fluency: {kind",
        "logprob: {kind",
        "logprob:",
        "values.logprob",
        ["is a column of every table", "rename it"],
    ),
    "unknown kind of value": (
        "kind: ngram_diversity",
        "kind: ngram_diversty",
        "diversty",
        "values.diversity.kind",
        ["no kind of reward 'ngram_diversty'", "write 'ngram_diversity'"],
    ),
    "value without a kind": (
        "{kind: ngram_diversity}",
        "{label: Diversity}",
        "label: Diversity",
        "values.diversity",
        ["has no `kind`; expected one of"],
    ),
    "label that figures cannot draw": (
        "{kind: ngram_diversity}",
        '{kind: ngram_diversity, label: "a\\nb"}',
        'label: "a',
        "values.diversity.label",
        ["has a line end", "expected letters and signs that figures can draw", "rewrite it"],
    ),
    "unknown family": (
        "map-d:",
        "map-b:",
        "map-b",
        "policies.map-b",
        ["no family of policies 'map-b'", "write 'map-d'"],
    ),
    "template without the prompt": (
        '"Human: {prompt} Assistant:"',
        '"Human:"',
        "template",
        "prompts.template",
        ["has no {prompt}", "put {prompt} where"],
    ),
    "unknown field of a template": (
        "index: 1",
        'template: "{reponse}"',
        "reponse",
        "values.humor.template",
        ["unknown field {reponse}; expected {prompt} and {response}; correct the name"],
    ),
    "no label of several": (
        "    index: 1\n",
        "",
        "humor:",
        "values.humor.index",
        ["which of its 2 labels is scored is not said", "(0 label_0, 1 label_1); set `index`"],
    ),
    "label that is not there": (
        "index: 1",
        "index: 7",
        "index: 7",
        "values.humor.index",
        ["label index 7 asked of a classifier with 2 labels"],
    ),
    "name of a label that is not there": (
        "index: 1",
        "index: funny",
        "index: funny",
        "values.humor.index",
        ["no label has the name 'funny'; expected the number or name of one of its labels"],
    ),
    "unreadable template": (
        '"Human: {prompt} Assistant:"',
        '"{prompt"',
        "template",
        "prompts.template",
        ["cannot be read", "write a brace of the text itself twice"],
    ),
    "palette of an unknown value": (
        "{humor: q70, diversity: mean}",
        "{humour: q70, diversity: mean}",
        "humour",
        "palettes.funny.humour",
        ["no value 'humour'", "write 'humor'"],
    ),
    "empty palette": (
        "plain: {humor: 0.5}",
        "plain: {}",
        "plain:",
        "palettes.plain",
        ["is empty; expected at least one key"],
    ),
    "bad level": (
        "{humor: q70, diversity: mean}",
        "{humor: q700, diversity: mean}",
        "q700",
        "palettes.funny.humor",
        ["level 'q700' is not understood; expected a number, q80", "write one of these"],
    ),
    "share in a palette": (
        "{humor: q70, diversity: mean}",
        "{humor: q70, share(diversity <= 0.5): 0.9}",
        "share(",
        "palettes.funny.share(diversity <= 0.5)",
        ["expected a value that is one", "'diversity' under another name, with `above: -0.5`"],
    ),
    "group of prompts in a palette": (
        "{humor: q70, diversity: mean}",
        '{humor: q70, "diversity[topic=a]": mean}',
        "topic=a",
        "palettes.funny.diversity[topic=a]",
        ["a group of prompts", "polyalign solve TABLE --target"],
    ),
    "band that is upside down": (
        "{humor: q70, diversity: mean}",
        "{humor: between q70 and q30, diversity: mean}",
        "between",
        "palettes.funny.humor",
        ["q70 is above q30; expected the lower level first"],
    ),
    "two values to maximise": (
        "{humor: q70, diversity: mean}",
        "{humor: maximise within 1 nats, diversity: maximise within 1 nats}",
        "maximise",
        "palettes.funny",
        ["humor and diversity are to be maximised; expected one value at most"],
    ),
    "budget beyond the candidates": (
        "{humor: q70, diversity: mean}",
        "{humor: maximise within 9 nats, diversity: mean}",
        "maximise",
        "palettes.funny.humor",
        ["9 nats are more than choosing among", "lower it"],
    ),
    "boolean level": (
        "plain: {humor: 0.5}",
        "plain: {humor: on}",
        "plain:",
        "palettes.plain.humor",
        ["True is no level; expected a number or text like q70"],
    ),
    "policy of an unknown palette": (
        "rloo:\n    palettes: [funny]",
        "rloo:\n    palettes: [funy]",
        "[funy]",
        "policies.rloo.palettes[0]",
        ["no palette 'funy'; expected one of funny, plain; write 'funny'"],
    ),
    "family without palettes": (
        "palettes: [funny, plain]",
        "palettes: []",
        "palettes: []",
        "policies.map-d.palettes",
        ["is empty; expected at least one entry"],
    ),
    "palette asked twice": (
        "palettes: [funny, plain]",
        "palettes: [funny, funny]",
        "[funny, funny]",
        "policies.map-d.palettes",
        ["'funny' stands twice; expected each once; remove one"],
    ),
    "soup of an untrained model": (
        "{dpo/beta-0.1_mostly: 0.5,",
        "{dpo/beta-0.2_mostly: 0.5,",
        "beta-0.2",
        "policies.soup.models.half.dpo/beta-0.2_mostly",
        ["is not trained in this study", "write 'dpo/beta-0.5_mostly'"],
    ),
    "soup of a decoding": (
        "{dpo/beta-0.1_mostly: 0.5,",
        "{map-d/funny: 0.5,",
        "map-d/funny",
        "policies.soup.models.half.map-d/funny",
        ["has no model of its own", "take another"],
    ),
    "start from a family without a model for the palette": (
        "rloo:\n    palettes: [funny]",
        "rloo:\n    palettes: [funny]\n    start: dpo",
        "start: dpo",
        "policies.rloo.start",
        ["'dpo/funny' is not trained in this study; expected one of dpo/beta-0.1_mostly"],
    ),
    "start from a family that samples": (
        "rloo:\n    palettes: [funny]",
        "rloo:\n    palettes: [funny]\n    start: map-d",
        "start: map-d",
        "policies.rloo.start",
        ["'map-d/funny' has no model of its own"],
    ),
    "start in a ring": (
        "rloo:\n    palettes: [funny]",
        "ppo: {palettes: [funny], start: rloo}\n  rloo:\n    start: ppo\n    palettes: [funny]",
        "ppo: {palettes",
        "policies.ppo.start",
        ["'ppo/funny' is made from itself, through rloo/funny"],
    ),
    "soup of itself": (
        "{dpo/beta-0.1_mostly: 0.5,",
        "{soup/half: 0.5,",
        "soup/half",
        "policies.soup.models.half.soup/half",
        ["is made from itself"],
    ),
    "soup that does not sum to one": (
        "dpo/beta-0.5_mostly: 0.5}",
        "dpo/beta-0.5_mostly: 0.6}",
        "half:",
        "policies.soup.models.half",
        ["the weights sum to 1.1; expected 1; change them"],
    ),
    "mixture outside [0, 1]": (
        "{helpful: 0.7, harmless: 0.3}",
        "{helpful: 1.7, harmless: -0.7}",
        "1.7",
        "policies.dpo.mixtures.mostly.helpful",
        ["1.7; expected at most 1"],
    ),
    "mixture that does not sum to one": (
        "{helpful: 0.7, harmless: 0.3}",
        "{helpful: 0.7, harmless: 0.2}",
        "0.2}",
        "policies.dpo.mixtures.mostly",
        ["the weights sum to 0.9; expected 1"],
    ),
    "mixture of unknown preferences": (
        "{helpful: 0.7, harmless: 0.3}",
        "{helpful: 0.7, harmles: 0.3}",
        "harmles:",
        "policies.dpo.mixtures.mostly.harmles",
        ["no preference data set 'harmles'", "write 'harmless'"],
    ),
    "batch that splits a prompt": (
        "rloo:\n    palettes: [funny]",
        "rloo:\n    palettes: [funny]\n    batch_size: 6",
        "rloo:",
        "policies.rloo",
        ["batch_size 6 is not a multiple of generations 4"],
    ),
    "rollouts that are not whole": (
        "rloo:\n    palettes: [funny]",
        "ppo:\n    palettes: [funny]\n    steps: 501",
        "ppo:",
        "policies.ppo",
        ["steps 501 is not a multiple of minibatches 2 × passes 2; expected whole rollouts"],
    ),
    "dpo on nothing": (
        "mixtures:\n      mostly: {helpful: 0.7, harmless: 0.3}\n    learning_rate",
        "learning_rate",
        "dpo:",
        "policies.dpo",
        ["has neither `mixtures` nor `labelled`; expected one of them, or both; add one"],
    ),
    "dpo for an unknown palette": (
        "learning_rate: 5.0e-4",
        "labelled: {palettes: [funy]}",
        "[funy]",
        "policies.dpo.labelled.palettes[0]",
        ["no palette 'funy'; expected one of funny, plain; write 'funny'"],
    ),
    "adapters of an unknown kind": (
        "rloo:\n    palettes: [funny]",
        "rloo:\n    palettes: [funny]\n    lora: {rang: 8}",
        "rang",
        "policies.rloo.lora.rang",
        ["no key 'rang'", "write 'rank'"],
    ),
    "training in float16": (
        "dtype: float32",
        "dtype: float16",
        "float16",
        "model.dtype",
        ["'float16' overflows where models are trained (`dpo`)", "write bfloat16"],
    ),
    "reward model of unknown preferences": (
        "{preferences: helpful}",
        "{preferences: helpfull}",
        "helpfull",
        "reward_models.helpful.preferences",
        ["no preference data set 'helpfull'", "write 'helpful'"],
    ),
    "reward model without data": (
        "{preferences: helpful}",
        "{epochs: 2}",
        "epochs",
        "reward_models.helpful",
        ["both `preferences` and `labels`, or neither; expected one of them"],
    ),
    "too few candidates for decoding": (
        "candidates: 16",
        "candidates: 1",
        "candidates: 1",
        "sampling.candidates",
        ["1 a prompt leaves `map-d` no choice; expected at least 2; raise it"],
    ),
    "too few candidates for the scope": (
        "candidates: 16\n  shards: 2",
        "candidates: 7\n  shards: 2\nevaluation: {bootstrap: 10}",
        "candidates: 7",
        "sampling.candidates",
        ["too few for `map.scope: prompt`; expected at least 8", "scope: joint"],
    ),
    "unknown figure": (
        "plots: [radar]",
        "plots: [radr]",
        "plots",
        "plots[0]",
        ["no figure 'radr'; expected one of portrait, radar; write 'radar'"],
    ),
    "a policy of a figure of the whole study": (
        "plots: [radar]",
        "plots: [radar/rloo/funny]",
        "plots",
        "plots[0]",
        ["'radar' is a figure of the whole study; expected no policy; write radar"],
    ),
    "an unknown policy of a figure": (
        "plots: [radar]",
        "plots: [portrait/rloo/fun]",
        "plots",
        "plots[0]",
        ["no policy 'rloo/fun'; expected one of base/base", "write 'rloo/funny'"],
    ),
    "an unknown opponent": (
        "map:\n  scope: auto",
        "evaluation:\n  opponent: rloo/fun",
        "opponent",
        "evaluation.opponent",
        ["no policy 'rloo/fun'; expected one of base/base", "write 'rloo/funny'"],
    ),
    "an unknown value of the evaluation": (
        "map:\n  scope: auto",
        "evaluation:\n  values: [humour]",
        "values: [humour]",
        "evaluation.values[0]",
        ["no value 'humour'", "write 'humor'"],
    ),
    "an unknown value of the hypervolume": (
        "map:\n  scope: auto",
        "evaluation:\n  hypervolume: {scale: {humour: 1.0}}",
        "hypervolume",
        "evaluation.hypervolume.scale.humour",
        ["no value 'humour'", "write 'humor'"],
    ),
    "a value that is only evaluated in a palette": (
        "map:\n  scope: auto",
        "evaluation:\n  evaluate_only: [diversity]",
        "funny: {humor: q70",
        "palettes.funny.diversity",
        ["'diversity' is in evaluation.evaluate_only; expected values that λ may weigh"],
    ),
    "random λ of a value that is only evaluated": (
        "  rloo:\n    palettes: [funny]",
        "  morl-d: {count: 2}\nevaluation:\n  evaluate_only: [fluency]",
        "morl-d",
        "policies.morl-d.values",
        ["λ would weigh 'fluency', which is in evaluation.evaluate_only; expected a list of other"],
    ),
    "a slack that is no preset": (
        "map:\n  scope: auto",
        "evaluation:\n  slack: published",
        "slack",
        "evaluation.slack",
        ["'published' is no slack; expected a number from 0 to 1, or published-0.03 or published-"],
    ),
    "a module of the figures that is none": (
        "plots: [radar]",
        "plots: [theme]",
        "plots",
        "plots[0]",
        ["no figure 'theme'; expected one of portrait, radar;"],
    ),
    "reward model that nothing trains": (
        "model: results/small/models/reward/humor",
        "model: results/small/models/reward/humour",
        "humour",
        "values.humor.model",
        ["nothing makes 'models/reward/humour'", "write 'models/reward/humor'"],
    ),
    "sandbox model without a sandbox": (
        "sandbox: {steps: 10}\nmodel:",
        "model:",
        "source: results",
        "model.source",
        ["is made by the sandbox alone; expected a `sandbox` section"],
    ),
    "a base model that is made from itself": (
        "source: results/small/models/base/base",
        "source: results/small/models/dpo/beta-0.1_mostly",
        "source: results",
        "model.source",
        ["nothing makes 'models/dpo/beta-0.1_mostly'; expected one of models/base/base"],
    ),
    "prompts that do not exist": (
        "path: data/hh, split",
        "path: ./data/hhh, split",
        "hhh",
        "prompts.sources[0].path",
        ["'./data/hhh' does not exist; expected a folder", "write 'data/hh'"],
    ),
    "pairs that do not exist": (
        "helpful: {path: data/hh}",
        "helpful: {path: data/pairs.jsonl.gz}",
        "pairs.jsonl",
        "preferences.helpful.path",
        ["does not exist"],
    ),
    "labels that do not exist": (
        "labels: data/humor.csv",
        "labels: data/humour.csv",
        "humour.csv",
        "reward_models.humor.labels",
        ["'data/humour.csv' does not exist; expected a table"],
    ),
    "labels that are no table": (
        "labels: data/humor.csv",
        "labels: data/humor.xlsx",
        "xlsx",
        "reward_models.humor.labels",
        ["is not a table; expected an ending of .parquet, .csv, .jsonl, .json; convert it"],
    ),
    "model folder that does not exist": (
        "source: results/small/models/base/base",
        "source: models/mine/final",
        "mine",
        "model.source",
        ["'models/mine/final' does not exist; expected a model folder or a hub id"],
    ),
    "results of a study that was not run": (
        "source: results/small/models/base/base",
        "source: results/other/models/base/base",
        "other",
        "model.source",
        ["does not exist"],
    ),
    "package that is not installed": (
        "model: results/small/models/reward/humor",
        "model: package:no_such_package_here/model",
        "no_such",
        "values.humor.model",
        ["no package 'no_such_package_here' is installed", "pip install"],
    ),
    "column without a table": (
        "{kind: ngram_diversity}",
        "{kind: column}",
        "kind: column",
        "values.diversity.kind",
        ["needs a table of scores; expected `rewards`"],
    ),
    "repeated key": (
        "  shards: 2",
        "  shards: 2\n  temperature: 0.5",
        "temperature: 0.5",
        "sampling.temperature",
        ["stands twice, first in line 13; expected each key once; remove one of them"],
    ),
}

# faults that leave a name elsewhere without what it names
FOLLOWED = (
    "soup of",
    "start in a ring",
    "sandbox model",
    "mixture outside",
    "bad name of",
    "name read as",
    "number for text",
)


def faults(load_it) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_it()
    return str(caught.value).splitlines()


@pytest.mark.parametrize("case", FAULTS)
def test_fault(case: str, text: str, write) -> None:
    old, new, line, key, says = FAULTS[case]
    if case == "too few candidates for the scope":
        text = text.replace("scope: auto", "scope: prompt")
    assert text.count(old) == 1, "the test must break exactly one place"
    broken = text.replace(old, new)
    number = next(i for i, row in enumerate(broken.splitlines(), 1) if line in row)
    found = faults(lambda: load(write(broken)))
    start = f"study.yaml:{number}: {key}: "
    matching = [fault for fault in found if fault.startswith(start)]
    assert matching, found
    assert any(all(part in fault for part in says) for fault in matching), matching
    assert all(re.search(r"; .+; ", fault) for fault in matching), "wrong; expected; mend"
    if not case.startswith(FOLLOWED):
        assert len(found) == 1, found


def test_the_study_is_valid_as_it_stands(text: str, write) -> None:
    assert load(write(text)).sampling.candidates == 16


def test_all_faults_at_once_in_the_order_of_the_file(text: str, write) -> None:
    edits = [
        ("seed: 3", "sed: 3"),
        ("temperature: 1.0", "temperature: 1e-6"),
        ("kind: ngram_diversity", "kind: ngram"),
        ("plain: {humor: 0.5}", "plain: {humr: 0.5}"),
        ("palettes: [funny, plain]", "palettes: [funny, plan]"),
        ("plots: [radar]", "plots: [radr]"),
        ("path: data/hh}", "path: ./nowhere}"),
    ]
    for old, new in edits:
        text = text.replace(old, new)
    found = faults(lambda: load(write(text)))
    keys = [fault.split(": ")[1] for fault in found]
    assert keys == [
        "sed",
        "sampling.temperature",
        "values.diversity.kind",
        "preferences.helpful.path",
        "palettes.plain.humr",
        "policies.map-d.palettes[1]",
        "plots[0]",
    ]
    lines = [int(fault.split(":")[1]) for fault in found]
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    ("split", "keys"),
    [
        ("train", ["preferences.helpful.path"]),
        ("test", ["prompts.sources[0].path", "preferences.helpful.path"]),
    ],
)
def test_a_folder_without_a_split(write, text: str, split: str, keys: list[str]) -> None:
    file = Path(f"data/hh/{split}.jsonl")
    file.rename(f"{file}.gz")
    load(write(text))
    Path(f"{file}.gz").unlink()
    found = faults(lambda: load(write(text)))
    assert [fault.split(": ")[1] for fault in found] == keys
    assert all(
        f"the folder 'data/hh' has no {split}.jsonl.gz or {split}.jsonl or {split}.parquet; "
        "expected" in fault
        for fault in found
    )


def test_test_pairs_that_nothing_reads(write, text: str) -> None:
    text = text.replace("  helpful: {preferences: helpful}\n", "")
    text = text.replace("split: test", "split: train").replace("dpo:", "dpo:\n    test_pairs: 0")
    Path("data/hh/test.jsonl").unlink()
    assert load(write(text)).policies["dpo"].test_pairs == 0
    read = text.replace("test_pairs: 0", "test_pairs: 5")
    (fault,) = faults(lambda: load(write(read)))
    assert "preferences.helpful.path" in fault


def test_missing_sections(write, text: str) -> None:
    found = faults(lambda: load(write("seed: 1\n")))
    assert [fault.split(": ")[:2] for fault in found] == [
        ["study.yaml:1", key] for key in ("study", "values", "model", "prompts.sources", "plots[0]")
        if key != "plots[0]"
    ]  # fmt: skip
    assert "or `rewards`" in found[2]


def test_a_file_that_is_no_yaml(write, text: str) -> None:
    found = faults(lambda: load(write("study: small\nseed: [1\nmodel: {}\n")))
    assert len(found) == 1
    assert re.match(r"study\.yaml:3: is no YAML: .*; expected .*; mend", found[0])


@pytest.mark.parametrize("content", ["- a\n- b\n", "just text\n"])
def test_a_file_that_is_no_mapping(content: str, write, text: str) -> None:
    assert faults(lambda: load(write(content)))[0].startswith("study.yaml:1: is no mapping; ")


def test_an_empty_file(write, text: str) -> None:
    assert faults(lambda: load(write("")))[0].startswith("study.yaml:1: study: missing")


def test_a_file_that_is_not_there(text: str) -> None:
    (found,) = faults(lambda: load("absent.yaml"))
    assert found.startswith("absent.yaml: cannot be read (No such file")


def test_a_value_from_the_command_line_has_no_line(text: str, write) -> None:
    config = yaml.safe_load(text)
    config["sampling"]["shards"] = 0
    config["extra"] = 1
    found = faults(lambda: validate(config, [write(text)]))
    assert found[0].startswith("sampling.shards: 0; expected at least 1")
    assert found[1].startswith("extra: no key 'extra'")
    assert len(found) == 2


def test_several_files_each_give_their_own_lines(text: str, write) -> None:
    config = yaml.safe_load(text.replace("shards: 2", "shards: none"))
    config["seed"] = -1
    first = write(text.replace("shards: 2", "shards: none"))
    second = write("\nseed: -1\n", "more.yaml")
    found = faults(lambda: validate(config, [Path(first).absolute(), second]))
    assert found[0].startswith("study.yaml:15: sampling.shards: ")
    assert found[1].startswith("more.yaml:2: seed: -1; expected at least 0")


def test_merged_mappings_are_no_repetitions(text: str, write) -> None:
    anchored = text.replace("plain: {humor: 0.5}", "plain: &level {humor: 0.5}")
    anchored = anchored.replace(
        "map:\n  scope", "  both: {<<: *level, diversity: mean}\nmap:\n  scope"
    )
    study = load(write(anchored))
    assert study.palettes["both"] == {"humor": 0.5, "diversity": "mean"}


def test_the_label_of_a_model_that_is_here(write, text: str) -> None:
    """Its config.json names the labels, and the report says which one was taken."""
    Path("mood").mkdir()
    Path("mood/config.json").write_text('{"id2label": {"0": "NEGATIVE", "1": "POSITIVE"}}')
    mood = text.replace("results/small/models/reward/humor", "mood")
    for index, said in (("1", "index = 1; label = POSITIVE"), ("POSITIVE", "index = POSITIVE")):
        study = load(write(mood.replace("index: 1", f"index: {index}")))
        assert said in method_settings(study)["values"]["humor"]["settings"]
    (found,) = faults(lambda: load(write(mood.replace("index: 1", "index: BAD"))))
    assert "no label has the name 'BAD'" in found
    assert "(0 NEGATIVE, 1 POSITIVE); set `index`" in found


def test_a_chat_template_that_is_not_there(write, text: str) -> None:
    """Of the base model, and of the model of a value; other templates need none."""
    for name in ("base", "mood"):
        Path(name).mkdir()
        Path(name, "tokenizer_config.json").write_text("{}")
    mine = text.replace("results/small/models/base/base", "base")
    mine = mine.replace("results/small/models/reward/humor", "mood")
    load(write(mine))
    chats = mine.replace('"Human: {prompt} Assistant:"', "chat").replace(
        "index: 1", "template: chat"
    )
    one, other = faults(lambda: load(write(chats)))
    assert "prompts.template: base: its tokenizer has no chat template; expected one" in one
    assert "values.humor.template: mood: its tokenizer has no chat template" in other
    Path("base/chat_template.jinja").write_text("{{ messages }}")
    Path("mood/tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    load(write(chats))


def test_code_that_comes_with_the_model_of_a_value(write, text: str) -> None:
    """It is refused before the first job, and so is a commit that is not one."""
    Path("own").mkdir()
    config = {"architectures": ["OwnRewards"], "auto_map": {"AutoModel": "own.OwnRewards"}}
    Path("own/config.json").write_text(json.dumps(config))
    mine = text.replace("results/small/models/reward/humor", "own")
    (found,) = faults(lambda: load(write(mine)))
    assert "values.humor.model: own: comes with Python code of its own (its class OwnR" in found
    trusted = mine.replace("index: 1", "trust_remote_code: true")
    load(write(trusted))
    hub = trusted.replace("model: own", "model: lab/reward\n    revision: main")
    (found,) = faults(lambda: load(write(hub)))
    assert "values.humor.revision: lab/reward: `trust_remote_code` runs the code of a hub" in found
    load(write(hub.replace("revision: main", f"revision: {20 * 'a1'}")))
    config["architectures"] = ["GPT2ForSequenceClassification"]
    Path("own/config.json").write_text(json.dumps(config))
    load(write(mine))


def test_values_of_one_model_wait_for_the_first_that_reads_it(write, text: str) -> None:
    humor = "kind: sequence_classifier, model: lab/five, template: chat"
    more = "".join(
        f"  {name}: {{{humor}, {setting}}}\n"
        for name, setting in (
            ("kind", "index: 2, batch_size: 3"),
            ("dull", "index: 1, sign: -1, above: 0.5"),
            ("sure", "index: 1, output: probability"),
            ("short", "index: 1, max_length: 9"),
        )
    )
    first = f"  first: {{{humor}, index: 1}}\n"
    mine = text.replace("  diversity: {kind", f"{first}{more}  diversity: {{kind")
    study = load(write(mine))
    found = {name for name, first in study.read_with.items() if first == "first"}
    assert found == {"first", "kind", "dull"}
    for value in study.values:
        wildcards = {"family": "base", "variant": "pool", "value": value, "i": "1", "n": "2"}
        waits = stages.STAGES["annotate"].inputs(study, wildcards)["first"]
        path = "results/small/policies/base/pool/shards/first_1-of-2.parquet"
        assert waits == ([path] if value in ("kind", "dull") else [])
