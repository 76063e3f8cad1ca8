"""A judge of pairs votes: on each pair of answers twice, in both orders."""

import pandas as pd

from polyalign.data.chats import dialogue
from polyalign.data.votes import Choice, Vote
from polyalign.errors import InputError
from polyalign.rewards.judging import Given, Judge, NoVerdictError, PairJudge
from polyalign.rewards.verdicts import preferred

VOTES: dict[str, Choice] = {"A": "first", "B": "second", "tie": "tie"}


def votes_of(
    compared: pd.DataFrame, judge: PairJudge, policy: str, opponent: str, seed: int
) -> list[Vote]:
    """The votes of a judge, the policy's answer first and then the opponent's.

    Equal answers are a tie in both orders, without a call. A reply that cannot be read is no vote.

    Args:
        compared: the pairs, of `polyalign.evaluate.judged.pairs`.
        judge: the judge, with its folder.
        policy: the policy.
        opponent: its opponent.
        seed: the study's.

    Returns:
        At most two votes per pair, in the order of the pairs.

    Raises:
        InputError: if the judge cannot be asked, `max_calls` is reached, or no reply can be read;
            its answers are kept.
    """
    orders = []
    for prompt, ours, theirs in compared[
        ["prompt", "response_policy", "response_opponent"]
    ].itertuples(index=False):
        sides = (policy, ours), (opponent, theirs)
        orders += [(prompt, sides[0], sides[1]), (prompt, sides[1], sides[0])]
    questions = [
        judge.rubric.format(prompt=dialogue(prompt), first=first[1], second=second[1])
        for prompt, first, second in orders
        if first[1] != second[1]
    ]
    said = iter(Judge(judge).verdicts(questions, _read) if questions else ())
    votes, unread = [], 0
    for prompt, first, second in orders:
        found = ("", "tie") if first[1] == second[1] else next(said)
        if isinstance(found, NoVerdictError):
            unread += 1
            continue
        time, vote = found
        votes.append(Vote(time, prompt, *first, *second, VOTES[vote], "", seed))
    if not votes:
        raise InputError(
            f"the judge {judge.model} gave no vote on {len(compared)} pairs of answers; expected "
            f"replies that end with A, B or tie; see the answers in {judge.folder}, and change "
            "evaluation.judge.rubric"
        )
    print(f"{len(compared)} pairs, {len(questions)} questions, {unread} replies without a vote")
    return votes


def _read(given: Given) -> tuple[str, str]:
    return given.time, preferred(given.text)
