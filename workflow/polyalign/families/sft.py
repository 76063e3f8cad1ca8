"""`sft`: distilled selection: fine-tuning on the base model's candidates, weighted by λ·r."""

from dataclasses import replace

from pydantic import Field

from polyalign.families import Family, Policy
from polyalign.families.options import Palettes, TrainingOptions, palette_policies
from polyalign.settings import Count, Positive


class Sft(TrainingOptions):
    """How one policy is trained."""

    learning_rate: Positive = Field(default=1.0e-5, description="Peak step size of the optimiser.")
    epochs: Count = Field(
        default=3,
        description="Most passes over the candidates; the model is that of the checkpoint that "
        "candidates of held-out prompts like best.",
    )
    batch_size: Count = Field(default=128, description="Candidates in one step.")

    @property
    def judges_checkpoints(self) -> bool:
        """They are judged on held-out prompts."""
        return True


class Settings(Sft, Palettes):
    """Fine-tune the base model on its own candidates, each weighted by exp(λ·r) over the mean of
    the other candidates of its prompt, with λ for training: selection, distilled into a model. The
    optimum is p0 exp(λ·r). Nothing is sampled or scored while it trains.

    Reference: Peters and Schaal: Reinforcement learning by reward-weighted regression for
    operational space control. ICML 2007. doi:10.1145/1273496.1273590.
    """


def policies(settings: Settings) -> list[Policy]:
    """One policy per palette, with the palette's name."""
    made = palette_policies("sft", settings)
    return [replace(policy, uses_pool=True, reads="candidates") for policy in made]


FAMILY = Family("train", "polyalign.train.sft:train", Settings, policies)
