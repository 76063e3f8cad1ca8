"""Train a reward model from preference pairs, or a classifier from labelled texts."""

from polyalign.job import Job, is_main_process, run
from polyalign.manifest import write_manifest, write_metrics
from polyalign.preferences import read_pairs
from polyalign.tables import read_table
from polyalign.train.classifier import train_classifier
from polyalign.train.options import training
from polyalign.train.reward import train_reward


def main(job: Job) -> None:
    settings, outputs = job.settings, job.outputs
    made = settings["training"]
    source = {"base": settings["source"], "revision": settings["revision"]}
    options = {
        "work": job.work,
        "epochs": made["epochs"],
        "training": training(
            made, settings["seed"], made["dtype"], settings["device"], parts=job.parts
        ),
    }
    if settings["pairs"] is None:
        texts = read_table(job.input("labels"))
        record = train_classifier(**source, examples=texts, output=outputs["model"], **options)
    else:
        pairs = settings["pairs"]
        read = {}
        for split in ("train", "test"):
            # A data set of the hub is no input: its id stands in the settings.
            path = str(job.inputs.get(split, [pairs["source"]])[0])
            read[split] = read_pairs(**{**pairs, "source": path, "split": split})
        record = train_reward(
            **source,
            pairs_train=read["train"].frame,
            pairs_test=read["test"].frame,
            output=outputs["model"],
            template=settings["template"],
            **options,
        )
        record["read"] = {split: pairs.counts for split, pairs in read.items()}
    if is_main_process():
        write_metrics(outputs["model"], outputs["metrics"])
        write_manifest(outputs["model"], outputs["manifest"], settings, record)


run(main)
