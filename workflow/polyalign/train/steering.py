"""The closed loop in a training: its state in the checkpoints, its early end, its record."""

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from polyalign.train.closed_loop import ClosedLoop


class Steering(TrainerCallback, ExportableState):
    """Ends a training when its closed loop has arrived; the loop's state is in every checkpoint."""

    def __init__(self, loop: ClosedLoop) -> None:
        self.loop = loop

    def state(self) -> dict[str, Any]:
        """The state of the loop; the trainer writes it with its own."""
        return self.loop.state()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Go on from the state of the checkpoint, if there is one."""
        # The trainer has it by the names of the callbacks, which its annotation does not say.
        states: Any = state.stateful_callbacks
        self.loop.restore(states[type(self).__name__])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End the training if the levels are met."""
        if self.loop.arrived:
            control.should_training_stop = True


def steered(loop: ClosedLoop | None) -> dict[str, Any]:
    """What a record says of a training whose λ was steered: `closed_loop`."""
    return {} if loop is None else {"closed_loop": loop.record()}


class Measured(Steering):
    """Steering by what a step has measured, at its end."""

    def __init__(self, loop: ClosedLoop, steer: Callable[[ClosedLoop], None]) -> None:
        super().__init__(loop)
        self.steer = steer

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Steer, and end the training if the levels are met."""
        self.steer(self.loop)
        super().on_step_end(args, state, control, **kwargs)
