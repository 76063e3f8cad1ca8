"""Write the config as this study used it."""

from typing import Any

from polyalign.runtime.files import write_json
from polyalign.runtime.job import Job, run


def main(job: Job, **config: Any) -> None:
    write_json(job.outputs["config"], config)


if __name__ == "__main__":
    run(main)
