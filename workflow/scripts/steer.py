"""Move λ of one guided policy until its answers to prompts of the fit realise its palette."""

from typing import Any

from polyalign.data.tables import read_table
from polyalign.models.encoding import pad_with_known
from polyalign.models.load import load_causal_lm, load_tokenizer
from polyalign.models.value_model import load_value_model
from polyalign.palettes.lam import read_lam
from polyalign.rewards import load_all
from polyalign.runtime.files import write_json
from polyalign.runtime.job import Job, run
from polyalign.sampling.steering import Drawn, steered
from polyalign.settings import SamplingRule


def main(
    job: Job,
    *,
    policy: str,
    model: dict[str, Any],
    value_model: str,
    values: dict[str, dict[str, Any]],
    template: str,
    sampling: dict[str, Any],
    batch_size: int,
    seed: int,
) -> None:
    palette = read_lam(job.input("palette"))
    base = load_causal_lm(**model)
    tokenizer = load_tokenizer(model["source"], revision=model["revision"])
    pad_with_known(tokenizer, base)
    measure = Drawn(
        load_value_model(value_model, base),
        base,
        tokenizer,
        load_all(values),
        read_table(job.input("prompts")).query("split == 'fit'")["prompt"].tolist(),
        policy=policy,
        template=template,
        sampling=SamplingRule(**sampling),
        batch_size=batch_size,
        seed=seed,
    )
    record = steered(palette, measure)
    print(record["closed_loop"].get("stopped", "the base model meets the palette"))
    write_json(job.outputs["lam"], record)


if __name__ == "__main__":
    run(main)
