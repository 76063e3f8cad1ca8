"""Train a reward model from preference pairs, or a classifier from labelled texts."""

from typing import Any

from polyalign.data.labels import labelled_texts, resampled
from polyalign.data.packed import is_packed
from polyalign.data.pair_counts import said_of
from polyalign.data.preferences import read_pairs
from polyalign.data.tables import read_table
from polyalign.families.options import LabelTable, RewardTraining
from polyalign.models.manifest import write_manifest, write_metrics
from polyalign.models.sources import CARD
from polyalign.runtime.files import write_json
from polyalign.runtime.job import Job, is_main_process
from polyalign.runtime.job import run as run_job
from polyalign.train.classifier import train_classifier
from polyalign.train.inputs import Run
from polyalign.train.reward import train_reward


def main(
    job: Job,
    *,
    name: str,
    source: str,
    revision: str | None,
    template: str,
    seed: int,
    device: str,
    pairs: dict[str, Any] | None,
    labels: dict[str, Any] | None,
    resample: int | None,
    training: dict[str, Any],
) -> None:
    outputs = job.outputs
    if job.work is None:
        raise TypeError("a training job needs a folder for its checkpoints (--work)")
    section = RewardTraining(**training)
    run = Run(
        seed=seed + (resample or 0),
        dtype=section.dtype,
        device=device,
        work=job.work,
        microbatch_factor=job.microbatch_factor,
    )
    if labels is not None:
        table = LabelTable(**labels)
        texts = labelled_texts(read_table(table.path), table)
        if resample is not None:
            texts = resampled(texts, resample)
        record = train_classifier(
            source, texts, table, section, run, outputs["model"], revision=revision
        )
    elif pairs is not None:
        read = {}
        for split in ("train", "test"):
            # A data set of the hub is not an input: its id is in the settings.
            path = str(job.inputs.get(split, [pairs["source"]])[0])
            path = pairs["source"] if is_packed(pairs["source"]) else path
            read[split] = read_pairs(**{**pairs, "source": path, "split": split})
            for sentence in said_of(read[split].counts):
                print(f"{split}: {sentence}", flush=True)
        train = read["train"].frame
        if resample is not None:
            train = train.sample(frac=1, replace=True, random_state=resample)
        record = train_reward(
            source,
            train,
            read["test"].frame,
            section,
            run,
            outputs["model"],
            template=template,
            revision=revision,
        )
        record["read"] = {split: found.counts for split, found in read.items()}
    record["card"]["trained_on"] = {
        "base": source,
        "data": labels["path"] if labels is not None else pairs and pairs["source"],
        "number": record["counts"]["train"],
        "epochs": section.epochs,
        "learning_rate": section.learning_rate,
        "seed": run.seed,
        "resample": resample,
    }
    if is_main_process():
        write_json(outputs["model"] / CARD, {"name": name, **record["card"]})
        write_metrics(outputs["model"], outputs["metrics"])
        write_manifest(outputs["model"], outputs["manifest"], job.settings, record, job.inputs)


if __name__ == "__main__":
    run_job(main)
