"""What the page says of trained models: figures with their numbers, and data that were lost."""

from polyalign.report.facts import DOUBT, model_facts

COUNTS = {"read": 50, "malformed": 2, "equal": 40, "kept": 8, "later_turn": 0, "cut": 3}
FINE = {"read": 9, "malformed": 0, "equal": 0, "kept": 9, "later_turn": 0, "cut": 0}


def test_an_accuracy_has_its_number_and_lost_pairs_are_told():
    record = {
        "loss": 0.5,
        "held_out": {"pairs": 12, "accuracy": 0.75, "brier": 0.2},
        "read": {"liked": COUNTS, "fine": FINE},
        "read_test": {"liked": {**COUNTS, "cut": 0}},
        "counts": {"pairs": 8, "cut": 5, "left_out": 0},
    }
    lost = (
        "42 of 50 pairs cannot be used: 2 hold no two readable responses to a prompt, 40 have "
        "twice the same response"
    )
    assert model_facts(record) == {
        "loss (nats/token)": 0.5,
        "accuracy (on 12 pairs)": 0.75,
        "brier": 0.2,
        "data: liked": f"{lost}; 3 of 8 pairs are cut to max_words; no end token follows a "
        "response that was cut",
        "data: liked, held out": lost,
        "pairs cut to the token limit": 5,
    }


def test_a_classifier_is_judged_on_texts_and_a_soup_on_nothing():
    record = {"held_out": {"texts": 30, "accuracy": 0.9}, "counts": {"train": 100, "test": 30}}
    assert model_facts(record) == {"accuracy (on 30 texts)": 0.9}
    assert model_facts({"settings": {}}) == {}


def test_a_model_that_judges_no_better_than_a_constant_answer_is_told():
    def doubt(**judged):
        return model_facts({"held_out": judged}).get(DOUBT)

    assert doubt(pairs=12, accuracy=0.5).startswith(
        "it is right for 50 % of 12 pairs held out, and a constant answer for 50 %"
    )
    assert doubt(pairs=12, accuracy=0.51) is None
    assert doubt(texts=21, accuracy=0.6, positive=0.3).endswith("longer or on more data")
    assert doubt(texts=21, accuracy=0.6, positive=0.45) is None
    assert doubt() is None
