"""The prompts of a study: distinct, limited, with their split."""

from collections.abc import Sequence

import pandas as pd

from polyalign.errors import InputError
from polyalign.preferences import first_prompts
from polyalign.tables import prompt_id, split_of


def prompt_table(
    sources: Sequence[tuple[str, str]], *, limit: int | None, test_share: float
) -> pd.DataFrame:
    """Distinct prompts of all sources.

    A limit takes the same number from each source, as far as they last, in the order of the files.

    Args:
        sources: pairs of path (or hub id) and split.
        limit: most prompts in all (None: no limit).
        test_share: share of the prompts on which policies are judged, in (0, 1).

    Returns:
        `prompt_id`, `prompt`, `split` (`fit` or `test`, by hash of the text), sorted by id.

    Raises:
        InputError: if a source cannot be read, or one of the splits would be empty.
    """
    by_source = [list(dict.fromkeys(first_prompts(path, split))) for path, split in sources]
    chosen: dict[str, None] = {}
    for rank in range(max(map(len, by_source), default=0)):
        chosen.update(dict.fromkeys(texts[rank] for texts in by_source if rank < len(texts)))
        if limit is not None and len(chosen) >= limit:
            break
    texts = list(chosen)[:limit]
    frame = pd.DataFrame(
        {
            "prompt_id": [prompt_id(text) for text in texts],
            "prompt": texts,
            "split": [split_of(text, test_share) for text in texts],
        }
    )
    for split in ("fit", "test"):
        if not (frame["split"] == split).any():
            raise InputError(
                f"{', '.join(path for path, _ in sources)}: no prompt falls into the {split} split "
                f"({len(frame)} prompts, prompts.test_share {test_share}); give more prompts, or "
                "change prompts.test_share"
            )
    return frame.sort_values("prompt_id").reset_index(drop=True)
