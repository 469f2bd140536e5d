"""Gives the small Monkey's language model a layer that reads: every head looks from an answer at the words in the image, and repeats what is there.

A thousand words seen a few times each do not teach four small layers to copy. What the layer needs is already in the model: which tokens are of
words, which positions begin an answer to "What is written?", and what word a token is of, each a linear map of hidden states, found by least squares.
"""

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from foveal.data.sources.scenes import vocabulary
from foveal.data.sources.scenes.short import SHORT_TASKS
from foveal.models.losses import IGNORED
from monkey_pictures import CLASSES
from monkey_stages import Asked, Pupil, cells_of_views, collate_asked, pieces_of_classes

__all__ = ["Written", "add_reader", "collate_written"]

SHARP, LOUD = 14.0, 2.5
"""How much nearer words are looked at than anything else, and how far what is read drowns what would have been said."""
_STEADY = 15
"""The pair of a head's numbers that turns least with the position."""
_RIDGE = 1e-3


class Written(Asked):
    """Questions with the row, in the embedding table, of the word that each image token is of; 0 where it is of none."""

    def __getitem__(self, index: int) -> dict[str, object]:
        classes, _ = cells_of_views(self.shown[index % len(self.shown)][1])
        return super().__getitem__(index) | {"written": self.rows[torch.from_numpy(classes.reshape(-1)).long().clamp(min=0)]}

    @cached_property
    def rows(self) -> Tensor:
        """The row of each class: 0 for things and numbers."""
        rows = torch.zeros(CLASSES, dtype=torch.long)
        for number, piece in pieces_of_classes(self.processor.tokenizer):
            rows[number] = piece if number >= len(vocabulary()) else 0
        return rows


def collate_written(rows: list[dict], pad: int) -> dict[str, Tensor]:
    """A batch as `collate_asked` makes it, with those rows."""
    return collate_asked(rows, pad) | {"written": torch.stack([row["written"] for row in rows])}


@torch.no_grad()
def add_reader(model: Pupil, batches: Iterable[dict[str, Tensor]]) -> Pupil:
    """The model with one layer more, found from `batches` of packed questions with the tokens kept of their images and the class row of the word in
    each (`written`, rows of the embedding table, 0 where there is none)."""
    states, rows, begins, reads = [], [], [], []
    table = model.get_input_embeddings().weight
    for batch in batches:
        written = batch.pop("written")
        hidden = _before_norm(model, batch)
        kind = torch.zeros(batch["input_ids"].shape, dtype=torch.long)
        kind[batch["input_ids"] == model.config.image_token_id] = written.flatten()
        start = (batch["labels"][:, 1:] != IGNORED) & (batch["labels"][:, :-1] == IGNORED)
        task = torch.where(start, batch["tasks"][:, 1:], 0)
        real = (batch["input_ids"] != model.config.text_config.pad_token_id) | (batch["labels"] != IGNORED)
        states.append(hidden[real])
        rows.append(kind[real])
        begins.append(torch.nn.functional.pad(start, (0, 1))[real])
        reads.append(torch.nn.functional.pad(task == list(SHORT_TASKS).index("read") + 1, (0, 1))[real])
    seen, row, begin, read = (torch.cat(kind) for kind in (states, rows, begins, reads))
    is_word = row > 0
    size = seen[begin].norm(dim=-1).mean()
    normed = torch.nn.functional.rms_norm(seen, seen.shape[-1:], eps=model.config.text_config.rms_norm_eps)
    words = _fitted(normed, is_word[:, None].float(), torch.where(is_word, 8.0, 1.0))
    asks = _fitted(normed, read[:, None].float(), torch.where(begin, 20.0, 0.2))
    said = torch.nn.functional.normalize(table[row], dim=-1) * is_word[:, None] * size * LOUD
    copies = _fitted(normed, said, torch.where(is_word, 8.0, 0.2))
    return _with_layer(model, words[:, 0], asks[:, 0], copies)


def _before_norm(model: Pupil, batch: dict[str, Tensor]) -> Tensor:
    """Hidden states behind the last layer."""
    kept: list[Tensor] = []
    hook = model.language_model.model.layers[-1].register_forward_hook(lambda _, __, made: kept.append(made))
    model(**batch)
    hook.remove()
    return kept[0]


def _fitted(given: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """The linear map [dim out] that makes most of `wanted` from `given`, each row by its weight."""
    weighed = given * weights[:, None]
    ridge = _RIDGE * weights.sum() * torch.eye(given.shape[1])
    return torch.linalg.solve(weighed.T @ given + ridge, weighed.T @ wanted)


def _with_layer(model: Pupil, words: Tensor, asks: Tensor, copies: Tensor) -> Pupil:
    config = model.config
    text = config.text_config.to_dict() | {"num_hidden_layers": config.text_config.num_hidden_layers + 1}
    torch.manual_seed(0)
    made = Pupil(type(config)(**(config.to_dict() | {"text_config": text})))
    made.load_state_dict(model.state_dict(), strict=False)
    layer = made.language_model.model.layers[-1]
    assert isinstance(layer, LlamaDecoderLayer)
    attention, heads = layer.self_attn, made.config.text_config.num_attention_heads
    attention.q_proj.weight.normal_(0, 1e-3)
    attention.k_proj.weight.normal_(0, 1e-3)
    scale = np.sqrt(SHARP * np.sqrt(attention.head_dim))
    attention.q_proj.weight.unflatten(0, (heads, -1))[:, _STEADY] = asks * scale
    attention.k_proj.weight.unflatten(0, (heads, -1))[:, _STEADY] = words * scale
    attention.v_proj.weight.copy_(copies.T)
    attention.o_proj.weight.copy_(torch.eye(len(words)))
    layer.mlp.down_proj.weight.zero_()
    return made
