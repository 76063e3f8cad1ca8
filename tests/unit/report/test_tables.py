import math
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd
import pytest

from polyalign.evaluate.seeds import Spread
from polyalign.palettes.record import Diagnosis, Palette, Trained
from polyalign.report import tables
from polyalign.report.printed import Printed, Topics
from polyalign.report.registry import TABLES
from polyalign.report.tables import StudyTables
from polyalign.report.topics import by_soup

LABELS = {"helpful": "Helpful", "humor": "Humor"}
SPREAD = Spread(
    3, 0.023, {"humor": 0.12, "helpful": 0.4}, {"humor": 0.031, "helpful": 0.02},
    {"humor": 0.027},
)  # fmt: skip
CAPTIONS = Path(__file__).parents[3] / "workflow/report"


def study(**numbers: Any) -> StudyTables:
    """A study with some of its numbers."""
    empty: dict[str, Any] = {
        "levels": {},
        "winrates": {},
        "palettes": {},
        "maintained": [],
        "summary": pd.DataFrame({"family": ["base"]}),
    }
    return StudyTables(labels=LABELS, **empty | numbers)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_a_caption_and_a_maker(name: str) -> None:
    assert (CAPTIONS / f"{name}.rst").read_text(encoding="utf-8").strip()
    table = TABLES[name]
    assert table.title
    made = get_type_hints(getattr(import_module(table.module), table.maker.partition(":")[2]))
    kinds = (Printed,) if table.printed else (pd.DataFrame, Topics)
    assert made["return"] in kinds
    assert table.caption


def test_the_plan_reads_the_entries_without_pandas() -> None:
    code = (
        "import sys, polyalign.report.registry as r\n"
        "print([name for name in ('pandas', 'numpy') if name in sys.modules], len(r.TABLES))"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["[]", str(len(TABLES))]


def by_value(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"value": ["humor", "helpful"], **columns}).set_index("value")


def test_levels_show_as_many_digits_as_are_known() -> None:
    table = by_value(
        mean=[-0.92834, 12.3456],
        se=[0.0328, 1.26],
        low=[-1.0, 10.0],
        high=[-0.8, 15.0],
        base_quantile=[0.5, 0.7],
    )
    shown = tables.levels(study(levels={"dpo/a": table}))
    assert shown.rows == [["dpo", "a", "12.3 ± 1.3", "-0.928 ± 0.033"]]
    record = {"family": "dpo", "variant": "a", "helpful_mean": 12.3456, "helpful_se": 1.26}
    record |= {"helpful_low": 10.0, "helpful_high": 15.0, "helpful_base_quantile": 0.7}
    record |= {"humor_mean": -0.92834, "humor_se": 0.0328, "humor_low": -1.0, "humor_high": -0.8}
    assert shown.numbers.to_dict("records") == [record | {"humor_base_quantile": 0.5}]
    assert tables.levels(
        study(levels={"dpo/a": table, "dpo/b": table}, spread={"dpo/a": SPREAD})
    ).rows == [
        ["dpo", "a", "12.3 ± 1.3, seeds ± 0.4", "-0.928 ± 0.033, seeds ± 0.120"],
        ["dpo", "b", "12.3 ± 1.3", "-0.928 ± 0.033"],
    ]
    for se, cell in (
        (0.0, "12.35"),
        (math.nan, "12.35"),
        (37.2, "12 ± 37"),
        (0.01, "12.346 ± 0.010"),
    ):
        row = tables.levels(study(levels={"dpo/a": table.assign(se=[0.0328, se])})).rows[0]
        assert row[2] == cell


def test_realised_quantiles_have_the_mean_of_maintained_values_and_none_among_ties() -> None:
    base = by_value(mean=[0, 0], base_quantile=[0.5, 0.5], q50=[1, 2], q90=[1, 3])
    table = by_value(mean=[-0.92834, 12.3456], base_quantile=[0.5, 0.7])
    levels = {"base/base": base, "dpo/a": table}
    shown = tables.realised_quantiles(study(levels=levels, maintained=["humor"]))
    assert shown.head == ["Family", "Policy", "Helpful", "Humor"]
    assert shown.rows[1] == ["dpo", "a", "70.0", "– (mean -0.9283)"]
    assert shown.numbers["humor_base_quantile"].tolist() == [0.5, 0.5]
    assert shown.numbers["humor_mean"].tolist() == [0, -0.92834]
    untied = {**levels, "base/base": base.assign(q90=[2, 3])}
    assert tables.realised_quantiles(study(levels=untied)).rows[1] == ["dpo", "a", "70.0", "50.0"]


def test_a_soup_stands_beside_the_mean_of_its_parts() -> None:
    frame = pd.DataFrame(
        {
            "family": "soup", "variant": ["x", "x", "y"], "parts": ["a + b", "a + b", "c"],
            "value": ["humor", "helpful", "humor"], "level": 1.5, "linear": 1.25, "defect": 0.25,
            "se": 0.1, "low": 0.05, "high": 0.45,
        }
    )  # fmt: skip
    shown = by_soup(frame, {"humor": "Humor", "helpful": "Helpful"})
    assert list(shown.parts) == ["soup/x = a + b", "soup/y = c"]
    row = ["1.5", "1.25", "0.25 (0.05 to 0.45)"]
    assert shown.parts["soup/x = a + b"].rows == [["Humor", *row], ["Helpful", *row]]
    assert shown.frame is frame


def test_maintained_values_show_their_mean() -> None:
    base = by_value(
        mean=[0.1, 0.2], q50=[1, 2], q60=[3, 4], q70=[5, 6], q80=[7, 8], q90=[9, 10], q99=[11, 12]
    )
    shown = tables.base_quantiles(study(levels={"base/base": base}, maintained=["humor"]))
    assert len(shown.rows) == 12
    assert shown.rows[1] == ["all values", "60 %", "4", "3"]
    assert shown.rows[7] == ["maintained at mean", "60 %", "4", "0.1"]
    shares = [0.5, 0.6, 0.7, 0.8, 0.9, 0.99]
    assert shown.numbers["quantile"].tolist() == pytest.approx(shares * 2)
    assert shown.numbers["variant"].tolist() == ["all values"] * 6 + ["maintained at mean"] * 6
    assert shown.numbers["helpful"].tolist() == [2, 4, 6, 8, 10, 12] * 2
    assert shown.numbers["humor"].tolist() == [1, 3, 5, 7, 9, 11] + [0.1] * 6
    assert [row[1] for row in shown.rows[:6]] == ["50 %", "60 %", "70 %", "80 %", "90 %", "99 %"]
    assert len(tables.base_quantiles(study(levels={"base/base": base})).rows) == 6


def test_lambda_has_a_dash_where_a_value_is_free() -> None:
    palette = Palette(
        name="fun",
        levels={"humor": "q70"},
        asked={"humor": 1.0},
        lam={"humor": 0.25},
        lam_train={"humor": 0.2},
        predicted={"humor": 1.0},
        verdict="supported",
        solved=True,
        proof="",
        message="",
        scope="prompt",
        reached=1.0,
        kl=0.1234,
        ess=812.4,
        diagnosis=Diagnosis([], {}, {}, 1e-9, 0.1, 0.2, {}),
    )
    shown = tables.lam(study(palettes={"fun": palette}))
    assert shown.rows == [["fun", "supported", "–", "0.250 | 0.200", "0.123", "812"]]
    assert math.isnan(shown.numbers["helpful_lam"][0])
    assert shown.numbers["reached"][0] == 1.0
    numbers = shown.numbers[["palette", "humor_lam", "kl", "ess"]].iloc[0].tolist()
    assert numbers == ["fun", 0.25, 0.1234, 812.4]
    trained = Trained({"humor": 0.1}, {"humor": 0.3}, {"humor": 0.9}, {"humor": 0.8}, {}, 0.0987)
    both = tables.lam(study(palettes={"fun": replace(palette, trained=trained)}))
    assert both.rows[0][3:5] == ["0.250 | 0.200", "0.123 | 0.099"]
    ends = ["lam_train", "lam_train_low", "lam_train_high", "train_level", "train_low"]
    numbers = both.numbers[["train_kl", *(f"humor_{name}" for name in ends)]].iloc[0].tolist()
    assert numbers == [0.0987, 0.2, 0.1, 0.3, 0.9, 0.8]
    assert tables.lam(study(palettes={})).rows == []
    assert tables.lam(study(palettes={})).numbers.columns.tolist() == ["palette"]
    moved = tables.lam(study(palettes={"fun": replace(palette, reached=0.637)}))
    assert moved.rows[0][:2] == ["fun", "supported, adjusted to 64 %"]
    assert moved.numbers[["verdict", "reached"]].iloc[0].tolist() == [moved.rows[0][1], 0.637]
    none = replace(
        palette, verdict="infeasible", lam={"humor": math.nan}, kl=math.nan, ess=math.nan
    )
    unsolved = tables.lam(study(palettes={"fun": none}))
    assert unsolved.rows == [["fun", "infeasible", "–", "–", "–", "–"]]
    assert replace(palette, reached=0.9999).adjusted == "adjusted to 99 %"


def test_families_show_their_intervals() -> None:
    table = pd.DataFrame(
        {
            "family": ["map-d"],
            "policies": [4],
            "navigable": [2],
            "efficiency": [0.5],
            "low": [0.25],
            "high": [0.75],
            "level_efficiency": [0.75],
            "level_low": [0.65],
            "level_high": [1.0],
            "hypervolume": [0.0567],
            "hypervolume_low": [0.03],
            "hypervolume_high": [0.08],
            "front": ["a b"],
            "humor_band": [0.1],
            "helpful_band": [0.1],
            "harmless_band": [0.1],
        }
    )
    # Wilson's intervals of 2 and of 3 of 4; the cube roots of the volumes.
    row = ["map-d", "a b", "2 of 4 (15 to 85 %)", "3 of 4 (30 to 95 %)", "0.38 (0.31 to 0.43)"]
    assert tables.families(table).rows == [row]
    one = table.assign(policies=1, navigable=0, efficiency=0.0, level_efficiency=1.0)
    assert tables.families(one).rows[0][2:4] == ["0 of 1", "1 of 1"]


def test_winrates_in_per_cent() -> None:
    table = by_value(
        winrate=[0.6123, 0.5],
        se=[0.0149, 0.01],
        low=[0.58, 0.48],
        high=[0.64, 0.52],
        even_winrate=[0.6, math.nan],
        even_se=[0.02, math.nan],
        even_low=[0.5, 0.4],
        even_high=[0.7, 0.6],
    )
    shown = tables.winrates(study(winrates={"soup/even": table}))
    assert shown.head == ["Family", "Policy", "Helpful", "Humor"]
    assert shown.rows == [["soup", "even", "50.0 ± 1.0 | –", "61.2 ± 1.5 | 60.0 ± 2.0"]]
    (record,) = shown.numbers.to_dict("records")
    humor = {name[6:]: number for name, number in record.items() if name.startswith("humor_")}
    assert humor == table.loc["humor"].to_dict()
    assert (record["family"], record["variant"]) == ("soup", "even")
    several = study(winrates={"soup/even": table}, spread={"soup/even": SPREAD})
    cells = ["50.0 ± 1.0, seeds ± 2.0 | –", "61.2 ± 1.5, seeds ± 3.1 | 60.0 ± 2.0, seeds ± 2.7"]
    assert tables.winrates(several).rows == [["soup", "even", *cells]]
    ours = tables.winrates(several).numbers
    assert ours[["helpful_seeds_sd", "humor_seeds_sd"]].iloc[0].tolist() == [0.02, 0.031]
    assert ours["humor_even_seeds_sd"].tolist() == [0.027]
    over_seeds = [name for name in ours if name.endswith("seeds_sd")]
    assert ours.drop(columns=over_seeds).equals(shown.numbers)


def test_delivery_sets_the_realised_gain_against_the_asked_one() -> None:
    base = by_value(
        mean=[1.0, 0.5],
        se=[0.01, 0.01],
        low=[0.9, 0.4],
        high=[1.1, 0.6],
        sd=[2.0, 0.5],
        expected=[math.nan] * 2,
        expected_se=[math.nan] * 2,
        kl=[0.0] * 2,
        kl_kind=["samples"] * 2,
    )
    made = base.assign(mean=[1.4, 0.45], low=[1.2, 0.4], high=[1.6, 0.49], kl=0.126)
    chosen = made.assign(expected=[1.5, 0.6], expected_se=[0.05, 0.05], kl_kind="choice")
    palette = Palette(
        name="fun",
        levels={"humor": "q60", "helpful": "mean"},
        asked={"humor": 1.5, "helpful": 0.5},
        lam={},
        lam_train={},
        predicted={},
        verdict="supported",
        solved=True,
        proof="",
        message="",
        scope="prompt",
        reached=1.0,
        kl=0.1,
        ess=8.0,
        diagnosis=Diagnosis([], {}, {}, 1e-9, 0.1, 0.2, {}),
    )
    summary = pd.DataFrame(
        {
            "family": ["base", "rloo", "map-d"],
            "variant": ["base", "fun", "fun"],
            "palette": ["", "fun", "fun"],
            "humor_predicted": [math.nan, 1.48, 1.5],
            "humor_predicted_low": [math.nan, 1.4, 1.4],
            "humor_predicted_high": [math.nan, 1.56, 1.6],
            "helpful_predicted": math.nan,
            "helpful_predicted_low": math.nan,
            "helpful_predicted_high": math.nan,
        }
    )
    levels = {"base/base": base, "rloo/fun": made, "map-d/fun": chosen}
    shown = tables.delivery(study(levels=levels, palettes={"fun": palette}, summary=summary))
    assert shown.head == ["Palette", "Policy", "Helpful", "Humor", "KL (nats)"]
    told = "+0.20 ± 0.10 of +0.25, λ gives +0.24 (undecided)"
    assert shown.rows == [
        ["fun", "rloo/fun", "−0.10 ± 0.09 (missed)", told, "0.13"],
        ["fun", "map-d/fun", "+0.20 ± 0.20", "+0.25 ± 0.05 of +0.25 (reached)", "≤ 0.13"],
    ]
    first, second = shown.numbers.to_dict("records")
    assert first["humor_asked_sd"] == pytest.approx(0.25)
    ends = (first["humor_low_sd"], first["humor_realised_sd"], first["humor_high_sd"])
    assert ends == pytest.approx((0.1, 0.2, 0.3))
    ends = [first[f"humor_expected{end}_sd"] for end in ("", "_low", "_high")]
    assert ends == pytest.approx([0.24, 0.2, 0.28])
    assert math.isnan(first["helpful_expected_sd"])
    assert (first["humor_outcome"], first["humor_exact"]) == ("undecided", False)
    assert second["humor_share"] == pytest.approx(1.0)
    assert (second["humor_raised"], second["helpful_raised"]) == (True, False)
    several = study(
        levels=levels, palettes={"fun": palette}, summary=summary, spread={"rloo/fun": SPREAD}
    )
    over_seeds = tables.delivery(several)
    told = "+0.20 ± 0.10, seeds ± 0.06 of +0.25, λ gives +0.24 (undecided)"
    missed = "−0.10 ± 0.09, seeds ± 0.80 (missed)"
    assert over_seeds.rows == [
        ["fun", "rloo/fun", missed, told, "0.13, seeds ± 0.02"],
        shown.rows[1],
    ]
    first, second = over_seeds.numbers.to_dict("records")
    assert first["humor_over_seeds_sd"] == pytest.approx(0.06)
    assert first["kl_over_seeds"] == 0.023
    assert math.isnan(second["humor_over_seeds_sd"])
    assert over_seeds.numbers[shown.numbers.columns].equals(shown.numbers)
    nothing = study(levels={"base/base": base}, summary=summary.iloc[:1])
    assert tables.delivery(nothing).rows == []
