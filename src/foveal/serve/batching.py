"""One worker for each model: questions that are there together are written together, in slices, and no long answer keeps a short one waiting."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread

from PIL import Image

from foveal.grounding import Example, GroundedText
from foveal.serve.metrics import Metrics
from foveal.serve.scenes import bare
from foveal.serve.settings import ServeSettings
from foveal.session import Answer, Options, Scene, Session
from foveal.session.memory import free_memory, is_short_of_memory
from foveal.session.writing import Row, Writing

__all__ = ["BusyError", "ClosedError", "Engine", "FaultError", "LateError", "MemoryShortError", "Question", "note_fault"]

_log = logging.getLogger("foveal.serve")
_CALM = 32
"""After how many slices without want of memory the batch may grow again."""


class BusyError(Exception):
    """As many questions wait as may; `after` says in how many seconds to come again."""

    def __init__(self, after: int) -> None:
        super().__init__(f"As many questions wait as may; come again in {after} {'second' if after == 1 else 'seconds'}.")
        self.after = after


class ClosedError(Exception):
    """The server is ending."""


class FaultError(Exception):
    """A fault of ours, of which no more is said."""


class LateError(Exception):
    """A question was not answered within its time."""


class MemoryShortError(Exception):
    """A question does not fit into memory, even alone."""


@dataclass(eq=False, kw_only=True)
class Question:
    """A question on its way. `tell` is called by the worker whenever there is more to say: with `streamed` after each slice that brought words or
    places that are certain, and once at the end, when `answer` or `error` is there.
    """

    scene: Scene
    example: Example
    options: Options
    tell: Callable[["Question"], None]
    streamed: bool = False
    said: GroundedText = field(default_factory=lambda: GroundedText(""))
    answer: Answer | None = None
    error: Exception | None = None
    row: Row | None = None
    left: bool = False
    """Whoever asked is gone."""
    since: float = field(default_factory=time.monotonic)
    begun: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the answer, or what came in its place, has been told."""
        return self.answer is not None or self.error is not None


class Engine:
    """The worker of one model. Its thread alone touches the model; everything else may be called from anywhere."""

    def __init__(self, name: str, session: Session, settings: ServeSettings, metrics: Metrics) -> None:
        self.name, self.session, self.settings = name, session, settings
        self._metrics = metrics
        self._wake = Condition()
        self._waiting: deque[Question] = deque()
        self._looks: deque[tuple[Image.Image, Future[Scene]]] = deque()
        self._groups: list[Writing] = []
        self._asked: dict[Row, Question] = {}
        self._room = settings.most_rows
        self._calm = 0
        self._pace = 1.0
        """Seconds from one finished question to the next, of late."""
        self._last = time.monotonic()
        self._closing = False
        self._thread = Thread(target=self._work, name=f"foveal-{name}", daemon=True)
        self._thread.start()

    # -- from anywhere ------------------------------------------------------------------------------------------------------------

    def look(self, image: Image.Image) -> "Future[Scene]":
        """Looks at an image between two slices; MemoryShortError where there is no room."""
        seen: Future[Scene] = Future()
        with self._wake:
            self._check_open(1)
            self._looks.append((image, seen))
            self._wake.notify()
        return seen

    def ask(self, questions: Sequence[Question]) -> None:
        """Takes in questions, all or none; BusyError where as many wait as may, ClosedError where the server is ending."""
        with self._wake:
            self._check_open(len(questions))
            self._waiting.extend(questions)
            self._metrics.queue.labels(self.name).set(len(self._waiting))
            self._wake.notify()

    def leave(self, questions: Sequence[Question]) -> None:
        """Nobody wants these any more: they are let go before the next slice."""
        for question in questions:
            question.left = True
        with self._wake:
            self._wake.notify()

    def close(self, within_s: float = 0.0) -> None:
        """Takes no more questions, answers those that are there within so many seconds, gives up the rest, and ends the worker."""
        with self._wake:
            self._closing = True
            self._until = time.monotonic() + within_s
            self._wake.notify()
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether the worker works, and takes questions."""
        return self._thread.is_alive() and not self._closing

    def _check_open(self, more: int) -> None:
        if not self.is_alive:
            raise ClosedError("The server is ending, and takes no more questions.")
        count = len(self._waiting) + len(self._asked) + len(self._looks)
        if count + more > self.settings.queue:
            raise BusyError(max(1, min(60, math.ceil(self._pace * min(count, self.settings.most_rows)))))

    # -- in the worker's thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._wake:
                while not (self._waiting or self._looks or self._groups or self._closing):
                    self._wake.wait()
                if self._closing and (not (self._waiting or self._looks or self._groups) or time.monotonic() > self._until):
                    break
            self._look()
            self._let_go()
            self._admit()
            for group in list(self._groups):
                self._slice(group)
        for question in [*self._waiting, *self._asked.values()]:
            self._end(question, error=ClosedError("The server ended before the answer did."))
        for _, seen in self._looks:
            seen.set_exception(ClosedError("The server ended before it looked."))

    def _look(self) -> None:
        while self._looks:
            image, seen = self._looks.popleft()
            if not seen.set_running_or_notify_cancel():
                continue
            try:
                seen.set_result(bare(self.session.look(image)))
            except Exception as error:
                seen.set_exception(self._said_of(error))

    def _let_go(self) -> None:
        """Of questions that nobody waits for, or that have waited too long."""
        late = time.monotonic() - self.settings.deadline_s
        over = [question for question in [*self._waiting, *self._asked.values()] if question.left or question.since < late]
        if not over:
            return
        gone = {question.row for question in over}
        with self._wake:
            self._waiting = deque(question for question in self._waiting if question not in over)
        for group in self._groups:
            group.keep([row for row in group.rows if row not in gone])
        self._groups = [group for group in self._groups if group.rows]
        for question in over:
            late_error = LateError(f"The answer was not there within {self.settings.deadline_s:g} seconds.")
            self._end(question, error=ClosedError("nobody waits") if question.left else late_error)

    def _admit(self) -> None:
        """Begins the answers of questions that wait, as far as there is room, many at once."""
        with self._wake:
            room = max(0, self._room - len(self._asked))
            taken = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
            self._metrics.queue.labels(self.name).set(len(self._waiting))
        most = self.settings.most_batch
        for start in range(0, len(taken), most):
            self._begin(taken[start : start + most])
        self._metrics.active.labels(self.name).set(len(self._asked))

    def _begin(self, questions: Sequence[Question]) -> None:
        """Begins answers together; where that is refused, half by half, until what is at fault stands alone."""
        try:
            begun = self.session.begin(*([getattr(question, name) for question in questions] for name in ("scene", "example", "options")))
        except Exception as error:
            if is_short_of_memory(error):
                self._make_room(questions)
            elif len(questions) == 1 or not isinstance(error, ValueError):
                for question in questions:
                    self._end(question, error=self._said_of(error))
            else:
                self._begin(questions[: len(questions) // 2])
                self._begin(questions[len(questions) // 2 :])
            return
        for question, row in zip(questions, begun.rows, strict=True):
            question.row = row
            self._asked[row] = question
        most = self.settings.most_batch
        if not any(len(group.rows) + len(begun.rows) <= most and group.join(begun) for group in self._groups):
            self._groups.append(begun)

    def _slice(self, group: Writing) -> None:
        """Writes some more of a batch, tells what there is to tell, and lets go what is done."""
        before = sum(len(row.tokens) for row in group.rows)
        self._metrics.batch.labels(self.name).observe(len(group.rows))
        try:
            group.write(self.settings.slice_tokens)
        except Exception as error:
            questions = [self._asked.pop(row) for row in group.rows]
            self._groups.remove(group)
            if is_short_of_memory(error):
                self._make_room(questions)
            else:
                for question in questions:
                    self._end(question, error=self._said_of(error))
            return
        self._calm += 1
        if self._calm > _CALM and self._room < self.settings.most_rows:
            self._calm, self._room = 0, min(self.settings.most_rows, 2 * self._room)
        self._metrics.tokens.labels(self.name).inc(max(0, sum(len(row.tokens) for row in group.rows) - before))
        for row in group.rows:
            self._tell(self._asked[row], row, group)
        group.keep([row for row in group.rows if row in self._asked])
        if not group.rows:
            self._groups.remove(group)

    def _tell(self, question: Question, row: Row, group: Writing) -> None:
        if not question.begun:
            question.begun = True
            self._metrics.first.labels(self.name).observe(time.monotonic() - question.since)
        if row.answer is not None:
            self._end(question, answer=row.answer)
        elif question.streamed:
            said = group.so_far(row)
            more = said.text.startswith(question.said.text) and (len(said.text), len(said.spans)) > (
                len(question.said.text),
                len(question.said.spans),
            )
            if more:
                question.said = said
                question.tell(question)

    def _end(self, question: Question, answer: Answer | None = None, error: Exception | None = None) -> None:
        if question.row is not None:
            self._asked.pop(question.row, None)
        question.answer, question.error = answer, error
        reason = answer.finish_reason if answer is not None else "gone" if question.left else type(error).__name__
        self._metrics.answers.labels(self.name, reason).inc()
        self._metrics.active.labels(self.name).set(len(self._asked))
        now = time.monotonic()
        self._pace, self._last = 0.9 * self._pace + 0.1 * min(5.0, now - self._last), now
        if not question.left:
            question.tell(question)

    def _make_room(self, questions: Sequence[Question]) -> None:
        """After want of memory: these begin again, in their turn, and half as many at once as before; one that was alone is given up."""
        self._metrics.memory.labels(self.name).inc()
        active = len(questions) + len(self._asked)
        self._room, self._calm = max(1, active // 2), 0
        for question in questions:
            question.row = None
        free_memory()
        if active == 1:
            self._end(questions[0], error=MemoryShortError("The question does not fit into this machine's memory; a smaller image or less text may."))
            self._room = self.settings.most_rows
            return
        with self._wake:
            self._waiting.extendleft(reversed(questions))

    def _said_of(self, error: Exception) -> Exception:
        """What is told of an error: refusals and want of memory as they are; a fault of ours is noted without what was asked."""
        if is_short_of_memory(error):
            self._metrics.memory.labels(self.name).inc()
            return MemoryShortError("There is not enough memory on this machine to look at the image.")
        if isinstance(error, ValueError):
            return error
        note_fault(error, model=self.name)
        return FaultError("This is a fault of the server's, not of what was asked.")


def note_fault(error: BaseException, **about: str) -> None:
    """Writes down what went wrong and where, and nothing of what an error says, for it may quote what was asked."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = "" if frame is None else f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
    _log.error("fault", extra={**about, "error": type(error).__name__, "place": place})
