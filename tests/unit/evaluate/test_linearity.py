import pandas as pd
import pytest

from polyalign.evaluate.linearity import defects


def frame(humor: dict[str, list[float]]) -> pd.DataFrame:
    rows = [(prompt, one) for prompt, ours in humor.items() for one in ours]
    return pd.DataFrame(rows, columns=["prompt_id", "humor"]).assign(split="test")


def test_a_defect_by_hand() -> None:
    frames = {
        "soup/half": frame({"p": [3.0], "q": [1.0, 2.0]}),
        "dpo/a": frame({"q": [2.0], "p": [4.0]}),
        "dpo/b": frame({"p": [0.0], "q": [0.0, 2.0]}),
    }
    parts = {"soup/half": {"dpo/a": 0.25, "dpo/b": 0.75}}
    (row,) = defects(frames, parts, ["humor"], bootstrap=100, seed=1).to_dict("records")
    # p: 3 against 0.25·4 = 1, q: 1.5 against 0.25·2 + 0.75·1 = 1.25; defects 2 and 0.25.
    assert row["level"] == pytest.approx(2.25)
    assert row["linear"] == pytest.approx(1.125)
    assert row["defect"] == pytest.approx(1.125)
    assert row["se"] == pytest.approx(1.75 / 2)
    assert (row["low"], row["high"]) == (0.25, 2.0)
    assert row["parts"] == "0.25 dpo/a + 0.75 dpo/b"


def test_a_soup_of_one_policy_has_no_defect() -> None:
    one = frame({"p": [1.0, 2.0], "q": [3.0]})
    table = defects(
        {"soup/x": one, "dpo/a": one}, {"soup/x": {"dpo/a": 1.0}}, ["humor"], bootstrap=9, seed=1
    )
    assert table[["defect", "se", "low", "high"]].to_numpy().ravel().tolist() == [0.0] * 4
