"""Draw one figure, and write what it shows in a sentence or two for its caption."""

from typing import Any

from polyalign import plots
from polyalign.plots import data
from polyalign.runtime.files import write_text
from polyalign.runtime.job import Job, run


def main(job: Job, *, figure: str, policy: str | None, shown: dict[str, Any]) -> None:
    module = plots.module(figure)
    read = data.load(**shown, policy=policy, inputs=job.inputs)
    module.draw(read, [job.outputs["pdf"], job.outputs["png"]])
    write_text(job.outputs["finding"], read.caption(module.finding(read)))


if __name__ == "__main__":
    run(main)
