"""Laws of batches: questions packed behind one image have the loss they have alone."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from foveal.data.loader import pack, packed_mask, single_questions, stack_packed, train_loader
from foveal.geometry import Box
from foveal.grounding import Example, GroundedText, Picture, Turn


def test_a_packed_token_reads_the_beginning_and_its_own_text_only() -> None:
    mask = packed_mask(torch.tensor([[0, 0, 1, 1, 2, -1]]))[0, 0]
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_texts_that_begin_differently_are_not_packed() -> None:
    with pytest.raises(ValueError, match="same 2"):
        pack([([1, 2, 3], [1, 2, 3]), ([1, 4, 3], [1, 4, 3])], shared=2)


class Some(Dataset):
    def __init__(self, rows: list[Example]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        return self.rows[index]


def about(pixels: Image.Image) -> Example:
    said = ["What is ", Box(0.1, 0.2, 0.5, 0.6), "?"]
    turns = (
        Turn("user", GroundedText.join(*said)),
        Turn("assistant", GroundedText("a cat.")),
        Turn("user", GroundedText("Where is the dog?")),
        Turn("assistant", GroundedText("the dog.")),
    )
    return Example("one", (Picture(*pixels.size, pixels=pixels),), turns)


def test_packed_questions_have_the_loss_they_have_alone(ferret: tuple) -> None:
    model, processor = ferret
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8))
    asked = single_questions(about(image))
    written = [processor.write_example(example, train=True)[0] for example in asked]
    alone, counts = [], []
    for example in asked:
        batch = processor.encode([example], train=True, rng=np.random.default_rng(1))
        alone.append(model(**batch).loss)
        counts.append(int((batch["labels"][:, 1:] >= 0).sum()))
    shared = len(written[0].ids) - written[0].ids[::-1].index(processor.image_token_id)
    packed = stack_packed([pack([(one.ids, one.labels) for one in written], shared)], pad=0)
    first = processor.encode(asked[:1], train=True, rng=np.random.default_rng(1))
    together = model(**{name: value for name, value in first.items() if name not in packed}, **packed).loss
    expected = sum(loss * count for loss, count in zip(alone, counts, strict=True)) / sum(counts)
    torch.testing.assert_close(together, expected, atol=1e-5, rtol=1e-5)


def test_the_order_of_a_loader_is_fixed_by_its_seed() -> None:
    examples = Some([Example(str(number)) for number in range(10)])
    orders = [[row for batch in train_loader(examples, lambda rows: [row.id for row in rows], 3, seed=seed) for row in batch] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])
