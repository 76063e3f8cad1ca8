import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polyalign.data.tables import read_by_policy, write_csv, write_table
from polyalign.errors import InputError
from polyalign.evaluate.expected import Expected, read_expected
from polyalign.evaluate.summary import summary
from polyalign.palettes.record import Palette, read_palettes
from polyalign.report.topics import by_topic

RECORD = {
    "palette": "both",
    "status": "solved",
    "levels": {"humor": "q70", "helpful": "mean"},
    "asked": [2.0, 0.5],
    "reached": 0.8,
    "values": ["humor", "helpful"],
    "lam": [0.5, 0.0],
    "lam_train": [0.4, 0.1],
    "realised": [1.9, 0.6],
    "verdict": "unsupported",
    "message": "few samples carry the weight",
    "scope": "prompt",
    "kl": 0.3,
    "ess": 20.0,
    "warnings": ["adjusted: see <reached>"],
    "interval": {
        "lam_low": [0.2, 0.0],
        "lam_high": [0.9, 0.0],
        "train_low": [0.3, 0.05],
        "train_high": [0.6, None],
    },
    "kkt": 1e-9,
    "max_weight": 0.25,
    "pareto_k": None,
    "edges": {"supportable": 0.8, "feasible": 1.4},
    "budget": {"suffices": 40},
    "reweighting_share": [0.125, None],
    "test": {"expected": [1.8, 0.55], "se": [0.1, 0.1], "prompts": 9},
    "trained": {"expected": [1.7, 0.52], "low": [1.6, 0.4], "high": [1.8, 0.6], "kl": 0.2},
}
POLICIES = {"base/base": None, "map-d/both": "both", "dpo/x": None}
NONE = Expected({}, {})
EXPECTED = {
    "base/base": NONE,
    "map-d/both": Expected({"humor": 0.5, "helpful": 0.0}, {"humor": 1.8, "helpful": 0.55}),
    "dpo/x": NONE,
}


OPTIONS = {
    "chosen": ["humor"],
    "opponent": "base/base",
    "costs": {
        name: {"job_seconds": 9.0, "cpu_seconds": 8.0, "gpu_seconds": math.nan} for name in POLICIES
    },
}


def level_table(humor: float, helpful: float, kl: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "value": ["humor", "helpful"],
            "mean": [humor, helpful],
            "se": [0.1, 0.2],
            "low": [humor - 0.2, helpful - 0.4],
            "high": [humor + 0.2, helpful + 0.4],
            "sd": [0.5, 2.0],
            "expected": math.nan,
            "expected_se": math.nan,
            "kl": kl,
            "kl_se": 0.01,
            "kl_kind": "samples",
            "n_tokens": 12.0,
            "empty": 0.0,
            "n_empty": 0,
            "truncated": 0.25,
            "n_prompts": 10,
            "n_samples": 40,
        }
    )


LEVELS = {
    "base/base": level_table(1.0, 0.4, 0.0),
    "map-d/both": level_table(1.75, 0.6, 0.3),
    "dpo/x": level_table(0.9, 0.9, 0.7),
}
WINRATES = {
    name: pd.DataFrame(
        {
            "value": ["humor", "helpful"],
            "winrate": [0.6, 0.5],
            "se": [0.05, 0.05],
            "even_winrate": [0.55, 0.5],
            "even_se": [0.05, 0.05],
            "even_low": [0.45, 0.4],
            "even_high": [0.65, 0.6],
            "low": [0.5, 0.4],
            "high": [0.7, 0.6],
        }
    )
    for name in POLICIES
}


def solved(folder: Path, **changes: object) -> dict[str, Palette]:
    path = folder / "both.json"
    path.write_text(json.dumps(RECORD | changes))
    return read_palettes([path])


def test_a_row_by_hand(tmp_path: Path) -> None:
    table = summary(LEVELS, WINRATES, solved(tmp_path), POLICIES, EXPECTED, **OPTIONS)
    assert (table["family"] + "/" + table["variant"]).tolist() == list(POLICIES)
    row = table.iloc[1]
    assert (row["palette"], row["verdict"], row["reached"]) == ("both", "unsupported", 0.8)
    assert row["levels"] == "humor q70, helpful mean"
    assert (row["humor_lam"], row["humor_asked"], row["humor_predicted"]) == (0.5, 2.0, 1.8)
    assert (row["humor_level"], row["humor_se"], row["kl"]) == (1.75, 0.1, 0.3)
    assert row["humor_delivered"] == pytest.approx(0.75)  # 0.75 of the 1.0 asked for
    assert math.isnan(row["helpful_delivered"])  # 0.1 is within two standard errors of 0.2
    # Fieller's interval of 0.75 / 1.0, the standard errors 0.1 and 0.1, is where
    # (0.75 - R)^2 = 1.96^2 0.1^2 (1 + (1 - R)^2).
    for end in ("low", "high"):
        share = row[f"humor_delivered_{end}"]
        assert (0.75 - share) ** 2 == pytest.approx(0.0384146 * (1 + (1 - share) ** 2), rel=1e-5)
    assert row["humor_delivered_low"] < 0.75 < row["humor_delivered_high"]
    assert (row["humor_asked_sd"], row["humor_realised_sd"]) == pytest.approx((2.0, 1.5))
    ends = (row["humor_realised_sd_low"], row["humor_realised_sd_high"])
    assert ends == pytest.approx((1.1, 1.9))
    assert (row["humor_outcome"], row["helpful_outcome"]) == ("missed", "reached")
    assert row[["raised_reached", "raised_undecided", "raised_missed"]].tolist() == [0, 0, 1]
    kept = [f"maintained_{name}" for name in ("reached", "undecided", "missed")]
    assert row[kept].tolist() == [1, 0, 0]
    assert table.iloc[2][kept].isna().all()
    assert (row["kl_kind"], row["n_empty"]) == ("samples", 0)
    # Win rates two and no standard errors above one half: p 0.0228 and 0.5, by Holm 0.0455 and 0.5.
    assert (row["humor_p"], row["helpful_p"]) == pytest.approx((0.0455, 0.5), abs=1e-4)
    assert row["p_all"] == pytest.approx(0.02275, abs=1e-5)  # of humor alone, which was chosen
    assert row["better_in_all"]
    # Two policies make the claim; at equal length the win rate is one standard error above.
    assert row["p_all_holm"] == pytest.approx(2 * 0.02275, abs=1e-5)
    assert row["p_all_even"] == pytest.approx(0.15866, abs=1e-5)
    assert row["p_all_even_holm"] == pytest.approx(2 * 0.15866, abs=1e-5)
    assert not row["better_at_equal_length"]
    assert math.isnan(table.iloc[0]["p_all_holm"])  # the opponent makes no claim
    assert not table.iloc[0]["better_in_all"]
    assert (row["humor_even_winrate"], row["n_tokens"], row["cpu_seconds"]) == (0.55, 12.0, 8.0)
    assert (row["humor_winrate"], row["humor_winrate_low"], row["humor_winrate_high"]) == (
        0.6,
        0.5,
        0.7,
    )


def test_joint_claims_are_adjusted_for_the_number_of_policies(tmp_path: Path) -> None:
    """A p-value of 0.0228 holds among two policies, and not among three."""
    names = ["base/base", "map-d/both", "dpo/x", "dpo/y"]
    policies: dict[str, str | None] = dict.fromkeys(names)
    tables = LEVELS | {"dpo/y": LEVELS["dpo/x"]}
    rates = WINRATES | {"dpo/y": WINRATES["dpo/x"]}
    options = OPTIONS | {"costs": dict.fromkeys(names, OPTIONS["costs"]["dpo/x"])}
    expected = dict.fromkeys(names, NONE)
    table = summary(tables, rates, solved(tmp_path), policies, expected, **options)
    assert table["p_all_holm"].tolist()[1:] == pytest.approx([3 * 0.02275] * 3, abs=1e-4)
    assert not table["better_in_all"].any()
    unknown = WINRATES["dpo/x"].assign(even_winrate=math.nan, even_se=math.nan)
    rates |= dict.fromkeys(names[2:], unknown)
    table = summary(tables, rates, solved(tmp_path), policies, expected, **options)
    assert np.isnan(table["p_all_even_holm"].tolist()[2:]).all()
    assert table["p_all_even_holm"][1] == pytest.approx(0.15866, abs=1e-5)  # alone


def test_every_policy_has_the_lambda_that_it_was_made_with(tmp_path: Path) -> None:
    """Decoding the one that it recorded, with its exact expectation; training `lam_train`."""
    palettes = solved(tmp_path)
    policies = dict.fromkeys(("base/base", "dpo/x")) | dict.fromkeys(
        ("map-d/both", "best-of/both", "rloo/both"), "both"
    )
    policies |= {"morl-d/draw-1": None, "token-d/mine": None}
    made = {
        "map-d/both": ([0.5, 0.0], [1.8, 0.55]),
        "best-of/both": ([0.5, 0.0], [2.4, 0.3]),
        "morl-d/draw-1": ([0.7, 0.9], [1.1, 0.8]),
    }
    paths = []
    for policy, (lam, expected) in made.items():
        paths.append(tmp_path / policy / "rewards.parquet")
        record = {
            "lam": dict(zip(("humor", "helpful"), lam, strict=True)),
            "expected": {
                value: {"level": level, "se": 0.1}
                for value, level in zip(("humor", "helpful"), expected, strict=True)
            },
        }
        write_table(pd.DataFrame({"humor": [1.0]}), paths[-1], record)
    expected = read_expected(policies, palettes, paths, {"token-d/mine": {"helpful": 0.3}})
    tables = dict.fromkeys(policies, LEVELS["map-d/both"]) | {"base/base": LEVELS["base/base"]}
    rates = dict.fromkeys(policies, WINRATES["dpo/x"])
    options = OPTIONS | {"costs": dict.fromkeys(policies, OPTIONS["costs"]["dpo/x"])}
    table = summary(tables, rates, palettes, policies, expected, **options)
    rows = table.set_index(table["family"])
    nothing = [math.nan] * 2
    for family, lam, predicted in (
        ("base", nothing, nothing),
        ("dpo", nothing, nothing),
        ("map-d", [0.5, 0.0], [1.8, 0.55]),
        ("best-of", [0.5, 0.0], [2.4, 0.3]),
        ("rloo", [0.4, 0.1], [1.7, 0.52]),
        ("morl-d", [0.7, 0.9], [1.1, 0.8]),
        ("token-d", [math.nan, 0.3], nothing),
    ):
        row = rows.loc[family]
        assert row[["humor_lam", "helpful_lam"]].tolist() == pytest.approx(lam, nan_ok=True)
        shown = row[["humor_predicted", "helpful_predicted"]].tolist()
        assert shown == pytest.approx(predicted, nan_ok=True)
    ends = ["humor_predicted_low", "humor_predicted_high"]
    assert rows.loc["rloo", ends].tolist() == [1.6, 1.8]
    assert rows.loc["map-d", ends].tolist() == pytest.approx([1.8 - 0.196, 1.8 + 0.196], abs=1e-4)
    assert np.isnan(rows.loc["token-d", ends].tolist()).all()


def test_a_palette_that_is_not_solved_has_no_lambda(tmp_path: Path) -> None:
    policies = {"rloo/gone": "gone", "rloo/both": "both", "rloo/mine": None}
    given = {"rloo/mine": {"humor": 0.3}}
    found = read_expected(policies, solved(tmp_path), [], given)
    assert found["rloo/gone"] == NONE
    assert found["rloo/both"].lam == {"humor": 0.4, "helpful": 0.1}
    assert found["rloo/mine"].lam == {"humor": 0.3}


def test_a_training_that_moved_lambda_has_the_one_at_its_end(tmp_path: Path) -> None:
    policies = {"rloo/both": "both", "ppo/both": "both"}
    moved = {"lam_start": {"humor": 0.4}, "lam": {"humor": 0.9, "helpful": 0.2}}
    paths = []
    for family, record in (("rloo", {"closed_loop": moved}), ("ppo", {}), ("dpo", {})):
        paths.append(tmp_path / f"models/{family}/both.json")
        paths[-1].parent.mkdir(parents=True)
        paths[-1].write_text(json.dumps({"record": record}), encoding="utf-8")
    found = read_expected(policies, solved(tmp_path), [], {}, paths)
    assert found["rloo/both"].lam == {"humor": 0.9, "helpful": 0.2}
    assert found["ppo/both"].lam == {"humor": 0.4, "helpful": 0.1}
    # It is steered to the levels that the palette asks of any training.
    assert found["rloo/both"].predicted == found["ppo/both"].predicted
    assert set(found) == set(policies)


def test_a_guided_policy_that_moved_lambda_has_the_one_at_the_end(tmp_path: Path) -> None:
    policies = {"value-d/both": "both", "token-d/both": "both"}
    moved = tmp_path / "policies/value-d/both/lam.json"
    moved.parent.mkdir(parents=True)
    moved.write_text(json.dumps({"lam": {"humor": 0.9, "helpful": 0.2}}), encoding="utf-8")
    found = read_expected(policies, solved(tmp_path), [], {}, [], [moved])
    assert found["value-d/both"].lam == {"humor": 0.9, "helpful": 0.2}
    assert found["token-d/both"].lam == {"humor": 0.4, "helpful": 0.1}
    assert found["value-d/both"].predicted == found["token-d/both"].predicted


def test_a_decoded_table_without_its_lambda_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "map-d/both/rewards.parquet"
    write_table(pd.DataFrame({"humor": [1.0]}), path, {"lam": {"humor": 1.0}})
    with pytest.raises(InputError, match="does not record the λ that it was decoded with"):
        read_expected(POLICIES, solved(tmp_path), [path], {})


def test_a_policy_without_a_palette_was_asked_nothing(tmp_path: Path) -> None:
    row = summary(LEVELS, WINRATES, solved(tmp_path), POLICIES, EXPECTED, **OPTIONS).iloc[2]
    assert (row["palette"], row["levels"], row["verdict"]) == ("", "", "")
    assert np.isnan([row["humor_asked"], row["humor_lam"], row["humor_delivered"]]).all()
    assert row["humor_outcome"] == ""
    assert row["helpful_level"] == 0.9


def test_without_a_test_split_the_fit_predicts(tmp_path: Path) -> None:
    (palette,) = solved(tmp_path, test=None).values()
    assert palette.predicted == {"humor": 1.9, "helpful": 0.6}


def test_what_a_lambda_is_worth_is_read(tmp_path: Path) -> None:
    worth = solved(tmp_path)["both"].diagnosis
    assert (worth.low["humor"], worth.high["humor"]) == (0.2, 0.9)
    assert (worth.kkt, worth.max_weight, worth.warnings) == (1e-9, 0.25, RECORD["warnings"])
    assert math.isnan(worth.pareto_k)
    assert worth.reweighting["humor"] == 0.125
    single = solved(tmp_path, reweighting_share=None)["both"].diagnosis
    assert all(math.isnan(share) for share in single.reweighting.values())


def test_what_perfect_training_delivers_is_read(tmp_path: Path) -> None:
    trained = solved(tmp_path)["both"].trained
    assert (trained.lam_low["humor"], trained.lam_high["humor"]) == (0.3, 0.6)
    assert (trained.level["humor"], trained.low["humor"], trained.high["humor"]) == (1.7, 1.6, 1.8)
    assert trained.kl == 0.2
    assert math.isnan(solved(tmp_path, trained=None)["both"].trained.level["humor"])


def test_raised_values_are_those_not_asked_to_stay(tmp_path: Path) -> None:
    (palette,) = solved(tmp_path, lam=[None, None], kl=None).values()
    assert palette.raised == ["humor"]
    assert math.isnan(palette.lam["humor"])
    assert math.isnan(palette.kl)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    palettes = solved(tmp_path)
    with pytest.raises(InputError, match="no win rates of dpo/x; expected them of every policy"):
        summary(
            LEVELS,
            {k: v for k, v in WINRATES.items() if k != "dpo/x"},
            palettes,
            POLICIES,
            EXPECTED,
            **OPTIONS,
        )
    with pytest.raises(InputError, match="no palette both"):
        summary(LEVELS, WINRATES, {}, POLICIES, EXPECTED, **OPTIONS)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", "bad.json: cannot be read as a palette"),
        (json.dumps({k: v for k, v in RECORD.items() if k != "lam"}), "no key 'lam'"),
    ],
)
def test_a_bad_palette_is_refused(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(InputError, match=error):
        read_palettes([path])


def test_a_missing_palette_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.json: cannot be read as a palette"):
        read_palettes([tmp_path / "gone.json"])


def test_tables_come_back_as_written_in_the_policies_order(tmp_path: Path) -> None:
    unknown = LEVELS["dpo/x"].assign(kl=np.nan)
    written = {"map-d/both": LEVELS["map-d/both"], "dpo/x": unknown}
    for policy, table in written.items():
        write_csv(table, tmp_path / policy / "levels.csv")
    paths = [tmp_path / policy / "levels.csv" for policy in reversed(written)]
    tables = read_by_policy(paths, POLICIES)
    assert list(tables) == ["map-d/both", "dpo/x"]
    for policy, table in written.items():
        pd.testing.assert_frame_equal(tables[policy], table)
    with pytest.raises(InputError, match="a table of dpo/x, which is not a policy of the study"):
        read_by_policy(paths, ["map-d/both"])


def test_better_in_all_is_about_the_chosen_values(tmp_path: Path) -> None:
    both = OPTIONS | {"chosen": ["humor", "helpful"]}
    row = summary(LEVELS, WINRATES, solved(tmp_path), POLICIES, EXPECTED, **both).iloc[1]
    assert row["p_all"] == 0.5
    assert not row["better_in_all"]


@pytest.mark.parametrize(("winrate", "better"), [(0.582, False), (0.5825, True)])
def test_the_joint_claim_is_tested_at_five_per_cent(
    tmp_path: Path, winrate: float, better: bool
) -> None:
    rates = WINRATES | {"map-d/both": WINRATES["dpo/x"].assign(winrate=[winrate, 0.5])}
    row = summary(LEVELS, rates, solved(tmp_path), POLICIES, EXPECTED, **OPTIONS).iloc[1]
    assert row["p_all"] == pytest.approx(0.05, abs=1e-3)
    assert row["better_in_all"] == better


def test_a_palette_below_the_base_delivers_no_share(tmp_path: Path) -> None:
    palettes = solved(tmp_path, asked=[0.5, 0.4])
    row = summary(LEVELS, WINRATES, palettes, POLICIES, EXPECTED, **OPTIONS).iloc[1]
    assert math.isnan(row["humor_delivered"])
    assert (row["kl_se"], row["empty"], row["truncated"]) == (0.01, 0.0, 0.25)
    assert (row["n_prompts"], row["n_samples"], row["job_seconds"]) == (10, 40, 9.0)
    assert (row["helpful_se"], row["helpful_even_winrate"]) == (0.2, 0.5)


def test_ceilings_and_bands_have_their_own_columns(tmp_path: Path) -> None:
    words = {
        "levels": {"humor": "<= q40", "helpful": "between mean and q60"},
        "values": ["humor <=", "helpful >=", "helpful <="],
        "asked": [0.5, 0.4, 2.0],
        "lam": [-0.5, 0.0, -0.2],
        "lam_train": [-0.4, 0.0, -0.1],
        "interval": {
            name: [-0.9, 0.0, -0.3] for name in ("lam_low", "lam_high", "train_low", "train_high")
        },
        "reweighting_share": None,
        "test": {"expected": [0.4, 1.9, 1.9], "se": [0.1, 0.1, 0.1], "prompts": 9},
        "trained": None,
    }
    palettes = solved(tmp_path, **words)
    palette = palettes["both"]
    assert palette.asked == {"humor": 0.5, "helpful": 0.4}
    assert palette.ceilings == {"humor": 0.5, "helpful": 2.0}
    assert palette.lam == {"humor": -0.5, "helpful": -0.2}
    assert palette.diagnosis.low == {"humor": -0.9, "helpful": -0.3}
    assert palette.predicted == {"humor": 0.4, "helpful": 1.9}
    frame = summary(LEVELS, WINRATES, palettes, POLICIES, EXPECTED, **OPTIONS)
    row, base = frame.iloc[1], frame.iloc[0]
    assert math.isnan(row["humor_asked"])
    assert (row["humor_ceiling"], row["helpful_asked"], row["helpful_ceiling"]) == (0.5, 0.4, 2.0)
    sd = LEVELS["base/base"]["sd"][0]
    floor = LEVELS["base/base"]["mean"][0]
    assert row["humor_ceiling_sd"] == pytest.approx((0.5 - floor) / sd)
    assert math.isnan(base["humor_ceiling"])
    assert sum(row[f"capped_{name}"] for name in ("reached", "undecided", "missed")) == 2
    shown = by_topic(frame, {"humor": "Humor", "helpful": "Helpful"}).parts["Levels asked"]
    assert shown.rows[1][2:] == ["≤ 0.5", "0.4 to 2"]
