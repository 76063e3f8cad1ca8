"""Rewards, against hand-computed cases and the library's own models."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from standin import Reply, chat, stand_in
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from polyalign import rewards
from polyalign.errors import InputError
from polyalign.rewards import SharedEncoding
from polyalign.rewards.batches import score_by_length
from polyalign.rewards.kinds.ngram_diversity import diversity
from polyalign.runtime.function_code import function_code

WORDS = ["<eos>", "<pad>", *"abcdefgh"]
PROMPTS = ["a b", "c", "d e f", "g"]
RESPONSES = ["b c d", "a", "h h h h h", ""]
VECTOR = torch.tensor([1.0, -2.0])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny language model and a tiny classifier with three labels."""
    vocabulary = {word: place for place, word in enumerate(WORDS)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>"
    )
    torch.manual_seed(0)
    sizes = {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": len(WORDS)}
    made = {}
    for name, kind in (("lm", GPT2LMHeadModel), ("classifier", GPT2ForSequenceClassification)):
        ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
        model = kind(GPT2Config(**sizes, **ids, num_labels=3))
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        made[name] = str(folder)
    return made


def classifier(folders: dict[str, str], **changes):  # type: ignore[no-untyped-def]
    spec = {"kind": "sequence_classifier", "model": folders["classifier"], "index": 1}
    return rewards.load({**spec, **changes})


@pytest.mark.parametrize(
    "spec",
    [
        {
            "kind": "sequence_classifier",
            "index": 0,
            "template": "{prompt} {response}",
            "append_eos": True,
        },
        {"kind": "sequence_classifier", "index": 0, "padding_side": "left"},
        {"kind": "log_likelihood", "template": "{prompt}"},
        {"kind": "embedding_similarity"},
    ],
    ids=lambda spec: "-".join(map(str, spec.values())),
)
def test_scores_are_the_same_bit_by_bit_in_any_batch(
    folders: dict[str, str], spec: dict[str, object]
) -> None:
    """So they are the same from any shard, and from the cache, whatever was scored beside them.

    On a GPU to rounding only: there the library chooses a kernel by the shape of the batch.
    """
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 28, 60)
    responses = [" ".join(rng.choice(WORDS[2:], size)) for size in sizes]
    prompts = [PROMPTS[number % 2] for number in range(60)]
    model = folders["lm" if spec["kind"] == "log_likelihood" else "classifier"]
    scores = {
        size: rewards.load({**spec, "model": model, "batch_size": size})(prompts, responses)
        for size in (1, 7, 16, 60)
    }
    score = rewards.load({**spec, "model": model})
    few = rng.permutation(60)[:13]
    part = score([prompts[row] for row in few], [responses[row] for row in few])
    assert np.ptp(part) > 1e-3
    if torch.cuda.is_available():
        for other in scores.values():
            np.testing.assert_allclose(scores[60], other, atol=1e-5)
        np.testing.assert_allclose(scores[60][few], part, atol=1e-5)
        return
    assert all(np.array_equal(scores[60], other) for other in scores.values())
    assert np.array_equal(scores[60][few], part)


def test_a_text_as_long_as_the_model_is_scored(folders: dict[str, str]) -> None:
    long = " ".join(["a", "b"] * 16)
    model = GPT2ForSequenceClassification.from_pretrained(folders["classifier"]).eval()
    logits = model(torch.tensor([[2, 3] * 16])).logits[0].detach()
    assert classifier(folders)(["a"], [long])[0] == pytest.approx(logits[1].item(), abs=1e-5)


def test_a_classifier_is_read_as_its_spec_says(folders: dict[str, str]) -> None:
    model = GPT2ForSequenceClassification.from_pretrained(folders["classifier"]).eval()
    ids = [WORDS.index(word) for word in ["a", "b", "b", "c", "d"]]
    template = "{prompt} {response}"
    for eos in (False, True):
        logits = model(torch.tensor([ids + [0] * eos])).logits[0].detach()
        options = {"template": template, "append_eos": eos}
        logit = classifier(folders, **options)(PROMPTS[:1], RESPONSES[:1])
        assert logit[0] == pytest.approx(logits[1].item(), abs=1e-5)
        turned = classifier(folders, sign=-1, **options)(PROMPTS[:1], RESPONSES[:1])
        assert turned[0] == pytest.approx(-logits[1].item(), abs=1e-5)
        log = classifier(folders, output="log_probability", **options)(PROMPTS[:1], RESPONSES[:1])
        assert log[0] == pytest.approx(logits.log_softmax(-1)[1].item(), abs=1e-5)


@pytest.mark.parametrize("kind", sorted(set(rewards.KINDS) - {"column"}))
def test_any_kind_of_reward_can_be_negated(
    folders: dict[str, str], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "def length(prompts, responses):\n    return [float(len(text)) for text in responses]\n"
    )

    def answer(body: Any, number: int) -> Reply:
        if "responses" in body:
            return Reply({"rewards": [len(text) for text in body["responses"]]})
        return chat(f'{{"score": {len(body["messages"][0]["content"])}}}')

    with stand_in(answer) as server:
        asked = {"model": "m", "rubric": "{response}", "low": 0.0, "high": 99.0, "folder": "calls"}
        more = {
            "sequence_classifier": {"model": folders["classifier"], "index": 1},
            "embedding_similarity": {"model": folders["classifier"]},
            "log_likelihood": {"model": folders["lm"]},
            "python": {"function": "own:length"},
            "http": {"endpoint": server.url},
            "judge": {"endpoint": server.url, **asked},
        }
        spec = {"kind": kind, **more.get(kind, {})}
        plain, negated = rewards.load(spec), rewards.load({**spec, "sign": -1})
        scores = plain(PROMPTS, RESPONSES)
        assert np.ptp(scores) > 0
        assert np.array_equal(negated(PROMPTS, RESPONSES), -scores)
        ends: list[str | None] = ["<eos>", "", None, "<eos>"]
        told = rewards.score_of(plain, PROMPTS, RESPONSES, ends)
        for other in (negated, rewards.deferred({**spec, "sign": -1})):
            assert np.array_equal(rewards.score_of(other, PROMPTS, RESPONSES, ends), -told)
        assert (kind == "log_likelihood") == (not np.array_equal(told, scores))


def test_a_label_that_is_not_there_is_refused(folders: dict[str, str]) -> None:
    with pytest.raises(InputError, match="label index 3"):
        classifier(folders, index=3)


def test_log_likelihood_is_the_mean_over_tokens(folders: dict[str, str]) -> None:
    score = rewards.load({"kind": "log_likelihood", "model": folders["lm"], "template": "{prompt}"})
    model = GPT2LMHeadModel.from_pretrained(folders["lm"]).eval()
    found = score(PROMPTS, RESPONSES)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        before = [WORDS.index(word) for word in prompt.split()]
        after = [WORDS.index(word) for word in response.split()] + [0]
        logits = model(torch.tensor([before + after])).logits[0, len(before) - 1 : -1]
        expected = logits.log_softmax(-1)[torch.arange(len(after)), after].mean().item()
        assert found[row] == pytest.approx(expected, abs=1e-5)


def test_weights_must_be_finite_and_have_a_reward() -> None:
    rewards.check_weights({"v": -0.5, "w": 0.0}, {"v": None})
    with pytest.raises(InputError, match="λ of 'w' is -1, but there is no such reward"):
        rewards.check_weights({"w": -1}, {"v": None})
    with pytest.raises(InputError, match="λ of 'v' is inf"):
        rewards.check_weights({"v": np.inf}, {"v": None})
    with pytest.raises(InputError, match=r"λ of 'w' is 0\.5, but there is no such reward; there"):
        rewards.check_weights({"w": 0.5}, {"v": None})


def test_a_reward_that_is_not_finite_names_its_text() -> None:
    rewards.check_finite("v", np.array([1.0, 2.0]), ["a", "b"])
    with pytest.raises(InputError, match="'v' is inf for the text 'b'; expected a finite number"):
        rewards.check_finite("v", np.array([1.0, np.inf]), ["a", "b"])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_embeddings_are_pooled_and_compared_as_the_spec_says(
    folders: dict[str, str], pooling: str
) -> None:
    spec = {"kind": "embedding_similarity", "model": folders["lm"], "pooling": pooling}
    model = GPT2LMHeadModel.from_pretrained(folders["lm"]).eval().transformer
    prompts, responses = PROMPTS[:3], RESPONSES[:3]

    def embedding(text: str) -> torch.Tensor:
        ids = torch.tensor([[WORDS.index(word) for word in text.split()]])
        hidden = model(ids).last_hidden_state[0].detach()
        return hidden[0] if pooling == "cls" else hidden.mean(0)

    expected = [
        torch.cosine_similarity(embedding(one), embedding(other), dim=0).item()
        for one, other in zip(prompts, responses, strict=True)
    ]
    assert rewards.load(spec)(prompts, responses) == pytest.approx(expected, abs=1e-5)


def test_similarity_of_a_text_with_itself_is_one(folders: dict[str, str]) -> None:
    score = rewards.load({"kind": "embedding_similarity", "model": folders["lm"]})
    assert score(["a b c", "d"], ["a b c", "e f g h"])[0] == pytest.approx(1.0, abs=1e-5)
    assert score(["a b c", "d"], ["a b c", "e f g h"])[1] < 1.0


def test_diversity_counts_distinct_ngrams() -> None:
    assert diversity("a b c d") == 1.0
    assert diversity("") == 1.0
    # 2-grams: ab ba ab ba → 2 of 4; 3-grams: aba bab aba → 2 of 3; 4-grams: abab baba → 2 of 2.
    assert diversity("a b a b a") == pytest.approx(2 / 4 * 2 / 3)
    assert diversity("a a a", sizes=[2]) == pytest.approx(1 / 2)


def test_an_unknown_kind_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no kind of reward 'telepathy'.*ngram_diversity"):
        rewards.load({"kind": "telepathy"})


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("template", ["{prompt} {response}", "{response}"])
def test_the_padding_side_changes_no_score(
    folders: dict[str, str], side: str, template: str
) -> None:
    """Long and short texts, an empty one among them, in one batch and one by one."""
    options = {"template": template, "padding_side": side}
    one = classifier(folders, **options, batch_size=1)(PROMPTS, RESPONSES)
    many = classifier(folders, **options, batch_size=4)(PROMPTS, RESPONSES)
    assert np.allclose(one, many, atol=1e-4)
    assert np.ptp(one) > 1e-2


MINE = """
from helper import factor

def score(prompts, responses):
    return [factor * len(response) + len(prompt)
            for prompt, response in zip(prompts, responses, strict=True)]

def single(prompts, responses):
    return 1.0

def words(prompts, responses):
    return responses
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the user's, with another one that it imports, in the working folder."""
    (tmp_path / "rewards").mkdir()
    (tmp_path / "rewards/mine.py").write_text(MINE)
    (tmp_path / "helper.py").write_text("factor = 2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    for name in ("rewards", "rewards.mine", "helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def identity(spec: dict[str, Any]) -> dict[str, Any]:
    return rewards.spec_of(spec).identity()


def python(function: str) -> dict[str, str]:
    return {"kind": "python", "function": function}


def test_a_python_function_is_a_reward(mine: Path) -> None:
    score = rewards.load(python("rewards.mine:score"))
    assert score(["ab", ""], ["xyz", "q"]).tolist() == [8.0, 2.0]


def test_the_users_code_is_part_of_the_specification(mine: Path) -> None:
    spec = python("rewards.mine:score")
    before = identity(spec)
    assert before["function"] == "rewards.mine:score"
    assert "rewards/mine.py=" in before["content"]
    assert before["content"] == rewards.spec_of(spec).user_code()
    (mine / "unrelated.py").write_text("factor = 3\n")
    os.utime(mine / "helper.py")
    function_code.cache_clear()
    assert identity(spec) == before
    (mine / "helper.py").write_text("factor = 3\n")
    function_code.cache_clear()
    assert identity(spec) != before


def test_comments_in_the_users_code_change_nothing(mine: Path) -> None:
    """The code counts by what it computes."""
    spec, file = python("rewards.mine:score"), mine / "rewards/mine.py"
    before = identity(spec)
    file.write_text('"""My reward."""\n' + MINE.replace("def", "# A note.\ndef"))
    function_code.cache_clear()
    assert identity(spec) == before
    file.write_text(MINE.replace("+ len(prompt)", "- len(prompt)"))
    function_code.cache_clear()
    assert identity(spec) != before


def test_only_python_rewards_run_code_of_the_user(folders: dict[str, str]) -> None:
    assert rewards.spec_of({"kind": "ngram_diversity"}).user_code() == ""
    assert rewards.spec_of({"kind": "log_likelihood", "model": "some"}).user_code() == ""


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("rewards.mine:absent", "has no such function"),
        ("rewards.yours:score", r"there is no rewards/yours\.py"),
        ("rewards.mine:single", r"returned shape \(\) for 2 responses"),
        ("rewards.mine:words", "returned no numbers"),
    ],
)
def test_a_python_reward_that_cannot_work_says_why(mine: Path, function: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        rewards.load(python(function))(["a", "b"], ["c", "d"])


def test_a_deferred_reward_is_loaded_once_and_at_its_first_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = []
    load = rewards.load
    monkeypatch.setattr(rewards, "load", lambda spec: loaded.append(spec) or load(spec))
    score = rewards.deferred({"kind": "ngram_diversity"})
    assert loaded == []
    assert score(["p"], ["a b"]).tolist() == score(["p"], ["c d"]).tolist() == [1.0]
    assert len(loaded) == 1


def test_speed_settings_are_no_part_of_the_specification(folders: dict[str, str]) -> None:
    spec = {"kind": "sequence_classifier", "model": folders["classifier"], "index": 1}
    same = identity({**spec, "batch_size": 3, "device": "cpu"})
    assert same == identity(spec)
    assert identity({**spec, "index": 2}) != same
    assert identity({**spec, "model": folders["lm"]})["content"] != same["content"]


@pytest.mark.parametrize(
    ("device", "fault"),
    [
        ("cuda", torch.cuda.OutOfMemoryError("full")),
        ("cpu", RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")),
    ],
)
def test_batches_that_do_not_fit_the_memory_are_divided_or_refused(
    device: str, fault: RuntimeError
) -> None:
    calls: list[int] = []

    def score(items: list[int], width: int) -> torch.Tensor:
        calls.append(len(items))
        if len(items) > fits:
            raise fault
        return torch.tensor(items, dtype=torch.float32)

    place: dict[str, Any] = {"device": torch.device(device), "limit": None}
    fits = 4
    items = list(range(5, 14))
    assert score_by_length(items, [1] * 9, 9, score, **place).tolist() == items
    assert max(calls[-3:]) <= 4
    rows = score_by_length(items, [1] * 9, 9, lambda *of: score(*of)[:, None] * VECTOR, **place)
    assert np.array_equal(rows, np.outer(items, VECTOR))
    fits = 0
    with pytest.raises(InputError, match=r"text of \d+ tokens does not fit"):
        score_by_length([5], [1], 1, score, **place)
    fault = RuntimeError("another")
    with pytest.raises(RuntimeError, match="another"):
        score_by_length([5], [1], 1, score, **place)


@pytest.mark.parametrize("kind", ["sequence_classifier", "embedding_similarity", "log_likelihood"])
def test_a_text_longer_than_the_model_is_cut(folders: dict[str, str], kind: str) -> None:
    """The model has 32 places, fewer than the default `max_length`."""
    model = folders["lm" if kind == "log_likelihood" else "classifier"]
    label = {"index": 0} if kind == "sequence_classifier" else {}
    score = rewards.load({"kind": kind, "model": model, **label})
    # The text that is cut differs from the cut one beyond the last place alone.
    short, long = (" ".join(["b", "a"] * half) for half in (20, 30))
    assert score(["a"], [long])[0] == score(["a"], [short])[0]


@pytest.mark.parametrize("bos", [None, "g"])
@pytest.mark.parametrize("kind", ["sequence_classifier", "embedding_similarity", "log_likelihood"])
def test_padding_that_the_model_does_not_know_is_replaced(
    folders: dict[str, str], kind: str, bos: str | None, tmp_path: Path, capsys: Any
) -> None:
    """It is masked, so scores are those of another padding token, and in batches as before."""
    source = folders["lm" if kind == "log_likelihood" else "classifier"]
    copy = shutil.copytree(source, tmp_path / "model")
    spec = {"kind": kind, **({"index": 0} if kind == "sequence_classifier" else {})}
    tokenizer = PreTrainedTokenizerFast.from_pretrained(copy, bos_token=bos)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(copy)
    expected = rewards.load({**spec, "model": source})(PROMPTS, RESPONSES)
    capsys.readouterr()
    found: Any = rewards.load({**spec, "model": str(copy)})
    reader = getattr(found, "reader", found)
    assert reader.tokenizer.pad_token == (bos or "<eos>")
    assert "not with" not in capsys.readouterr().out
    np.testing.assert_allclose(found(PROMPTS, RESPONSES), expected, atol=1e-5)


@pytest.mark.parametrize("bos", [None, "h"])
def test_a_likelihood_is_of_the_response_after_what_fits_of_its_prompt(
    folders: dict[str, str], bos: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model has 32 places; the beginning token is kept, as all texts that it has read."""
    score: Any = rewards.load({"kind": "log_likelihood", "model": folders["lm"]})
    score.tokenizer.bos_token = bos
    capsys.readouterr()
    prompt = ["h", *np.random.default_rng(0).choice(list("abcdefg"), 39)]
    prompts, responses = [" ".join(prompt)] * 3 + ["a"], ["b a c", "c", "a c a b a c", "b"]
    model = GPT2LMHeadModel.from_pretrained(folders["lm"]).eval()
    expected = []
    for text, response in zip(prompts, responses, strict=True):
        after = [*score.tokenizer(response)["input_ids"], 0]
        room = 32 - len(after)
        before = score.tokenizer(text)["input_ids"]
        if len(before) > room:
            before = [*before[:1], *before[1 - room :]] if bos else before[-room:]
        with torch.inference_mode():
            logits = model(torch.tensor([before + after])).logits[0, len(before) - 1 :]
        logs = logits.log_softmax(-1)
        expected.append(np.mean([float(logs[at, token]) for at, token in enumerate(after)]))
    np.testing.assert_allclose(score(prompts, responses), expected, atol=1e-5)
    said = capsys.readouterr().out
    assert f"{folders['lm']}: 3 of 4 texts are longer than 32 tokens and lost the beginning" in said
    assert score.was_cut == [True, True, True, False]
    grow = score.incremental(SharedEncoding())
    with torch.inference_mode():
        found = grow([0, 1], [prompts[0], prompts[3]], [responses[:3], responses[3:]])
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)


def test_the_ends_of_responses_and_texts_that_are_cut_are_counted(
    folders: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    long, short = " ".join("abcdabcd"), "a b c"
    likelihood = {"kind": "log_likelihood", "model": folders["lm"], "max_length": 4}
    score = rewards.load(likelihood)
    assert score(["a"], [long]) == score(["a"], ["a b c d c"])
    capsys.readouterr()
    score([long, "a", "b"], [long, long, short])
    assert capsys.readouterr().out == (
        f"{folders['lm']}: 2 of 3 texts are longer than 4 tokens and lost the end of the response\n"
    )
    assert score.was_cut == [True, True, False]
    embedding = {"kind": "embedding_similarity", "model": folders["classifier"], "max_length": 4}
    similarity = rewards.deferred({**embedding, "sign": -1})
    similarity([long, "a", "b"], [short, short, "a b c d e"])
    assert similarity.was_cut == [True, False, True]
    assert capsys.readouterr().out.endswith(
        f"{folders['classifier']}: 2 of 5 texts are longer than 4 tokens and lost the end\n"
    )


def test_a_pair_is_read_with_the_separator_of_its_tokenizer(folders: dict[str, str]) -> None:
    spec = {"model": folders["classifier"], "index": 1, "pair": True}
    model = GPT2ForSequenceClassification.from_pretrained(folders["classifier"]).eval()
    score = rewards.load({"kind": "sequence_classifier", **spec})
    ids = score.reader.tokenizer("a b", "b a a")["input_ids"]  # type: ignore[attr-defined]
    logits = model(torch.tensor([ids])).logits[0].detach()
    assert score(["a b", "b"], ["b a a", "a"])[0] == pytest.approx(logits[1].item(), abs=1e-5)


def reads_prompt(spec: dict[str, Any]) -> bool:
    return rewards.spec_of(spec).reads_prompt()


@pytest.mark.parametrize(
    ("spec", "reads"),
    [
        ({"kind": "sequence_classifier", "template": "{response}"}, False),
        ({"kind": "sequence_classifier", "template": "{prompt} {response}"}, True),
        ({"kind": "sequence_classifier", "pair": True}, True),
        ({"kind": "embedding_similarity"}, True),
        ({"kind": "log_likelihood"}, True),
    ],
)
def test_the_scope_of_a_value_follows_from_its_entry(spec: dict[str, Any], reads: bool) -> None:
    assert reads_prompt({**spec, "model": "some"}) is reads
    assert not reads_prompt({"kind": "ngram_diversity"})
    assert reads_prompt({"kind": "python", "function": "mine:score"})
    assert not reads_prompt({"kind": "python", "function": "mine:score", "scope": "response"})


@pytest.mark.parametrize("pair", [False, True])
def test_a_text_that_is_too_long_loses_the_beginning_of_its_prompt(
    folders: dict[str, str], pair: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The response is kept, so candidates of a long prompt have scores of their own."""
    reads = {"pair": True} if pair else {"template": "{prompt} {response}"}
    score = classifier(folders, **reads, max_length=8)
    kept = classifier(folders, **reads)
    prompts, responses = [" ".join("abcdabcdabcd")] * 2 + ["d"], ["a b c", "b c d", "a"]
    found = score(prompts, responses)
    special = kept.reader.tokenizer.num_special_tokens_to_add(pair=pair)  # type: ignore[attr-defined]
    shorter = [" ".join("abcdabcdabcd"[-(5 - special) :])] * 2 + ["d"]
    np.testing.assert_allclose(found, kept(shorter, responses), atol=1e-5)
    assert found[0] != found[1]
    said = capsys.readouterr().out
    assert "2 of 3 texts are longer than 8 tokens and lost the beginning of the prompt" in said
    assert score.was_cut == [True, True, False]
