"""Reward models as they are published: their chat templates, several heads, code of their own."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import GPT2Config, GPT2ForSequenceClassification, PreTrainedTokenizerFast

from polyalign import rewards
from polyalign.data.keys import prompt_id
from polyalign.errors import InputError
from polyalign.models.own_code import check_trusted
from polyalign.rewards import SharedEncoding, classifier
from polyalign.rewards.annotate import annotate_value
from polyalign.rewards.classifier import Reader

HEADS = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"]
OWN_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
OTHER_TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
PROMPTS = ["hello", "how are you?", "hello", "hello"]
RESPONSES = ["fine", "", "not so well ", "fine"]


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes; it writes `<s>` before every text, and so does its chat template."""
    special = ["<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>", "<|system|>"]
    vocabulary = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE({token: place for place, token in enumerate(vocabulary)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=special[3:],
    )
    made.chat_template = OWN_TEMPLATE
    return made


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A classifier with five heads."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=262, n_embd=16, n_layer=2, n_head=2, n_positions=128, pad_token_id=2,
        initializer_range=0.3, id2label=dict(enumerate(HEADS)),
        label2id={name: place for place, name in enumerate(HEADS)},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("heads")
    GPT2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def spec(model: str, **settings: Any) -> dict[str, Any]:
    return {"kind": "sequence_classifier", "model": model, "device": "cpu", **settings}


@torch.inference_mode()
def by_hand(folder: str, prompt: str, response: str, template: str | None = None) -> torch.Tensor:
    """The logits of a conversation by the model's own tokenizer and class."""
    own = PreTrainedTokenizerFast.from_pretrained(folder)
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    ids = own.apply_chat_template(
        turns, chat_template=template, return_tensors="pt", return_dict=True
    )
    return GPT2ForSequenceClassification.from_pretrained(folder).eval()(**ids).logits[0]


@pytest.mark.parametrize("template", [None, OTHER_TEMPLATE])
def test_a_conversation_is_scored_as_by_hand(heads: str, template: str | None) -> None:
    """In the model's own chat template, or in one that the config has; with one `<s>`."""
    entry = spec(heads, template="chat", index="coherence", chat_template=template)
    scorer: Any = rewards.load(entry)
    expected = [
        float(by_hand(heads, *pair, template)[2]) for pair in zip(PROMPTS, RESPONSES, strict=True)
    ]
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(scorer(PROMPTS, RESPONSES), expected, atol=1e-6, rtol=0)
    for item in scorer.reader.texts.encode(PROMPTS, RESPONSES).items:
        assert item["input_ids"].count(0) == 1
    identity = rewards.spec_of(entry).identity()
    assert identity["chat_template"] == template


@pytest.mark.parametrize("lone", [False, True])
def test_the_end_token_is_read_where_nothing_is_named_for_padding(
    heads: str, tmp_path: Path, lone: bool
) -> None:
    """The tokenizer would pad with its end token, and conversations end with it."""
    model = shutil.copytree(heads, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "pad_token_id": None}))
    named = json.loads((model / "tokenizer_config.json").read_text())
    gone = ["pad_token", *(["bos_token", "extra_special_tokens"] if lone else [])]
    kept = {name: one for name, one in named.items() if name not in gone}
    (model / "tokenizer_config.json").write_text(json.dumps(kept))
    template = "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
    entry = spec(str(model), template="chat", chat_template=template, index=0, batch_size=4)
    expected = [
        float(by_hand(str(model), *pair, template)[0])
        for pair in zip(PROMPTS, RESPONSES, strict=True)
    ]
    scorer: Any = rewards.load(entry)
    assert scorer.reader.tokenizer.pad_token != "</s>"
    np.testing.assert_allclose(scorer(PROMPTS, RESPONSES), expected, atol=1e-5)


def test_a_long_conversation_loses_the_beginning_of_its_prompt(heads: str) -> None:
    """Its first token stays: models have read it before every text."""
    settings = {"template": "chat", "index": 0}
    scorer: Any = rewards.load(spec(heads, **settings, max_length=20))
    whole: Any = rewards.load(spec(heads, **settings))
    prompts, responses = ["a long prompt of many letters", "short"], ["fine", "good"]
    scores = scorer(prompts, responses)
    assert scorer.was_cut == [True, False]
    ids = scorer.reader.texts.encode(prompts, responses).items[0]["input_ids"]
    uncut = whole.reader.texts.encode(prompts, responses).items[0]["input_ids"]
    assert ids == [0, *uncut[-19:]]
    with torch.inference_mode():
        model = GPT2ForSequenceClassification.from_pretrained(heads).eval()
        expected = float(model(torch.tensor([ids])).logits[0, 0])
    assert scores[0] == pytest.approx(expected, abs=1e-5)
    assert scores[1] == pytest.approx(whole(prompts[1:], responses[1:])[0], abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pair": True, "template": "chat"}, "has both `pair` and `template`"),
        ({"chat_template": OTHER_TEMPLATE}, "has `chat_template` without `template: chat`"),
        (
            {"template": "chat", "chat_template": "{% for m in messages %}"},
            r"cannot be read \(.*line 1\); expected Jinja",
        ),
    ],
)
def test_settings_that_would_never_be_read_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rewards.spec_of(spec("some", **settings))
    marked = "{% generation %}{{ messages }}{% endgeneration %}"
    rewards.spec_of(spec("some", template="chat", chat_template=marked))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts went through forward passes, after a model was loaded."""
    counted: list[int] = []
    whole, shared = Reader._whole, Reader._shared
    prove = Reader._prove

    def proving(self: Reader) -> int:
        found = prove(self)
        counted.clear()
        return found

    monkeypatch.setattr(Reader, "_prove", proving)
    monkeypatch.setattr(
        Reader,
        "_whole",
        lambda self, texts, how: counted.append(len(texts)) or whole(self, texts, how),
    )
    monkeypatch.setattr(
        Reader, "_shared", lambda self, texts: counted.append(len(texts)) or shared(self, texts)
    )
    return counted


def test_five_values_read_a_text_once(heads: str, read: list[int]) -> None:
    """And equal five separate reads."""
    entries = {name: spec(heads, template="chat", index=name) for name in HEADS}
    separate = {name: rewards.load(entry)(PROMPTS, RESPONSES) for name, entry in entries.items()}
    assert len({tuple(found) for found in separate.values()}) == 5
    together = rewards.load_all(entries)
    assert len({id(one.reader.model) for one in together.values()}) == 1  # type: ignore[attr-defined]
    read.clear()
    found = {name: score(PROMPTS, RESPONSES) for name, score in together.items()}
    assert read == [4]
    for name in HEADS:
        assert np.array_equal(found[name], separate[name])
    assert together["verbosity"](["new"], ["text"]) != found["verbosity"][:1]
    assert read == [4, 1]


def test_what_comes_after_the_reading_is_each_value_s_own(heads: str, read: list[int]) -> None:
    entries = {
        "plain": spec(heads, index=1),
        "negated": spec(heads, index=1, sign=-1),
        "share": spec(heads, index=3, above=0.1),
        "other": spec(heads, index=1, output="probability"),
    }
    scores = rewards.load_all(entries)
    read.clear()
    found = {name: score(PROMPTS, RESPONSES) for name, score in scores.items()}
    assert read == [4, 4], "another output is another reading"
    assert np.array_equal(found["negated"], -found["plain"])
    third = rewards.load(spec(heads, index=3))(PROMPTS, RESPONSES)
    assert np.array_equal(found["share"], third > 0.1)
    assert set(found["share"]) <= {0.0, 1.0}
    assert np.all((found["other"] > 0) & (found["other"] < 1))


def test_growing_texts_are_read_once_for_all_heads(
    heads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown = []
    of_one = Reader._grown
    monkeypatch.setattr(
        Reader, "_grown", lambda self, *args: grown.append(1) or of_one(self, *args)
    )
    template = "{prompt} {response}"
    entries = {name: spec(heads, template=template, index=name) for name in HEADS[:2]}
    scores = rewards.load_all(entries)
    encoding = SharedEncoding()
    steps = {name: score.incremental(encoding) for name, score in scores.items()}
    with torch.inference_mode():
        for texts in ([["f", "g"], ["h"]], [["fi", "fo"], ["ha", "hu"]]):
            for name, step in steps.items():
                assert step is not None
                found = step([0, 1], ["hello", "you"], texts)
                whole = scores[name](["hello"] * 2, texts[0])
                np.testing.assert_allclose(found[0], whole, atol=1e-5)
    assert len(grown) == 2


def test_growing_texts_in_two_chat_templates_are_encoded_twice(heads: str) -> None:
    """Though the tokenizers are equal."""
    encoding = SharedEncoding()
    for template in (None, OTHER_TEMPLATE):
        entry = spec(heads, template="chat", index=1, chat_template=template)
        score = rewards.load(entry)
        step = score.incremental(encoding)
        assert step is not None
        with torch.inference_mode():
            (found,) = step([0], ["hello"], [["fine", "well"]])
        whole = score(["hello"] * 2, ["fine", "well"])
        np.testing.assert_allclose(found, whole, atol=1e-5)


def samples(responses: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame({"prompt": "hello", "response": responses})
    return frame.assign(prompt_id=prompt_id("hello"), candidate=range(len(frame)))


def test_an_added_head_costs_nothing_of_the_model(
    heads: str, tmp_path: Path, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs are of one value each: the first keeps all heads, and the others load no model."""
    table = samples(["fine", "well", "fine"])
    first, identity = annotate_value(table, "a", spec(heads, index="coherence"), tmp_path)
    assert read == [2]
    assert (identity["index"], identity["label_name"]) == (2, "coherence")
    with monkeypatch.context() as patch:
        patch.setattr(classifier, "Reader", None)
        for name in HEADS:
            entry = spec(heads, index=name, sign=-1)
            found, _ = annotate_value(table, "b", entry, tmp_path)
            patch.undo()
            fresh = -rewards.load(spec(heads, index=name))(["hello"] * 3, list(table["response"]))
            assert found["b"].tolist() == fresh.tolist()
            patch.setattr(classifier, "Reader", None)
    read.clear()
    annotate_value(samples(["well", "new"]), "c", spec(heads, index=4), tmp_path)
    assert read == [1], "the new text alone"
    assert len(list(tmp_path.iterdir())) == 1
    assert first["a"].tolist()[0] == first["a"].tolist()[2]


OWN = """
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ModelOutput

open("ran", "a").write("x")


@dataclass
class Judged(ModelOutput):
    rewards: torch.Tensor = None
    logits: torch.Tensor = None


class OwnConfig(PretrainedConfig):
    model_type = "own_reward"


class OwnRewards(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = torch.nn.Embedding(262, 8)
        self.regression = torch.nn.Linear(8, 3)
        self.post_init()

    def _init_weights(self, module):
        pass

    def forward(self, input_ids, attention_mask, **more):
        last = attention_mask.cumsum(dim=1).argmax(dim=1)
        mask = attention_mask[:, :, None]
        mean = (self.embed(input_ids) * mask).sum(1) / mask.sum(1)
        rewards = self.regression(mean + self.embed(input_ids)[range(len(last)), last])
        return Judged(rewards=rewards, logits=rewards.sum(1, keepdim=True))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with a model and its own code; to run it leaves a file, to ask is an error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "m"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks"))
    folder = Path("own_reward")
    tokenizer().save_pretrained(folder)
    (folder / "modelling.py").write_text(OWN)
    config = {
        "model_type": "own_reward",
        "architectures": ["OwnRewards"],
        "auto_map": {"AutoConfig": "modelling.OwnConfig", "AutoModel": "modelling.OwnRewards"},
        "pad_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    from safetensors.torch import save_file

    torch.manual_seed(0)
    weights = {
        "embed.weight": torch.randn(262, 8),
        "regression.weight": torch.randn(3, 8),
        "regression.bias": torch.randn(3),
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def expected_of(folder: str) -> np.ndarray:
    """Three rewards of each text, written out."""
    from safetensors.torch import load_file

    weights, rows = load_file(f"{folder}/model.safetensors"), []
    for text in RESPONSES:
        ids = PreTrainedTokenizerFast.from_pretrained(folder)(text)["input_ids"]
        read = weights["embed.weight"][ids]
        hidden = read.mean(0) + read[-1]
        rows.append(weights["regression.weight"] @ hidden + weights["regression.bias"])
    return torch.stack(rows).numpy()


def test_code_of_a_model_is_run_only_where_the_config_says_so(own: str) -> None:
    with pytest.raises(InputError, match=r"own_reward: comes with Python code .*OwnRewards.*not r"):
        rewards.load(spec(own, field="rewards", index=1))
    assert not Path("ran").exists()
    trusted = spec(own, field="rewards", index=1, trust_remote_code=True)
    scorer: Any = rewards.load(trusted)
    assert Path("ran").exists()
    np.testing.assert_allclose(scorer(PROMPTS, RESPONSES), expected_of(own)[:, 1], atol=1e-5)
    total = rewards.load({**trusted, "field": "logits", "index": None})
    np.testing.assert_allclose(total(PROMPTS, RESPONSES), expected_of(own).sum(1), atol=1e-5)
    with pytest.raises(InputError, match=r"has no 'scores'; expected one of rewards, logits; set"):
        rewards.load({**trusted, "field": "scores"})
    with pytest.raises(InputError, match="label index 3 asked of a classifier with 3 labels"):
        rewards.load({**trusted, "index": 3})


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_other_code_is_not_run_either(own: str, name: str) -> None:
    """Of a configuration, though transformers knows the class; of a tokenizer."""
    file = Path(own, name)
    config = json.loads(file.read_text())
    config |= {"architectures": ["GPT2ForSequenceClassification"]}
    if name == "tokenizer_config.json":
        config |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["modelling.Own", None]}}
    file.write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"own_reward: comes with Python code of its own"):
        rewards.load(spec(own, index=0))
    assert not Path("ran").exists()


def test_code_that_needs_a_package_says_so(own: str) -> None:
    Path(own, "modelling.py").write_text(f"import a_package_of_nobody\n{OWN}")
    with pytest.raises(InputError, match=r"own_reward: needs packages .*a_package_of_nobody"):
        rewards.load(spec(own, field="rewards", index=1, trust_remote_code=True))


def test_another_code_is_another_specification(own: str, tmp_path: Path) -> None:
    """A model on the hub is known by its commit, a folder by the hash of its Python files."""
    entry = spec(own, field="rewards", index=0, trust_remote_code=True)
    table, file = samples(["fine", "well"]), Path(own, "modelling.py")
    file.write_text(OWN.replace("self.regression(mean", "1 * self.regression(mean"))
    first, before = annotate_value(table, "a", entry, tmp_path / "cache")
    code = rewards.spec_of(entry).user_code()
    file.write_text(OWN.replace("self.regression(mean", "2 * self.regression(mean"))
    second, after = annotate_value(table, "a", entry, tmp_path / "cache")
    assert before["trust_remote_code"] != after["trust_remote_code"]
    assert code != rewards.spec_of(entry).user_code()
    np.testing.assert_allclose(second["a"], 2 * first["a"], rtol=1e-5)
    assert rewards.spec_of({**entry, "trust_remote_code": False}).user_code() == ""


def test_a_model_of_the_hub_runs_the_code_of_its_commit(
    own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the hub's local cache, with two commits that differ in their code alone."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository, scores = tmp_path / "hub/models--lab--own", {}
    for commit, factor in ((20 * "a1", "1 * "), (20 * "b2", "2 * ")):
        folder = shutil.copytree(own, repository / "snapshots" / commit)
        file = folder / "modelling.py"
        file.write_text(OWN.replace("self.regression(mean", f"{factor}self.regression(mean"))
        if factor == "2 * ":  # as `push_to_hub` writes it
            config = folder / "config.json"
            config.write_text(config.read_text().replace("modelling.", "lab/own--modelling."))
        entry = spec("lab/own", revision=commit, field="rewards", index=2)
        with pytest.raises(InputError, match="lab/own: comes with Python code of its own"):
            rewards.load(entry)
        Path("ran").unlink(missing_ok=True)
        trusted = {**entry, "trust_remote_code": True}
        found, identity = annotate_value(samples(RESPONSES), "a", trusted, tmp_path / "cache")
        assert Path("ran").exists()
        assert (identity["content"], identity["revision"]) == (f"commit:{commit}", commit)
        scores[factor] = found["a"]
    assert len(list((tmp_path / "cache").iterdir())) == 2
    np.testing.assert_allclose(scores["1 * "], expected_of(own)[:, 2], atol=1e-5)
    np.testing.assert_allclose(scores["2 * "], 2 * scores["1 * "], rtol=1e-5)


def test_what_is_run_is_pinned(own: str) -> None:
    commit = 20 * "a1"
    check_trusted("lab/reward", commit)
    for revision in (None, "main", commit[:7]):
        with pytest.raises(InputError, match=r"expected the 40 hex digits of a commit"):
            check_trusted("lab/reward", revision)
    one, other = (
        rewards.spec_of(spec("lab/reward", trust_remote_code=True, revision=revision)).reading()
        for revision in (commit, 20 * "b2")
    )
    assert one != other
    config = json.loads(Path(own, "config.json").read_text())
    config["auto_map"]["AutoModel"] = "elsewhere/code--modelling.OwnRewards"
    shutil.copytree(own, "two")
    Path("two/config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"takes code from another repository \(elsewhere/code--"):
        rewards.load(spec("two", trust_remote_code=True))
    assert not Path("ran").exists()
