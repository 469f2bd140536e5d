"""Answers of a model whose every word has a place: captions and answers written together, everything told at once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from foveal.geometry import Region
from foveal.grounding import Example, GroundedText, Turn
from foveal.grounding.wordings.pixel_llm import EVERYTHING, ask_object, phrase_of, say_everything
from foveal.models.pixel_llm import PixelSight
from foveal.models.pixel_llm.decoding import forbid
from foveal.models.pixel_llm.ranking import fused_scores
from foveal.models.pixel_llm.writer import Draft
from foveal.session.answers import Answer, Options
from foveal.session.certain import up_to
from foveal.session.finding import asked_of, batch_of, detected, placed, prompt_of, read, tied_answer
from foveal.session.writing import Row, Writing, choose, cut_at

__all__ = ["Placing"]


@dataclass(eq=False)
class _Line:
    """A text that is written for a row: the row's own answer, or the words for one of the things it tells of."""

    row: Row
    limit: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    points: list[Tensor] = field(default_factory=list)
    """Of the token that begins the text and of each token: where it is."""
    scores: list[float] = field(default_factory=list)
    said: Answer | None = None
    region: Region | None = None
    """The thing that is told of, and how sure the detector is; once words are there, how sure it is of both."""
    score: float | None = None


class Placing(Writing):
    """Answers to the last turn of each question about one image, all of a kind as one batch.

    Words are written, each with its place. An expression whose place or outline is asked for (`Verbs.location`, `Verbs.segmentation`) is not: it
    is read, and answered by its own words with a box, or a mask. For everything (`Verbs.dense_captions`) things are detected, and words written
    of each. ValueError when one of the questions does not fit the model, before any word is written.
    """

    @torch.no_grad()
    def __init__(self, scenes: Sequence[Any], examples: Sequence[Example], options: Sequence[Options]) -> None:
        self._model, self._processor = scenes[0].session.model, scenes[0].session.processor
        self.rows = [Row(scene=scene, example=example, options=one) for scene, example, one in zip(scenes, examples, options, strict=True)]
        self._texts: dict[Row, list[_Line]] = {}
        self._live: list[_Line] = []
        self._draft: Draft | None = None
        self._logits = torch.zeros(0, 0)
        found = [row for row in self.rows if phrase_of(asked_of(row.example)) is not None]
        told = [row for row in self.rows if asked_of(row.example) == EVERYTHING]
        written = [row for row in self.rows if row not in found and row not in told]
        for row in written:
            self._texts[row] = [_Line(row, self._limit(row), row.tokens, row.logprobs)]
        asks = [row.example for row in written]
        batch_of(asks, self._model, self._processor) if asks else None  # what does not fit is refused before anything is looked for
        for scene in dict.fromkeys(row.scene for row in found):
            about = [row for row in found if row.scene is scene]
            answers = read([row.example for row in about], self._model, self._processor, scene.sight)
            for row, answer in zip(about, answers, strict=True):
                row.answer = cut_at(answer, row.options.stop)
        for row in told:
            regions, scores = detected(row.example, self._model, self._processor, row.scene.sight)
            self._texts[row] = [_Line(row, self._limit(row), region=region, score=score) for region, score in zip(regions, scores, strict=True)]
            asks += [replace(row.example, turns=(Turn("user", ask_object(region)),)) for region in regions]
            self._settle(row)
        self._live = [line for row in (*written, *told) for line in self._texts[row]]
        if self._live:
            self._begin(asks)

    def _begin(self, asks: Sequence[Example]) -> None:
        batch, writer = batch_of(asks, self._model, self._processor), self._model.writer
        scenes = list(dict.fromkeys(line.row.scene for line in self._live))
        batch["image"] = torch.tensor([scenes.index(line.row.scene) for line in self._live], device=self._model.device)
        for line, length in zip(self._live, (batch["context"] != self._processor.pad_id).sum(1).tolist(), strict=True):
            line.row.prompt += length
        visual = self._model.encode_prompts(PixelSight.together([scene.sight for scene in scenes]), **prompt_of(batch))
        self._draft = writer.begin(visual, batch["context"])
        self._read(torch.full((len(asks), 1), writer.bos_token_id, device=visual.device))

    @torch.no_grad()
    def write(self, tokens: int) -> None:
        """Writes at most so many more tokens of each open row."""
        for _ in range(tokens):
            if not self._live:
                break
            self._say()
            self._go_on_with([line for line in self._live if line.said is None])
            if self._live:
                self._read(torch.tensor([line.tokens[-1:] for line in self._live], device=self._logits.device))
        for row in self.stopped(self.rows):
            row.answer = self._so_far(row)
            self._go_on_with([line for line in self._live if line.row is not row])

    def keep(self, rows: Collection[Row]) -> None:
        """Lets all rows go but these."""
        self.rows = [row for row in self.rows if row in rows]
        self._texts = {row: lines for row, lines in self._texts.items() if row in rows}
        self._go_on_with([line for line in self._live if line.row in rows])

    def join(self, other: Writing) -> bool:
        """Takes in the rows of another; False where a cache does not keep all that was read."""
        if not isinstance(other, Placing) or other._model is not self._model:
            return False
        if self._live and other._live:
            assert self._draft is not None and other._draft is not None
            if not self._draft.join(other._draft):
                return False
            self._logits = torch.cat([self._logits, other._logits])
        elif other._live:
            self._draft, self._logits = other._draft, other._logits
        self.rows, self._live, self._texts = self.rows + other.rows, self._live + other._live, self._texts | other._texts
        return True

    def so_far(self, row: Row) -> GroundedText:
        """The beginning of a row's answer that nothing said later can change: whole words, and of several things those that are told."""
        if row.answer is not None:
            return row.answer.said
        lines = self._texts[row]
        if lines[0].region is None:
            said = self._so_far(row).said
            return up_to(said, len(said.text[: max(said.text.rfind(" "), 0)].rstrip()))
        done = next((number for number, line in enumerate(lines) if line.said is None), len(lines))
        return say_everything([tied_answer(line.said.text, line.region, line.score).said for line in lines[:done] if line.said])

    def _limit(self, row: Row) -> int:
        return min(row.options.max_new_tokens, self._processor.text_length - 1)

    def _read(self, ids: Tensor) -> None:
        """Reads the last token of each line, and notes where it is."""
        assert self._draft is not None
        logits, features = self._model.writer.step(self._draft, ids)
        self._logits = logits.float()
        if self._model.config.forbid_repeats:
            self._logits = forbid(self._logits, ids[:, 0])
        points, sure = placed(self._model, features)
        if points is not None:
            for line, point in zip(self._live, points[:, 0].float().cpu(), strict=True):
                line.points.append(point)
        if sure is not None:
            for line, score in zip(self._live, sure[:, 0].tolist(), strict=True):
                line.scores.append(score)

    def _say(self) -> None:
        """The next token of each line; one that is at its end is done."""
        said = choose(self._logits, [line.row for line in self._live])
        logprobs = self._logits.log_softmax(-1).gather(1, said[:, None])[:, 0].tolist()
        for line, token, logprob in zip(self._live, said.tolist(), logprobs, strict=True):
            ended = token == self._model.writer.eos_token_id
            if not ended and len(line.tokens) < line.limit:
                line.tokens.append(token)
                line.logprobs.append(logprob)
                continue
            line.said = self._answer(line, ended=ended)
            if line.score is not None and self._model.config.fuses_scores:
                line.score = _with_words(line.score, [*line.logprobs, logprob] if ended else line.logprobs, len(line.tokens))
            self._settle(line.row)

    def _settle(self, row: Row) -> None:
        """The row's answer, where all of it has been said."""
        lines = self._texts[row]
        if not all(line.said for line in lines) or row.answer is not None:
            return
        row.answer = self._so_far(row)

    def _so_far(self, row: Row) -> Answer:
        """What has been said of a row, up to where it is to stop."""
        lines = self._texts[row]
        if lines and lines[0].region is None:
            return cut_at(lines[0].said or self._answer(lines[0], ended=False), row.options.stop)
        done = [line for line in lines if line.said]
        row.tokens = [token for line in done for token in line.tokens]
        row.logprobs = [logprob for line in done for logprob in line.logprobs]
        whole = say_everything([tied_answer(line.said.text, line.region, line.score).said for line in done if line.said])
        return cut_at(Answer(whole, "stop", whole.text), row.options.stop)

    def _answer(self, line: _Line, *, ended: bool) -> Answer:
        ids = [[self._model.writer.bos_token_id, *line.tokens]]
        points = torch.stack(line.points)[None] if line.points else None
        [said] = self._processor.decode(ids, points=points, scores=torch.tensor([line.scores]) if line.scores else None)
        return Answer(said, "stop" if ended else "length", said.text)

    def _go_on_with(self, lines: list[_Line]) -> None:
        if len(lines) == len(self._live):
            return
        kept = torch.tensor([number for number, line in enumerate(self._live) if line in lines], device=self._logits.device, dtype=torch.long)
        self._live = lines
        if self._draft is not None:
            self._draft.select(kept)
            self._draft.trim()
            self._logits = self._logits[kept]


def _with_words(score: float, logprobs: Sequence[float], words: int) -> float:
    """The score of a box and of its words together; theirs is that of `write`."""
    return float(fused_scores(torch.tensor(score), torch.tensor(sum(logprobs) / max(words, 1))))
