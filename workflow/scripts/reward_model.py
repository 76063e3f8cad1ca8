"""Train a reward model from preference pairs, or a classifier from labelled texts."""

from polyalign.job import Job, run
from polyalign.manifest import write_manifest
from polyalign.preferences import read_pairs
from polyalign.tables import read_table
from polyalign.train.classifier import train_classifier
from polyalign.train.common import Training
from polyalign.train.reward import train_reward


def main(job: Job) -> None:
    settings, output = job.settings, job.outputs["model"]
    made = settings["training"]
    options = {
        "work": job.work,
        "epochs": made["epochs"],
        "training": Training(made["learning_rate"], made["batch_size"], seed=settings["seed"]),
    }
    if settings["labels"]:
        texts = read_table(job.input("labels"))
        record = train_classifier(settings["source"], texts, output, **options)
    else:
        train, test = (read_pairs(job.input(split)).frame for split in ("train", "test"))
        record = train_reward(
            settings["source"], train, test, output, template=settings["template"], **options
        )
    write_manifest(output, job.outputs["manifest"], settings, record)


run(main)
