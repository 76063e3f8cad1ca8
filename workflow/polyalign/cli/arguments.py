"""What `polyalign check` and `polyalign run` are told of a study: config, changes, targets."""

import argparse
import re
from collections.abc import Sequence

from polyalign.errors import InputError
from polyalign.plan.calls import Given
from polyalign.study import Study, load

CONFIGS = (".yaml", ".yml")


def add_study(parser: argparse.ArgumentParser, words: str, meaning: str) -> None:
    """Add the arguments that `read_words` reads.

    Args:
        parser: the command's parser.
        words: what may stand on its command line, for its help.
        meaning: what that means.
    """
    parser.add_argument("words", nargs="*", metavar=words, help=meaning)
    parser.add_argument(
        "--config", "--configfile", help="the study's config (default: config.yaml)"
    )


def read_words(words: Sequence[str], config: str | None) -> tuple[Given, list[str]]:
    """The study, and the targets, that a command line names in any order.

    Args:
        words: a config (`my.yaml`), changes to it (`seed=2`), and targets.
        config: what `--config` names.

    Raises:
        InputError: if two configs are named.
    """
    configs = [word for word in words if word.endswith(CONFIGS)]
    changes = [word for word in words if re.match(r"[A-Za-z_][\w-]*=", word)]
    targets = [word for word in words if word not in configs and word not in changes]
    configs = ([config] if config else []) + configs
    if len(configs) > 1:
        raise InputError(
            f"two configs are named: {', '.join(configs)}; expected one; call once for each"
        )
    return Given(configs[0] if configs else "config.yaml", changes), targets


def load_study(given: Given) -> Study:
    """The study.

    Raises:
        InputError: naming every fault of the config, or a change that is not understood.
    """
    if not given.changes:
        return load(given.config)
    from snakemake.cli import parse_config

    try:
        changes = parse_config(given.changes)
    except ValueError as fault:
        raise InputError(
            f"{' '.join(given.changes)}: {fault}; expected `key=value`, such as `seed=2`"
        ) from fault
    return load(given.config, changes)
