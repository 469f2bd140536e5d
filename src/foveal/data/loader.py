"""Batches of examples for training: conversations through a processor, or many questions about one image packed behind it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from foveal.data.images import load_picture
from foveal.data.reading import LOG, Report
from foveal.grounding import Example, Picture

__all__ = ["Encodes", "Encoding", "Packed", "pack", "packed_mask", "single_questions", "stack_packed", "train_loader"]

_IGNORED = -100


@runtime_checkable
class Encodes(Protocol):
    """What makes tensors of examples: any model's processor."""

    def encode(self, examples: Sequence[Example], *, train: bool = False, rng: np.random.Generator | None = None) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Packed:
    """Several texts with one beginning, laid behind each other: the beginning stands once, and each text reads only it and itself.

    `segments` is 0 in the beginning and k in the k-th text; `positions` are what each token would have had alone.
    """

    ids: Int[Tensor, " length"]
    labels: Int[Tensor, " length"]
    positions: Int[Tensor, " length"]
    segments: Int[Tensor, " length"]


def pack(texts: Sequence[tuple[Sequence[int], Sequence[int]]], shared: int) -> Packed:
    """Packs (ids, labels) pairs whose first `shared` tokens are the same; nothing in those is learnt.

    The loss of a packed batch is that of its texts one by one, at a fraction of the cost: an image's tokens are read once.

    >>> packed = pack([([7, 1], [-100, 1]), ([7, 2, 3], [-100, -100, 3])], shared=1)
    >>> packed.ids.tolist(), packed.segments.tolist(), packed.positions.tolist()
    ([7, 1, 2, 3], [0, 1, 2, 2], [0, 1, 1, 2])
    """
    if not texts or any(list(ids[:shared]) != list(texts[0][0][:shared]) or len(ids) < shared for ids, _ in texts):
        raise ValueError(f"{len(texts)} texts were given to be packed behind {shared} tokens; all must begin with the same {shared}")
    ids, labels = list(texts[0][0][:shared]), [_IGNORED] * shared
    positions, segments = list(range(shared)), [0] * shared
    for number, (said, learnt) in enumerate(texts, 1):
        ids += said[shared:]
        labels += learnt[shared:]
        positions += range(shared, len(said))
        segments += [number] * (len(said) - shared)
        # The first token of a text is predicted by the last of the beginning, not by the end of the text before it.
        labels[len(ids) - (len(said) - shared)] = _IGNORED
    return Packed(*(torch.tensor(row) for row in (ids, labels, positions, segments)))


def packed_mask(segments: Int[Tensor, "batch length"]) -> Bool[Tensor, "batch 1 length length"]:
    """Who reads whom: each token what stands before it in the beginning (segment 0) or in its own text. Padding (-1) reads itself."""
    here, there = segments[:, :, None], segments[:, None, :]
    length = segments.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return (((there == 0) & (here >= 0)) | (here == there)).logical_and(before)[:, None]


def stack_packed(rows: Sequence[Packed], pad: int) -> dict[str, Tensor]:
    """Packed rows as one batch, padded on the right: input_ids, labels, position_ids and a 4-D attention_mask."""
    fill = {"ids": pad, "labels": _IGNORED, "positions": 0, "segments": -1}
    columns = {name: pad_sequence([getattr(row, name) for row in rows], batch_first=True, padding_value=value) for name, value in fill.items()}
    return {
        "input_ids": columns["ids"],
        "labels": columns["labels"],
        "position_ids": columns["positions"],
        "attention_mask": packed_mask(columns["segments"]),
    }


def single_questions(example: Example) -> list[Example]:
    """One example for each question of a conversation, with its answer."""
    turns = example.turns
    return [Example(f"{example.id}/{n // 2}", example.images, turns[n : n + 2], licence=example.licence) for n in range(0, len(turns) - 1, 2)]


class Encoding:
    """Collates examples into a batch: their pictures are read, and a processor makes tensors of them, as it does for training.

    What is drawn on the way (points of a region) follows from the examples alone, so that a resumed run sees the same. An example whose
    picture cannot be read, or that the processor refuses, is left out of its batch, and `report` is told; ValueError when none is left.
    """

    def __init__(self, processor: Encodes, report: Report = LOG.warning) -> None:
        self.processor, self.report = processor, report

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        kept = shown = [one for example in examples if (one := self._tried(self._shown, example))]
        try:
            if shown:
                return self._encoded(shown)
        except ValueError:
            kept = [example for example in shown if self._tried(lambda one: self._encoded([one]), example)]
        if not kept:
            raise ValueError(f"none of the {len(examples)} examples of a batch can be used; the first is {examples[0].id!r}")
        return self._encoded(kept)

    def _tried(self, work: Callable[[Example], Any], example: Example) -> Any:
        try:
            return work(example)
        except (ValueError, OSError) as error:
            self.report(f"example {example.id!r} is left out: {error}")
            return None

    def _shown(self, example: Example) -> Example:
        images = tuple(Picture(picture.width, picture.height, pixels=load_picture(picture)) for picture in example.images)
        return replace(example, images=images)

    def _encoded(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        words = "\n".join(f"{example.id} {turn.said.text}" for example in examples for turn in example.turns)
        rng = np.random.default_rng(crc32(words.encode()))
        return dict(self.processor.encode(examples, train=True, rng=rng))


def train_loader(
    examples: Dataset, encode: Callable[[list[Example]], dict[str, Tensor]], batch: int, *, workers: int = 0, seed: int = 0
) -> DataLoader:
    """Batches of `examples` through `encode` (a processor's, with `train=True`), shuffled by `seed`, prepared by `workers` processes."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(examples, batch, shuffle=True, collate_fn=encode, num_workers=workers, generator=generator)
