"""Ending a run when the system or the person asks for it: after the step under way, with a checkpoint."""

import signal
import threading
from types import FrameType, TracebackType

import torch
from torch import distributed
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

__all__ = ["StopWhenAsked"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopWhenAsked(TrainerCallback):
    """While it is entered, SIGTERM and Ctrl-C end the run of a trainer after its step, with a checkpoint; a second one interrupts it.

    With several processes all end at the same step as soon as one is asked. Handlers can be set in the main thread only; elsewhere, nothing changes.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.asked: int | None = None
        self._before: dict[int, object] = {}
        trainer.add_callback(self)

    def __enter__(self) -> "StopWhenAsked":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            raise KeyboardInterrupt
        self.asked = number

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> TrainerControl:
        """Asks for a checkpoint and for the end, where any process was asked."""
        asked = self.asked or 0
        if args.world_size > 1 and distributed.is_initialized():
            together = torch.tensor(asked, device=args.device)
            distributed.all_reduce(together, distributed.ReduceOp.MAX)
            asked = int(together)
        if asked:
            self.asked = asked
            control.should_save = control.should_training_stop = True
        return control

    def exit_if_asked(self) -> None:
        """SystemExit as a shell counts signals, so that nothing that follows the run takes it for finished."""
        if self.asked is not None:
            raise SystemExit(128 + self.asked)
