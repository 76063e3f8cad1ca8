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
        "accuracy (on 12 pairs; chance is 0.5)": 0.75,
        "Brier score": 0.2,
        "data: liked": f"{lost}; 3 of 8 pairs are cut to max_words; no end token follows a "
        "response that was cut",
        "data: liked, held out": lost,
        "pairs cut to the token limit": 5,
    }


def test_a_classifier_is_judged_on_texts_and_a_soup_on_nothing():
    record = {"held_out": {"texts": 30, "accuracy": 0.9}, "counts": {"train": 100, "test": 30}}
    assert model_facts(record) == {"accuracy (on 30 texts)": 0.9}
    assert model_facts({"settings": {}}) == {}


def test_a_model_that_judges_no_better_than_chance_is_told():
    def doubt(auc=None, **judged):
        card = {"kind": "classes", "agreement": {"fun": {"auc": auc}}} if auc else {}
        return model_facts({"held_out": judged, "card": card}).get(DOUBT)

    assert doubt(pairs=12, accuracy=0.5).startswith("it is right for 50 % of 12 pairs held out: ")
    assert doubt(pairs=12, accuracy=0.51) is None
    # With a rare label a constant answer is right for most texts: its accuracy proves nothing.
    assert doubt(auc=[0.55, 0.49, 0.6], texts=21, accuracy=0.9) == (
        "of two of the 21 texts held out it puts 55 % in the right order for fun, and the interval "
        "reaches down to 49 %: its scores mean nothing; train it longer or on more data"
    )
    assert doubt(auc=[0.55, 0.51, 0.6], texts=21, accuracy=0.4) is None
    assert doubt() is None
