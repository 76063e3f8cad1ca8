"""`polyalign compare`: several studies side by side, every number against a plain computation."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from polyalign import cli
from polyalign.data.tables import write_table
from polyalign.evaluate.parting import parting_sentence
from polyalign.evaluate.studies import (
    ByPrompt,
    FinishedStudy,
    compare_studies,
    config_rows,
    difference,
    notes,
    scored_differently,
)

SPEC = {
    "sampling": {"temperature": 1.0},
    "values": {
        "humor": {"kind": "python", "content": "sha256:1", "model": "results/a/models/m"},
        "length": {"kind": "ngram_diversity", "sizes": [2]},
    },
}


def study(folder, name, *, seed, prompts=range(30), spec=SPEC, extra=(), candidates=3):
    """A folder as a finished study leaves it, with a base policy, a trained and a choosing one."""
    draws = np.random.default_rng(seed)
    prompts = list(prompts)
    of_prompt = {i: np.random.default_rng(1000 + i).normal(size=2) for i in prompts}

    def rows(number, shift):
        ids = np.repeat(prompts, number)
        rewards = np.array([of_prompt[i] for i in ids]) + draws.normal(size=(len(ids), 2)) + shift
        frame = pd.DataFrame({"prompt_id": [f"p{i}" for i in ids]})
        frame["candidate"] = np.tile(np.arange(number), len(prompts))
        frame["prompt"] = frame["prompt_id"]
        frame["response"] = "words"
        frame["split"] = "test"
        frame["n_tokens"] = 2
        frame["logprob"] = draws.normal(size=len(ids))
        frame["logprob_base"] = draws.normal(size=len(ids))
        return frame.assign(humor=rewards[:, 0], length=rewards[:, 1], calm=0.5)

    def put(policy, frame, **record):
        path = folder / "policies" / policy / "rewards.parquet"
        path.parent.mkdir(parents=True)
        write_table(frame, path, {"spec": spec, **record})

    put("base/base", rows(candidates, 0.0))
    put("rloo/one", rows(candidates, [0.5, -0.2]))
    pool = rows(5, 0.0)
    put("base/pool", pool)
    chosen = pool.drop_duplicates("prompt_id").drop(columns=["logprob", "logprob_base"])
    put("map-d/one", chosen.assign(kl=0.3), lam={"humor": 1.0, "length": 0.0}, greedy=False)
    policies = ["base/base", "map-d/one", "rloo/one"]
    split = [policy.partition("/")[::2] for policy in policies]
    tables = folder / "tables"
    tables.mkdir()
    summary = pd.DataFrame(split, columns=["family", "variant"])
    summary.to_csv(tables / "summary.csv", index=False)
    summary.assign(humor_even_winrate=0.5, length_even_winrate=0.25, calm_even_winrate=0.5).to_csv(
        tables / "winrates.csv", index=False
    )
    config = {
        "study": name,
        "seed": seed,
        "model": {"source": f"results/{name}/models/base/base"},
        "sampling": {"candidates": 5, "temperature": 1.0},
        "values": {"humor": {"label": "Humour & wit"}, "length": {}},
        **dict(extra),
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def studies(tmp_path):
    return [
        study(tmp_path / "a", "first", seed=1),
        study(tmp_path / "b", "second", seed=2, prompts=range(10, 40), extra={"new": [1, 2]}),
    ]


def table_of(studies):
    return compare_studies([FinishedStudy(folder) for folder in studies]).set_index(
        ["policy", "value", "study"]
    )


def prompt_means(folder, policy, value):
    frame = pd.read_parquet(folder / "policies" / policy / "rewards.parquet")
    return frame.groupby("prompt_id")[value].mean()


def tilted_means(folder, value):
    """The exact expectation of the choosing policy, prompt by prompt."""
    pool = pd.read_parquet(folder / "policies/base/pool/rewards.parquet")
    weight = np.exp(pool["humor"])
    weight /= weight.groupby(pool["prompt_id"]).transform("sum")
    return (weight * pool[value]).groupby(pool["prompt_id"]).sum()


@pytest.mark.parametrize("value", ["humor", "length"])
@pytest.mark.parametrize("policy", ["base/base", "rloo/one", "map-d/one"])
def test_levels_and_their_paired_differences(studies, policy, value):
    found = table_of(studies)
    means = [
        tilted_means(folder, value)
        if policy == "map-d/one"
        else prompt_means(folder, policy, value)
        for folder in studies
    ]
    for name, one in zip(("first", "second"), means, strict=True):
        row = found.loc[policy, value, name]
        assert row["level"] == pytest.approx(one.mean())
        assert row["level_se"] == pytest.approx(one.std(ddof=1) / np.sqrt(30))
        assert row["n_prompts"] == 30
    # Twenty prompts are shared; on those the difference is a plain paired one.
    apart = (means[1] - means[0]).dropna()
    row = found.loc[policy, value, "second"]
    assert row["shared"] == len(apart) == 20
    assert row["level_diff"] == pytest.approx(apart.mean())
    assert row["level_diff_se"] == pytest.approx(apart.std(ddof=1) / np.sqrt(20))
    assert np.isnan(found.loc[policy, value, "first"]["level_diff"])


def test_win_rates_are_paired_by_prompt_too(studies):
    found = table_of(studies)
    scores = []
    for folder in studies:
        ours, base = (
            pd.read_parquet(folder / "policies" / name / "rewards.parquet").groupby("prompt_id")
            for name in ("rloo/one", "base/base")
        )
        scores.append(
            pd.Series(
                {
                    prompt: np.mean(
                        [
                            (one > other) + (one == other) / 2
                            for one in rows["humor"]
                            for other in base.get_group(prompt)["humor"]
                        ]
                    )
                    for prompt, rows in ours
                }
            )
        )
    row = found.loc["rloo/one", "humor", "second"]
    assert row["winrate"] == pytest.approx(scores[1].mean())
    apart = (scores[1] - scores[0]).dropna()
    assert row["winrate_diff"] == pytest.approx(apart.mean())
    assert row["winrate_diff_se"] == pytest.approx(apart.std(ddof=1) / np.sqrt(20))
    assert (row["even_winrate"], found.loc["rloo/one", "length", "first"]["even_winrate"]) == (
        0.5,
        0.25,
    )


def test_two_kinds_of_kl_have_no_difference(studies):
    found = table_of(studies)
    row = found.loc["rloo/one", "humor", "second"]
    frames = [pd.read_parquet(f / "policies/rloo/one/rewards.parquet") for f in studies]
    nats = [(f["logprob"] - f["logprob_base"]).groupby(f["prompt_id"]).mean() for f in frames]
    assert (row["kl"], row["kl_kind"]) == (pytest.approx(nats[1].mean()), "samples")
    apart = (nats[1] - nats[0]).dropna()
    assert row["kl_diff"] == pytest.approx(apart.mean())
    assert row["kl_diff_se"] == pytest.approx(apart.std(ddof=1) / np.sqrt(20))
    chosen = found.loc["map-d/one", "humor", "second"]
    assert (chosen["kl"], chosen["kl_kind"], chosen["kl_diff"]) == (
        pytest.approx(0.3), "choice", pytest.approx(0, abs=1e-12),
    )  # fmt: skip
    frames[1].assign(kl=0.3).drop(columns="logprob").pipe(
        write_table, studies[1] / "policies/rloo/one/rewards.parquet", {"spec": SPEC}
    )
    again = table_of(studies).loc["rloo/one", "humor", "second"]
    assert again["kl_kind"] == "choice"
    assert np.isnan(again["kl_diff"])


def test_p_values_are_two_sided_and_adjusted(studies):
    found = table_of(studies).reset_index()
    rows = found.dropna(subset="level_diff")
    plain = 2 * stats.norm.sf((rows["level_diff"] / rows["level_diff_se"]).abs())
    by_hand = np.empty(len(plain))
    order, largest = np.argsort(plain), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, plain[i] * (len(plain) - place)))
        by_hand[i] = largest
    np.testing.assert_allclose(rows["level_p"], by_hand)


def test_without_shared_prompts_nothing_is_paired(tmp_path):
    folders = [
        study(tmp_path / "a", "first", seed=1),
        study(tmp_path / "b", "second", seed=2, prompts=range(50, 75)),
    ]
    row = table_of(folders).loc["rloo/one", "humor", "second"]
    one, other = (prompt_means(folder, "rloo/one", "humor") for folder in folders)
    assert row["shared"] == 0
    assert row["level_diff"] == pytest.approx(other.mean() - one.mean())
    assert row["level_diff_se"] == pytest.approx(np.hypot(one.sem(), other.sem()))


def test_a_value_that_is_scored_differently_has_no_difference(tmp_path):
    other = json.loads(json.dumps(SPEC))
    other["values"]["humor"] |= {"content": "sha256:2", "model": "results/b/models/m"}
    folders = [
        study(tmp_path / "a", "first", seed=1),
        study(tmp_path / "b", "second", seed=2, spec=other),
    ]
    found = table_of(folders)
    assert np.isnan(found.loc["rloo/one", "humor", "second"]["level_diff"])
    assert np.isfinite(found.loc["rloo/one", "length", "second"]["level_diff"])
    (said,) = notes([FinishedStudy(folder) for folder in folders])
    assert said.startswith("humor is scored differently in second and first (content, model)")
    moved = SPEC["values"]["humor"] | {"model": "elsewhere"}
    assert scored_differently(SPEC["values"]["humor"], moved) == []
    assert scored_differently({"model": "a"}, {"model": "b"}) == ["model"]


def test_a_value_or_a_policy_that_one_study_has_alone(tmp_path):
    """`calm` comes before the others, so that they have another place in the second study."""
    other = {**SPEC, "values": {"calm": {"kind": "ngram_diversity"}, **SPEC["values"]}}
    folders = [
        study(tmp_path / "a", "first", seed=1),
        study(tmp_path / "b", "second", seed=2, spec=other),
    ]
    row = table_of(folders).loc["rloo/one", "humor", "second"]
    one, two = (prompt_means(folder, "rloo/one", "humor") for folder in folders)
    assert row["level_diff"] == pytest.approx((two - one).mean())
    assert np.isnan(table_of(folders).loc["rloo/one", "calm", "second"]["level_diff"])
    said = notes([FinishedStudy(folder) for folder in folders])
    assert said == ["calm is in second, and not in first."]
    summary = folders[1] / "tables/summary.csv"
    summary.write_text("family,variant\nbase,base\nmap-d,one\n")
    found = table_of(folders)
    assert ("rloo/one", "humor", "second") not in found.index
    assert "Only first has rloo/one." in notes([FinishedStudy(folder) for folder in folders])


def test_unequal_numbers_of_rows_are_weighed_as_in_the_levels():
    """Ratio means: prompts of 1, 2 and 3 rows, against a jackknife of the same estimator."""
    draws = np.random.default_rng(4)
    prompts = pd.Index([f"p{i}" for i in range(400)])
    sizes = [draws.integers(1, 4, 400).astype(float) for _ in range(2)]
    common = draws.normal(size=400)
    sums = [(common + draws.normal(size=400)) * size for size in sizes]
    found = difference(
        *(ByPrompt(prompts, s[:, None], n) for s, n in zip(sums, sizes, strict=True))
    )

    def apart(keep):
        one, two = (s[keep].sum() / n[keep].sum() for s, n in zip(sums, sizes, strict=True))
        return one - two

    everyone = np.ones(400, dtype=bool)
    left_out = [apart(np.arange(400) != i) for i in range(400)]
    jackknife = np.sqrt(399 / 400 * ((left_out - np.mean(left_out)) ** 2).sum())
    assert found.mean[0] == pytest.approx(apart(everyone))
    assert found.se[0] == pytest.approx(jackknife, rel=0.02)


def test_identical_studies_are_said_to_be_the_same(tmp_path, capsys):
    folders = [study(tmp_path / name, name, seed=1) for name in ("first", "second")]
    assert "all 6 levels are the same, prompt by prompt." in run(capsys, "compare", *folders)[1]
    # One policy's rewards of one value change: a difference beside those that are the same.
    path = folders[1] / "policies/rloo/one/rewards.parquet"
    rows = pd.read_parquet(path)
    rows["humor"] += np.linspace(0.5, 1.5, len(rows))
    write_table(rows, path, {"spec": SPEC})
    out = run(capsys, "compare", *folders)[1]
    assert "1 of 1 levels differ at the 5% level" in out
    assert "(humor of rloo/one is higher)" in out
    assert "5 more are the same, prompt by prompt." in out


def test_studies_of_scores_without_texts_are_compared(tmp_path, capsys):
    folders = [study(tmp_path / name, name, seed=1) for name in ("first", "second")]
    for folder in folders:
        for path in folder.glob("policies/*/*/rewards.parquet"):
            write_table(pd.read_parquet(path).drop(columns="response"), path, {"spec": SPEC})
    assert "All stages that second and first have in common are the same." in told(capsys, folders)
    nothing = parting_sentence([], "second", "first")
    assert nothing == "second and first have no stage in common that can be compared."


def test_the_first_stage_that_differs_is_named(tmp_path, capsys):
    folders = [study(tmp_path / name, name, seed=1) for name in ("first", "second")]
    for folder in folders:
        (folder / "palettes/lam").mkdir(parents=True)
        (folder / "models/rloo").mkdir(parents=True)
        put_lam(folder, [2.0, 0.5])
        put_weights(folder, "1")
    assert "All stages that second and first have in common are the same." in told(capsys, folders)
    # From the last stage to the first: each time the earlier one is named.
    change(folders[1], "rloo/one", "length", [(7, 0.25)])
    spread = pd.read_parquet(folders[0] / "policies/rloo/one/rewards.parquet")["length"].std()
    apart = f"rewards of the policies' same answers: length by up to {0.25 / spread:.1g} sd."
    assert apart in told(capsys, folders)
    change(folders[1], "rloo/one", "response", [(7, "other"), (8, "words too")])
    assert "answers of the policies: 2 of 90 of rloo/one differ." in told(capsys, folders)
    put_weights(folders[1], "2")
    assert "weights of trained policies: 1 of 1 differ (rloo/one)." in told(capsys, folders)
    put_lam(folders[1], [2.0, 0.498])
    assert "λ of the palettes: one by up to 0.001 of its largest λ." in told(capsys, folders)
    change(folders[1], "base/pool", "humor", [(3, 1e-6)])
    assert "rewards of the pool's same answers: humor by up to" in told(capsys, folders)
    # A reward of another answer says nothing of the reward model.
    change(folders[1], "base/pool", "response", [(3, "other")])
    assert "at the answers of base/pool: 1 of 150 differ." in told(capsys, folders)
    stages = json.loads(run(capsys, "compare", *folders, "--json")[1])["stages"]["second"]
    assert [one["stage"] for one in stages if one["same"]] == [
        "reward models",
        "rewards of the pool's same answers",
        "rewards of the policies' same answers",
    ]
    page = tmp_path / "page.html"
    assert run(capsys, "compare", *folders, "-o", page)[0] == 0
    assert ">1 of 150 differ</td>" in page.read_text()


def put_lam(folder, lam):
    palette = {"values": ["humor", "length"], "lam": lam}
    (folder / "palettes/lam/one.json").write_text(json.dumps(palette))


def put_weights(folder, hashed):
    files = {"model.safetensors": hashed, "config.json": str(folder)}
    (folder / "models/rloo/one.json").write_text(json.dumps({"files": files}))


def change(folder, policy, column, changes):
    """Other answers, or numbers that are added to rewards, in some rows."""
    path = folder / "policies" / policy / "rewards.parquet"
    rows = pd.read_parquet(path)
    for row, new in changes:
        rows.loc[row, column] = new if isinstance(new, str) else rows.loc[row, column] + new
    write_table(rows, path, {"spec": SPEC})


def told(capsys, folders):
    return run(capsys, "compare", *folders)[1].splitlines()[1]


def test_the_configs_differ_in_what_they_say(studies):
    rows = dict(config_rows([FinishedStudy(folder) for folder in studies]))
    assert rows == {"new": ["–", "[1, 2]"], "seed": ["1", "2"]}


def run(capsys, *arguments):
    status = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_command_prints_and_writes(capsys, studies, tmp_path):
    found = table_of(studies).reset_index()
    status, out, err = run(capsys, "compare", *studies)
    assert (status, err) == (0, "")
    assert out.startswith("second compared with first: paired on 20 shared test prompts;")
    assert "seed  first: 1, second: 2" in out
    row = next(line for line in out.splitlines() if line.split()[:2] == ["rloo/one", "humor"])
    numbers = found[(found["policy"] == "rloo/one") & (found["value"] == "humor")].set_index(
        "study"
    )
    assert row.split()[2:6] == [
        f"{number:.4g}"
        for number in (
            numbers.loc["first"]["level"],
            *numbers.loc["second"][["level", "level_diff", "level_diff_se"]],
        )
    ]
    path = tmp_path / "compared.csv"
    assert run(capsys, "compare", *studies, "-o", path)[0] == 0
    written = pd.read_csv(path)
    np.testing.assert_array_equal(written["level_diff"], found["level_diff"])
    record = json.loads(run(capsys, "compare", *studies, "--json")[1])
    assert record["studies"] == ["first", "second"]
    assert record["config"][1] == {"key": "seed", "first": "1", "second": "2"}
    assert len(record["rows"]) == len(found) == 12
    assert record["rows"][0]["level_diff"] is None


def test_the_page_is_self_contained_and_escapes(capsys, studies, tmp_path):
    path = tmp_path / "compared.html"
    assert run(capsys, "compare", *studies, "-o", path)[0] == 0
    text = path.read_text()
    assert "Humour &amp; wit" in text
    assert "second − first" in text
    assert "http" not in text
    assert "src=" not in text
    row = table_of(studies).loc["rloo/one", "humor", "second"]
    assert f'data-sort="{float(row["level_diff"])!r}"' in text
    assert f'data-sort="{float(row["winrate_diff"])!r}"' in text


def test_bad_input_is_one_line(capsys, studies, tmp_path):
    for arguments, message in (
        ([studies[0]], "one study is named"),
        ([studies[0], tmp_path], "no config.json, tables/summary.csv, tables/winrates.csv"),
        ([studies[0], studies[0]], "a study is named twice"),
        ([*studies, "-o", tmp_path / "x.txt"], "unknown format"),
    ):
        status, _, err = run(capsys, "compare", *arguments)
        assert (status, err.count("\n")) == (2, 1)
        assert message in err


def test_comparing_imports_no_torch(studies):
    code = (
        "import sys; from polyalign.cli import main; main(sys.argv[1:])\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    called = [sys.executable, "-c", code, "compare", *map(str, studies)]
    done = subprocess.run(called, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
