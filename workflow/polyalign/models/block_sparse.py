"""Block-sparse attention, as in BigBird: its own length decides how a text is read."""

from typing import Any


def block_sparse_above(model: Any) -> int | None:
    """Tokens up to which a model reads a text with full attention, and above them block-sparse.

    None for a model without block-sparse attention, such as the decoder of one with it.
    """
    config = model.config
    if getattr(config, "attention_type", None) != "block_sparse" or _chooser(model) is None:
        return None
    above: int = (5 + 2 * config.num_random_blocks) * config.block_size
    return above


def attend_by_length(model: Any) -> None:
    """Let the length of each batch decide the attention that it is read with.

    The classes of transformers turn to full attention at the first short text, and keep it: the
    score of a long text would depend on what was read before.
    """
    above, chooser = block_sparse_above(model), _chooser(model)
    if above is None or chooser is None:
        return

    def choose(part: Any, places: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = (named.get("input_ids"), named.get("inputs_embeds"), *places[:1])
        tokens = next(one for one in given if one is not None)
        part.set_attention_type("block_sparse" if tokens.shape[1] > above else "original_full")

    chooser.register_forward_pre_hook(choose, with_kwargs=True)


def _chooser(model: Any) -> Any:
    """The part of a model that chooses the attention of all its layers; None if there is none."""
    return next((part for part in model.modules() if hasattr(part, "set_attention_type")), None)
