import math
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest

from polyalign.errors import InputError
from polyalign.palettes.record import Diagnosis, Palette
from polyalign.report.html_tables import frame_page, printed_page
from polyalign.report.page import PageContent, _cut_off, _sample, side_by_side, summary_html
from polyalign.report.printed import Printed

LABELS = {"humor": "Humor <wit>", "helpful": "Helpful"}
FACTS = {"reward/helpful": {"accuracy": 0.953217, "pairs": 400}}

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
        "humor_level": [1.0, 1.75, 0.9],
        "humor_se": 0.1,
        "humor_delivered": [NONE, 0.75, NONE],
        "humor_winrate": 0.6,
        "humor_winrate_low": 0.5,
        "humor_winrate_high": 0.7,
        "helpful_lam": [NONE, 0.0, NONE],
        "helpful_asked": [NONE, 0.5, NONE],
        "helpful_predicted": [NONE, 0.55, NONE],
        "helpful_level": [0.4, 0.6, 0.9],
        "helpful_se": 0.2,
        "helpful_delivered": NONE,
        "helpful_winrate": 0.5,
        "helpful_winrate_low": 0.4,
        "helpful_winrate_high": 0.6,
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


def test_policies_whose_responses_were_cut_are_warned_of() -> None:
    summary = SUMMARY.assign(truncated=[0.1, 0.97, NONE])
    assert _cut_off(summary) == [
        '<ul class="warnings"><li>cut off: the token limit ended 97% of map-d/both; their rewards '
        "are those of unfinished texts: raise sampling.max_new_tokens</li></ul>"
    ]
    assert _cut_off(SUMMARY.assign(truncated=0.1)) == []


class Reader(HTMLParser):
    """Tables of a page as rows of cell texts; everything that the page would load; open tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.sort: list[str | None] = []
        self.loads: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.loads += [str(named[key]) for key in ("src", "href") if key in named]
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.sort.append(named.get("data-sort"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data


def frame(policy: str, prompts: list[str]) -> pd.DataFrame:
    rows = [
        (prompt, candidate, f"<i>{prompt}</i>?", f"{policy} {prompt}.{candidate}", 0.5, 1.0)
        for prompt in prompts
        for candidate in (1, 0)
    ]
    names = ["prompt_id", "candidate", "prompt", "response", "humor", "helpful"]
    return pd.DataFrame(rows, columns=names).assign(split="test")


def page(left_out: str = "", *, texts: bool = True, **changes: Any) -> str:
    palette = Palette(
        name="both",
        levels={"humor": "q70", "helpful": "mean"},
        asked={"humor": 2.0, "helpful": 0.5},
        lam={"humor": 0.5, "helpful": 0.0},
        lam_train={"humor": 0.4, "helpful": 0.1},
        predicted={"humor": 1.8, "helpful": 0.55},
        verdict="unsupported",
        solved=True,
        proof="",
        message="few samples carry the weight",
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
        ),
    )
    palettes = {"both": replace(palette, **changes)}
    frames = {name: frame(name, ["b", "a"]) for name in POLICIES}
    content = PageContent(
        study="small <study>",
        left_out=left_out,
        labels=LABELS,
        chosen=["humor"],
        opponent="base/base",
        families=FAMILIES,
        facts=FACTS,
        samples=side_by_side(frames, list(LABELS)) if texts else [],
        methods=["Done <so>, with `this`."],
        citations=["A & B, 2020."],
    )
    return summary_html(content, SUMMARY, palettes)


def test_samples_follow_the_stated_rule() -> None:
    frames = {
        "base/base": frame("base/base", ["e", "a", "c", "b"]),
        "dpo/x": frame("dpo/x", ["c", "b", "a", "d"]),
    }
    frames["base/base"].loc[frames["base/base"]["prompt_id"] == "a", "split"] = "fit"
    samples = side_by_side(frames, ["humor"], prompts=5)
    assert [sample.prompt for sample in samples] == ["<i>b</i>?", "<i>c</i>?"]
    assert [answer.response for answer in samples[0].answers] == ["base/base b.0", "dpo/x b.0"]
    assert samples[0].answers[0].rewards == {"humor": 0.5}
    assert len(side_by_side(frames, ["humor"], prompts=1)) == 1


def test_a_table_without_texts_has_rewards_beside_its_prompts() -> None:
    frames = {name: frame(name, ["a"]).drop(columns="response") for name in POLICIES}
    (sample,) = side_by_side(frames, ["humor"])
    assert [(answer.response, answer.rewards) for answer in sample.answers] == [
        (None, {"humor": 0.5}) for _ in POLICIES
    ]
    assert [row[:2] for row in Reader(_sample(sample, {"humor": "Humor"})).tables[0][1:]] == [
        [name, "(no text)"] for name in POLICIES
    ]


def test_no_prompt_in_common_is_refused() -> None:
    with pytest.raises(InputError, match="no test prompt in common"):
        side_by_side({"base/base": frame("b", ["a"]), "dpo/x": frame("d", ["c"])}, ["humor"])


def test_page_is_well_formed_and_loads_nothing() -> None:
    read = Reader(page())
    assert read.open == []
    assert read.loads == []
    assert "http" not in page()


def test_text_of_users_is_escaped() -> None:
    text = page()
    assert "<title>small &lt;study&gt;</title>" in text
    assert "&lt;i&gt;a&lt;/i&gt;?" in text
    assert "<i>" not in text
    assert "<wit>" not in text


def test_verdict_in_a_sentence() -> None:
    text = page()
    assert "<b>both</b> asks for Humor &lt;wit&gt; q70 (2), Helpful mean (0.5)." in text
    assert '<b class="unsupported">unsupported</b>. few samples carry the weight' in text
    assert "its solution goes 80 % of the way" in text


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
    said = 'Verdict: <b class="infeasible">infeasible</b>: humor is out of reach. Proof: 1 &lt; 2. '
    assert f"{said}There is no λ, so that its policies are left out.</p>" in text
    assert "Left out: map-d/&lt;both&gt; (palette both is infeasible).</p>" in text
    assert "0.2 to 0.9" not in text
    assert "0.2 to 0.9" in page()
    assert "Left out" not in page()


def test_warnings_are_listed_under_the_verdict() -> None:
    text = page()
    listed = "<li>heavy tail: &lt;0.9&gt;</li><li>joint: a choice of prompts</li>"
    assert f'scope prompt.</p>\n<ul class="warnings">{listed}</ul>' in text


def test_a_table_of_a_paper_is_a_page_that_sorts_by_its_numbers() -> None:
    numbers = pd.DataFrame({"variant": ["a"]})
    rows = [["dpo", "9_a", "-12.3 ± 1.3", "–"], ["dpo", "b", "mean 0.5", "50 (25 to 75)"]]
    shown = Printed(["Family", "Policy", "Humor", "<Wit>"], rows, numbers)
    read = Reader(printed_page("levels & more", shown))
    assert read.tables == [[["Family", "Policy", "Humor", "<Wit>"], *rows]]
    assert read.sort[4:] == [None, None, "-12.3", "", None, None, "0.5", "50.0"]
    assert read.open == read.loads == []
    assert '<input type="search"' in printed_page("levels", shown)


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
    winrates, delivered, families, *answers, diagnostics, worth, facts = read.tables
    assert delivered[0][2:6] == ["Asked", "Predicted", "Realised", "Gain delivered"]
    assert delivered[3] == [
        "map-d/both", "Humor <wit>", "2 (adjusted to 80 %)",
        "1.8", "1.75 ± 0.1", "75 %", "0.5", "0.3",
    ]  # fmt: skip
    assert delivered[1][2:6] == ["–", "–", "1 ± 0.1", "–"]
    assert winrates[2] == ["map-d/both", "60.0 (50.0 to 70.0)", "50.0 (40.0 to 60.0)", "0.023"]
    assert families[1] == ["map-d", "both", "1 of 1", "1 of 1", "0.50 (0.35 to 0.71)"]
    assert diagnostics[2] == ["map-d/both", "0.3", "12", "0 %", "25 %", "9", "8", "–"]
    assert worth[1:] == [
        [
            "both", "Humor <wit>", "0.5", "0.2 to 0.9", "0.4", "1.8",
            "12 %", "1e-09", "20", "0.25", "–",
        ],
        ["both", "Helpful", "0", "0 to 0", "0.1", "0.55", "–", "1e-09", "20", "0.25", "–"],
    ]  # fmt: skip
    assert [rows[2][:2] for rows in answers] == [
        ["map-d/both", "map-d/both a.0"],
        ["map-d/both", "map-d/both b.0"],
    ]
    assert facts[1:] == [
        ["reward/helpful", "accuracy", "0.9532"],
        ["reward/helpful", "pairs", "400"],
    ]
    assert "0.953217" in read.sort  # sorted by the number, not by its text


def test_the_page_has_question_answer_and_method() -> None:
    text = page()
    assert "On 10 test prompts" in text
    assert "Humor &lt;wit&gt; 1 ± 0.1, Helpful 0.4 ± 0.2" in text
    assert "2 of 2 policies: map-d/both (p = 0.045), dpo/x (p = 0.045). At equal" in text
    assert "At equal length: 1 of 2 policies: map-d/both (p = 0.02)." in text
    assert "<p>Done &lt;so&gt;, with <code>this</code>.</p>" in text
    assert "<li>A &amp; B, 2020.</li>" in text


def test_a_study_without_texts_has_no_answers_side_by_side() -> None:
    assert "Answers side by side" in page()
    assert "Answers side by side" not in page(texts=False)
    assert Reader(page(texts=False)).open == []
