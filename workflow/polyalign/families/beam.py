"""`beam`: beam search in the base model, as a baseline."""

from typing import Annotated

from pydantic import AfterValidator, Field

from polyalign.families import Family, Policy
from polyalign.settings import Strict, unique


class Settings(Strict):
    """Answer with the likeliest text that a beam search finds in the base model, for comparison.
    No reward and no λ has a part in it. Such a policy has one answer to a prompt, so its KL to the
    base model is minus the log-probability of that answer: it is far from p0, which samples.

    Reference: Graves: Sequence transduction with recurrent neural networks. arXiv 1211.3711, 2012.
    """

    beams: Annotated[
        list[Annotated[int, Field(ge=2)]], Field(min_length=1), AfterValidator(unique)
    ] = Field(
        description="Texts that a search keeps at every token; each number becomes a policy, such "
        "as `beam/beams-4`."
    )


def policies(settings: Settings) -> list[Policy]:
    """One policy per number of beams."""
    return [Policy("beam", f"beams-{number}", {"beams": number}) for number in settings.beams]


FAMILY = Family("sample", "polyalign.sampling.beams:engine", Settings, policies)
