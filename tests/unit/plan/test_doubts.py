"""Warnings of what a config can mean, and probably does not."""

from polyalign.plan.doubts import doubts
from polyalign.study import load


def test_a_reward_model_that_no_value_uses(text: str, write) -> None:
    (found,) = doubts(load(write(text)))
    assert found.startswith("reward_models.helpful: it is trained, but no value uses it")
    used = "kind: log_likelihood, model: results/small/models/reward/helpful"
    assert doubts(load(write(text.replace("kind: log_likelihood", used)))) == []


def test_results_of_another_study(text: str, write, tmp_path) -> None:
    (tmp_path / "results/other/models/reward/humor").mkdir(parents=True)
    copied = text.replace("model: results/small/", "model: results/other/")
    found = doubts(load(write(copied)))
    assert len(found) == 3
    assert found[0].startswith("reward_models.humor: it is trained, but no value uses it")
    assert found[2].startswith("values.humor.model: 'results/other/models/reward/humor' belongs to")
    assert found[2].endswith("write 'results/small/models/reward/humor'")


def test_a_name_on_the_hub_that_is_nearly_a_folder(text: str, write, tmp_path) -> None:
    (tmp_path / "tiny_classifier").mkdir()
    hub = text.replace("model: results/small/models/reward/humor", "model: tiny_classifer")
    hub = hub.replace("{labels: data/humor.csv}", "{labels: data/humor.csv, source: gpt2}")
    found = [one for one in doubts(load(write(hub))) if "on the hub" in one]
    (one,) = found
    assert one.startswith("values.humor.model: 'tiny_classifer' is not here")
    assert one.endswith("if 'tiny_classifier' is meant, write that")


def test_a_figure_of_mixtures_needs_data_sets_that_are_called_like_values(text: str, write) -> None:
    def found(edited: str, figure: str) -> list[str]:
        study = load(write(edited)).model_copy(update={"plots": [figure]})
        return [one for one in doubts(study) if one.startswith("plots: ")]

    assert found(text, "radar") == []
    (one,) = found(text, "mixtures")
    assert "the figure mixtures cannot be drawn: fewer than two preference data sets" in one
    named = text
    for name, value in (("helpful", "humor"), ("harmless", "diversity")):
        named = named.replace(f"{name}: {{path", f"{value}: {{path").replace(
            f"{name}: 0.", f"{value}: 0."
        )
    assert found(named.replace("preferences: helpful", "preferences: humor"), "mixtures") == []
