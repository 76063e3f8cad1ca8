import math
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest

from polyalign.data.chats import prompt_of
from polyalign.errors import InputError
from polyalign.evaluate.levels import levels
from polyalign.palettes.record import Diagnosis, Palette, Trained
from polyalign.report.answers import answers_data
from polyalign.report.cards import cards_html
from polyalign.report.content import PageContent, Picture
from polyalign.report.facts import DOUBT
from polyalign.report.html_tables import frame_page, printed_page
from polyalign.report.of_policies import empty_answers
from polyalign.report.page import summary_html
from polyalign.report.printed import Printed

LABELS = {"humor": "Humor <wit>", "helpful": "Helpful"}
TRAINED = {
    "base": "tiny", "data": "t.jsonl", "number": 90, "epochs": 2, "learning_rate": 1e-3, "seed": 1,
    "resample": None,
}  # fmt: skip
CARDS = {
    "mood": {
        "kind": "ratings", "texts": 40, "groups": 9, "rmse": 0.5,
        "agreement": {
            "mood": {"rho": [0.71, 0.6, 0.8], "auc": [0.8, 0.7, 0.9], "rho_length": -0.2}
        },
        "calibration": {"error": 0.25, "slope": 1.0, "bins": []},
        "ceiling": {"rho": 0.93, "auc": 0.88, "one_rater": 0.66, "raters": 3.0, "texts": 40},
        "trained_on": TRAINED,
    },
    "liked": {
        "kind": "pairs", "pairs": 30, "accuracy": [0.75, 0.6, 0.9], "log_loss": 0.6,
        "calibration": {"error": 0.1, "bins": []}, "rho_length": 0.4, "longer_chosen": 0.5,
        "longer_preferred": 0.6, "ceiling": None, "trained_on": {**TRAINED, "resample": 2},
    },
}  # fmt: skip
FACTS = {"reward/helpful": {"accuracy": 0.953217, "pairs": 400}, "reward/coin": {DOUBT: "a <coin>"}}

NONE = math.nan
SUMMARY = pd.DataFrame(
    {
        "family": ["base", "map-d", "dpo"],
        "variant": ["base", "both", "x"],
        "palette": ["", "both", ""],
        "kl": [0.0, 0.3, 0.7],
        "better_in_all": True,
        "p_all": 0.02275,
        "p_all_holm": 0.0455,
        "better_at_equal_length": [False, True, False],
        "p_all_even": [NONE, 0.01, 0.2],
        "p_all_even_holm": [NONE, 0.02, 0.2],
        "n_tokens": 12.0,
        "empty": 0.0,
        "truncated": 0.25,
        "job_seconds": 9.0,
        "cpu_seconds": 8.0,
        "gpu_seconds": NONE,
        "n_prompts": 10,
        "humor_lam": [NONE, 0.5, NONE],
        "humor_asked": [NONE, 2.0, NONE],
        "humor_predicted": [NONE, 1.8, NONE],
        "humor_predicted_low": [NONE, 1.7, NONE],
        "humor_predicted_high": [NONE, 1.9, NONE],
        "humor_level": [1.0, 1.75, 0.9],
        "humor_se": 0.1,
        "humor_delivered": [NONE, 0.75, NONE],
        "humor_winrate": 0.6,
        "humor_winrate_low": 0.5,
        "humor_winrate_high": 0.7,
        "humor_even_winrate": [0.5, 0.61, 0.48],
        "helpful_lam": [NONE, 0.0, NONE],
        "helpful_asked": [NONE, 0.5, NONE],
        "helpful_predicted": [NONE, 0.55, NONE],
        "helpful_predicted_low": NONE,
        "helpful_predicted_high": NONE,
        "helpful_level": [0.4, 0.6, 0.9],
        "helpful_se": 0.2,
        "helpful_delivered": NONE,
        "helpful_winrate": 0.5,
        "helpful_winrate_low": 0.4,
        "helpful_winrate_high": 0.6,
        "helpful_even_winrate": NONE,
    }
)
POLICIES = ("base/base", "map-d/both", "dpo/x")
FAMILIES = pd.DataFrame(
    {
        "family": ["map-d"],
        "policies": [1],
        "navigable": [1],
        "efficiency": [1.0],
        "low": [0.0],
        "high": [1.0],
        "level_efficiency": [1.0],
        "level_low": [0.25],
        "level_high": [0.75],
        "hypervolume": [0.25],
        "hypervolume_low": [0.125],
        "hypervolume_high": [0.5],
        "front": ["both"],
        "humor_band": [0.1],
        "helpful_band": [0.1],
    }
)


class Reader(HTMLParser):
    """Tables of a page as rows of cell texts; everything that the page would load; open tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.sort: list[str | None] = []
        self.classes: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.loads += [str(named[key]) for key in ("src", "href") if key in named]
        if tag not in ("meta", "input", "br", "img"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.sort.append(named.get("data-sort"))
            self.classes.append(named.get("class") or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open[-3:]):
            self.tables[-1][-1][-1] += data


def frame(policy: str, prompts: list[str]) -> pd.DataFrame:
    shift = POLICIES.index(policy) if policy in POLICIES else 0
    rows = [
        (prompt, candidate, f"<i>{prompt}</i>?", f"{policy} {prompt}.{candidate}", y + shift, 1.0)
        for prompt, y in zip(prompts, range(len(prompts)), strict=True)
        for candidate in (1, 0)
    ]
    names = ["prompt_id", "candidate", "prompt", "response", "humor", "helpful"]
    return pd.DataFrame(rows, columns=names).assign(split="test")


def page(
    left_out: str = "", *, texts: bool = True, summary: pd.DataFrame = SUMMARY, **changes: Any
) -> str:
    palette = Palette(
        name="both",
        levels={"humor": "q70", "helpful": "mean"},
        asked={"humor": 2.0, "helpful": 1.0},
        lam={"humor": 0.5, "helpful": 0.0},
        lam_train={"humor": 0.4, "helpful": 0.1},
        predicted={"humor": 1.8, "helpful": 0.55},
        verdict="unsupported",
        solved=True,
        proof="",
        message="unsupported: few samples carry the weight",
        scope="prompt",
        reached=0.8,
        kl=0.3,
        ess=20.0,
        diagnosis=Diagnosis(
            warnings=["heavy tail: <0.9>", "joint: a choice of prompts"],
            low={"humor": 0.2, "helpful": 0.0},
            high={"humor": 0.9, "helpful": 0.0},
            kkt=1e-9,
            max_weight=0.25,
            pareto_k=math.nan,
            reweighting={"humor": 0.125, "helpful": math.nan},
            supportable=1.2,
            feasible=1.5,
            suffices=7.0,
        ),
        trained=Trained(
            lam_low={"humor": 0.3, "helpful": 0.05},
            lam_high={"humor": 0.5, "helpful": 0.15},
            level={"humor": 1.7},
            low={"humor": 1.6},
            high={"humor": 1.8},
        ),
    )
    frames = {name: frame(name, ["b", "a", "c", "d"]) for name in POLICIES}
    tables = {
        name: levels(table, list(LABELS), frames["base/base"], bootstrap=20, seed=1).set_index(
            "value"
        )
        for name, table in frames.items()
    }
    content = PageContent(
        judge=None,
        study="small <study>",
        left_out=left_out,
        labels=LABELS,
        policies={"base/base": None, "map-d/both": "both", "dpo/x": None},
        levels=tables,
        unread={"base/base": {}, "dpo/x": {"humor": (3, 8)}},
        chosen=["humor"],
        opponent="base/base",
        families=FAMILIES,
        facts=FACTS,
        cards=CARDS,
        pictures=[Picture("one", b"1", "It <rises>."), Picture("rewards/dpo/x", b"2", "It falls.")],
        elsewhere=["radar"],
        answers=answers_data(frames, LABELS) if texts else None,
        methods=["Done <so>, with `this`."],
        citations=["A & B: arXiv 2410.19198, 2020."],
        provenance={"Version": "polyalign 1"},
        config={"study": "</pre><script>"},
    )
    return summary_html(content, summary, {"both": replace(palette, **changes)})


def test_answers_are_all_of_them_in_an_order_that_nobody_chose() -> None:
    frames = {
        "base/base": frame("base/base", ["e", "a", "c", "b"]),
        "dpo/x": frame("dpo/x", ["c", "b", "a", "d"]),
    }
    frames["base/base"].loc[frames["base/base"]["prompt_id"] == "a", "split"] = "fit"
    frames["dpo/x"].loc[frames["dpo/x"]["prompt_id"] == "c", "response"] = "base/base c.0"
    frames["dpo/x"].loc[frames["dpo/x"]["prompt_id"] == "c", "humor"] = math.nan
    data = answers_data(frames, {"humor": "Humor"})
    assert (data["of"], data["policies"], data["values"]) == (2, list(frames), ["Humor"])
    first, second = data["prompts"]
    assert (first["prompt"], first["texts"]) == ("<i>b</i>?", ["base/base b.0", "dpo/x b.0"])
    assert first["answers"] == [[0, [3.0]], [1, [3.0]]]
    assert second["texts"] == ["base/base c.0"], "the same answer stands there once"
    assert second["answers"] == [[0, [2.0]], [0, [None]]]


def test_a_conversation_is_shown_as_its_turns() -> None:
    asked = frame("base/base", ["a"]).assign(prompt=prompt_of([
        {"role": "user", "content": "<i>a</i>"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]))  # fmt: skip
    (prompt,) = answers_data({"base/base": asked}, {"humor": "Humor"})["prompts"]
    assert prompt["prompt"] == "Human: <i>a</i>\n\nAssistant: b\n\nHuman: c"


def test_a_large_study_shows_as_many_prompts_as_can_be_sent() -> None:
    frames = {name: frame(name, ["a", "b", "c"]) for name in POLICIES}
    length = sum(len(f"{name} a.0") for name in POLICIES) + len("<i>a</i>?")
    assert [len(answers_data(frames, LABELS, most=most)["prompts"]) for most in (
        0, length, 2 * length - 1, 2 * length, 10 * length
    )] == [1, 1, 1, 2, 3]  # fmt: skip


def test_a_table_without_texts_has_rewards_beside_its_prompts() -> None:
    frames = {name: frame(name, ["a"]).drop(columns="response") for name in POLICIES}
    (prompt,) = answers_data(frames, {"humor": "Humor"})["prompts"]
    assert prompt["texts"] == ["(no text)"]
    assert prompt["answers"] == [[0, [0.0]], [0, [1.0]], [0, [2.0]]]


def test_no_prompt_in_common_is_refused() -> None:
    with pytest.raises(InputError, match="no test prompt in common"):
        answers_data({"base/base": frame("b", ["a"]), "dpo/x": frame("d", ["c"])}, LABELS)


def test_page_is_well_formed_and_loads_nothing() -> None:
    read = Reader(page())
    assert read.open == []
    outside = [one for one in read.loads if not one.startswith(("#", "data:image/png;base64,"))]
    assert outside == ["https://arxiv.org/abs/2410.19198"], "a link, which is not loaded"


def test_contents_lead_to_the_parts() -> None:
    text = page()
    places = [one for one in Reader(text).loads if one.startswith("#")]
    assert len(places) == 10
    assert all(f'id="{place[1:]}"' in text for place in places)


def test_text_of_users_is_escaped() -> None:
    text = page()
    assert "<title>small &lt;study&gt;</title>" in text
    assert "\\u003ci>a\\u003c/i>?" in text
    assert "<i>" not in text
    assert "<wit>" not in text
    assert "<rises>" not in text
    assert text.count("<script") == text.count("</script>") == 2


def test_a_palette_has_its_verdict_margin_and_candidates() -> None:
    text = page()
    assert "both: unsupported</h3>" in text
    assert "<p>Few samples carry the weight. It was adjusted" in text
    assert "its solution goes 80 % of the way" in text
    assert "Support ends at 120 % of the asked gain, and what any policy can do at 150 %." in text
    assert "For selection 7 candidates per prompt suffice." in text


def test_a_palette_without_a_solution_has_its_proof_and_no_lambda() -> None:
    nothing = {"humor": math.nan, "helpful": math.nan}
    text = page(
        "Left out: map-d/<both> (palette both is infeasible).",
        verdict="infeasible",
        message="infeasible: humor is out of reach",
        solved=False,
        proof="Proof: 1 < 2.",
        lam=nothing,
        reached=math.nan,
        kl=math.nan,
    )
    said = "<p>Humor is out of reach. Proof: 1 &lt; 2. There is no λ, so that its policies are left"
    assert said in text
    assert "Asked: 1 palettes; attainable: 0." in text
    assert "<li>Left out: map-d/&lt;both&gt; (palette both is infeasible).</li>" in text
    assert "Diagnostics of each λ" not in text
    assert "Diagnostics of each λ" in page()
    assert "Left out" not in page()


def test_what_not_to_trust_is_said_with_its_reason() -> None:
    text = page()
    assert "<li>both: heavy tail: &lt;0.9&gt;</li><li>both: joint: a choice of prompts</li>" in text
    assert "dpo/x is better in all chosen values, but not at equal length" in text
    assert "<li>reward/coin: a &lt;coin&gt;</li>" in text
    assert "<li>Humor &lt;wit&gt;: 3 of 8 texts of dpo/x are longer than its model reads" in text
    assert "Humor &lt;wit&gt; 48.0 %</li>" in text
    # humor of the base: mean 1.5 ± 0.64; asked 2.0 is within two standard errors.
    assert "Humor &lt;wit&gt; in both: the asked gain, +0.45 sd, is within 2 standard" in text


def test_a_table_of_a_paper_is_a_page_that_sorts_by_its_numbers() -> None:
    numbers = pd.DataFrame({"variant": ["a"]})
    rows = [["dpo", "9_a", "-12.3 ± 1.3", "–"], ["dpo", "b", "mean 0.5", "50 (25 to 75)"]]
    shown = Printed(["Family", "Policy", "Humor", "<Wit>"], rows, numbers)
    text = printed_page("levels & more", shown, "What it `is`.")
    read = Reader(text)
    rows[0][2] = "−12.3 ± 1.3"
    assert read.tables == [[["Family", "Policy", "Humor", "<Wit>"], *rows]]
    assert read.sort[4:] == [None, None, "-12.3", "", None, None, "0.5", "50.0"]
    assert read.open == read.loads == []
    assert '<input class="filter" type="search"' in text
    assert "<p>What it <code>is</code>.</p>" in text


def test_a_wide_table_is_a_page_with_four_digits() -> None:
    frame = pd.DataFrame(
        {
            "family": ["dpo", "soup"],
            "kl": [0.123456, math.nan],
            "n": [1000, 2],
            "best": [True, False],
        }
    )
    read = Reader(frame_page("summary", frame))
    assert read.tables[0][1:] == [["dpo", "0.1235", "1000", "yes"], ["soup", "–", "2", "no"]]
    assert read.sort[5] == "0.123456"


def test_tables_hold_the_numbers() -> None:
    read = Reader(page())
    palette, delivered, winrates, families, diagnostics, worth, people, *_, facts, _ = read.tables
    assert palette[1:] == [
        ["Humor <wit>", "q70 (2)", "+0.45", "0.50 (0.20 to 0.90)", "1.8",
         "1.700 (1.600 to 1.800)", "1 of 1", "reached by all"],
        ["Helpful", "mean (1)", "–", "0 (0 to 0)", "0.55", "–", "1 of 1",
         "reached by all"],
    ]  # fmt: skip
    # Humor of map-d is 2.5 ± 0.645 (four prompts), the base 1.5, its sd 1.118.
    assert delivered[1:] == [["both", "map-d/both", "+0.89 ± 0.58 of +0.45 ✓", "1 of 1"]]
    assert sum(one.startswith("number reached") for one in read.classes) == 2
    assert [row[0] for row in winrates[1:]] == ["map-d/both", "dpo/x"], "no opponent against itself"
    assert winrates[1] == [
        "map-d/both",
        "60.0 (50.0 to 70.0) | 61.0",
        "50.0 (40.0 to 60.0) | –",
        "0.045",
    ]
    assert families[1] == ["map-d", "both", "1 of 1", "1 of 1", "0.50 (0.35 to 0.71)"]
    assert diagnostics[2] == ["map-d/both", "0.3", "12", "0", "25 %", "9", "8", "–"]
    assert worth[1][3:] == [
        "0.2 to 0.9",
        "0.400 (0.300 to 0.500)",
        "1.8",
        "12 %",
        "1e-09",
        "20",
        "0.25",
        "–",
    ]
    assert [row[0] for row in people[1:]] == ["mood", "liked"]
    assert facts[1:] == [
        ["reward/helpful", "accuracy", "0.9532"],
        ["reward/helpful", "pairs", "400"],
        ["reward/coin", "no better than chance", "a <coin>"],
    ]
    assert "0.953217" in read.sort  # sorted by the number, not by its text


def test_few_empty_answers_are_counted_and_small_p_values_are_small() -> None:
    levels = empty_answers(pd.DataFrame({"n_empty": [2], "n_samples": [1380]}))
    assert levels == ("2 of 1380", pytest.approx(2 / 1380))
    shown = page(summary=SUMMARY.assign(p_all_holm=[NONE, 4.1e-07, 0.0455]))
    assert "map-d/both (p &lt; 0.001), dpo/x (p = 0.045)" in shown
    assert [row[-1] for row in Reader(shown).tables[2][1:]] == ["< 0.001", "0.045"]


def test_policies_with_several_seeds_have_their_spread() -> None:
    """The base model's humor has the standard deviation 1.118."""
    several = SUMMARY.assign(
        seeds=[1, 3, 1],
        humor_level_seeds_sd=[NONE, 0.2236, NONE],
        humor_winrate_seeds_sd=[NONE, 0.031, NONE],
    )
    shown = page(summary=several)
    delivered, winrates = Reader(shown).tables[1:3]
    assert delivered[1][2] == "+0.89 ± 0.58, seeds ± 0.20 of +0.45 ✓"
    assert winrates[1][1] == "60.0 (50.0 to 70.0), seeds ± 3.1 | 61.0"
    assert winrates[2] == Reader(page()).tables[2][2]
    assert "standard deviation of the gain over the seeds" in shown
    assert "seeds" not in page()


def test_the_page_has_outcome_method_and_origin() -> None:
    text = page()
    assert "Raised levels: 1 of 1 reached, 0 undecided, 0 missed." in text
    assert "2 of 2 policies: map-d/both (p = 0.045), dpo/x (p = 0.045)." in text
    assert "At equal length: 1 of 2 policies: map-d/both (p = 0.02)." in text
    assert text.index("Raised levels") < text.index("<img") < text.index("Do not trust</h2>")
    assert "<b>rewards/dpo/x.</b> It falls." in text
    assert "<p>Done &lt;so&gt;, with <code>this</code>.</p>" in text
    assert "<li>A &amp; B: <a" in text
    assert "polyalign 1" in text
    assert "&lt;/pre&gt;&lt;script&gt;" in text


def test_a_study_without_texts_has_no_answers_side_by_side() -> None:
    assert "answers-data" in page()
    assert "answers-data" not in page(texts=False)
    assert Reader(page(texts=False)).open == []


def test_ceilings_and_bands_are_shown_as_such() -> None:
    """The base levels are 1.5 (humor, sd 1.118) and 1 (helpful, which does not vary)."""
    shown = page(
        levels={"humor": "<= q30", "helpful": "between mean and q60"},
        asked={"humor": 1.0, "helpful": 0.5},
        ceilings={"humor": 1.0, "helpful": 2.0},
    )
    cells = [cell for table in Reader(shown).tables for row in table for cell in row]
    assert "<= q30 (1)" in cells
    assert "between mean and q60 (0.5 to 2)" in cells
    assert "≤ −0.45" in cells
    (delivered,) = (cell for cell in cells if cell.endswith("of ≤ −0.45 ✗"))
    assert delivered.startswith("+0.89")
    assert "Ceilings: " in shown


def test_the_page_shows_how_far_trained_rewards_agree_with_people() -> None:
    shown = page()
    for text in (
        "Rewards and people", "0.71 [0.60, 0.80]", ">0.93<", ">0.66<", "0.75 [0.60, 0.90]",
        "30 pairs", "2 epochs, step size 0.001, seed 1, resample 2",
    ):  # fmt: skip
        assert text in shown
    assert not cards_html({})
