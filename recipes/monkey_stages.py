"""The small Monkey's later stages: the resampler alone over kept features, then the language model on questions over kept tokens."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import LlamaConfig, PreTrainedTokenizerFast

from foveal.data.loader import Packed, pack, stack_packed
from foveal.data.sources.scenes import Drawing, vocabulary
from foveal.data.sources.scenes.questions import Question
from foveal.data.sources.scenes.short import SHORT_STYLE, SHORT_TASKS, short_questions
from foveal.data.sources.scenes.stamps import COMMON_WORDS
from foveal.grounding import Example, Picture, Turn
from foveal.models.base import Sight
from foveal.models.ferret import FerretForConditionalGeneration
from foveal.models.losses import IGNORED
from foveal.models.monkey import MonkeyConfig, MonkeyForConditionalGeneration, MonkeyProcessor
from foveal.vision import QwenVisionConfig
from monkey_encoder import ENCODER, Naming, named_loss, views_of
from monkey_pictures import CLASSES, SIDE, UNKNOWN, WINDOW, Shard, Shown, cells_of
from nano_pupil import through_layers
from nano_words import build_tokenizer, name_piece, pieces_of, questioned

__all__ = [
    "Asked",
    "Connecting",
    "Pupil",
    "Seen",
    "cells_of_views",
    "collate_asked",
    "collate_seen",
    "configuration",
    "keep_shard",
    "new_model",
    "new_tokenizer",
    "pieces_of_classes",
    "take_words",
]

QUERIES = SIDE // 4
NEARNESS, CALM = 8.0, 0.1
"""How sharply a query first looks at its own place, and how little what lies there first moves its look."""
MIDDLES = 30.0
"""Weight of how many things a cell stands for, beside what lies in it."""
TOKENS = 200
"""Most tokens of the questions packed behind one picture."""
SPECIAL = (
    "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<imgpad>", "<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>"
)  # fmt: skip


def new_tokenizer(scenes: int = 3000) -> PreTrainedTokenizerFast:
    """Every word of the scenes' questions, every name and each of the thousand words is one piece."""
    asked = [question for some in questioned(scenes, SHORT_STYLE, short_questions, SHORT_TASKS) for question in some]
    texts = [text for question in asked for text in (f" {question.ask.text} Answer: ", f" {question.answer.text}")]
    written = [form for word in COMMON_WORDS for form in (name_piece(word), word)]
    starts = sorted({question.answer.text.split(" ")[0] for question in asked if question.task in ("side", "colour")})
    pieces = list(dict.fromkeys([*pieces_of(texts), *written, *(start for start in starts if len(start) > 1)]))
    return build_tokenizer(pieces, SPECIAL, eos_token="<|endoftext|>", pad_token="<|endoftext|>", unk_token="<unk>")


def configuration(tokenizer: PreTrainedTokenizerFast, text: LlamaConfig, **fields: object) -> MonkeyConfig:
    """Monkey in small: four windows of 224 px with an adapter each, 49 tokens a view."""
    end = tokenizer.eos_token_id
    settings = text.to_dict() | {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": end, "pad_token_id": end}
    ours: dict[str, object] = {
        "vision_config": QwenVisionConfig(**(ENCODER.to_dict() | {"adapters": 4, "attention_rank": 8, "mlp_rank": 16})),
        "text_config": LlamaConfig(**settings),
        "canvas": (2 * WINDOW, 2 * WINDOW),
        "window": WINDOW,
        "queries": QUERIES,
        "connector_heads": 6,
        "image_token_id": tokenizer.convert_tokens_to_ids("<imgpad>"),
        "context_length": 2048,
    }
    return MonkeyConfig(**(ours | fields))


class Pupil(MonkeyForConditionalGeneration):
    """The model with another forward: the loss of packed questions, over tokens kept of the views or over the views themselves."""

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor,
        tasks: Tensor,
        tokens: Tensor | None = None,
        **images: Tensor,
    ) -> dict[str, Tensor]:
        """Loss of a batch; `tokens` [images views queries dim] are kept of what the resampler made of the views."""
        sight = self._sight(**images) if tokens is None else Sight(tuple(tokens.flatten(1, 2)), ())
        hidden = self.layers(self.embed(input_ids, sight=sight)[0], attention_mask, position_ids)
        learnt = labels[:, 1:] != IGNORED
        targets = labels[:, 1:][learnt]
        logits = self.language_model.lm_head(hidden[:, :-1][learnt]).float()
        right = (logits.argmax(-1) == targets).float()
        kinds = tasks[:, 1:][learnt]
        found = {task: right[kinds == number].mean() for number, task in enumerate(SHORT_TASKS, 1)}
        return {"loss": functional.cross_entropy(logits, targets), "words": right.mean()} | found

    def layers(self, hidden: Tensor, attention_mask: Tensor, position_ids: Tensor) -> Tensor:
        """What the language model's layers make of its input."""
        return through_layers(self.language_model.model, hidden, attention_mask, position_ids)[1]


@torch.no_grad()
def new_model(tokenizer: PreTrainedTokenizerFast, naming: Naming, start: FerretForConditionalGeneration, their: PreTrainedTokenizerFast) -> Pupil:
    """The model before its resampler has learnt anything: encoder and language model come trained, a query looks at its own place.

    The words of `start`, the model that the language model comes from, keep their vectors.
    """
    torch.manual_seed(0)
    model = Pupil(configuration(tokenizer, start.config.text_config))
    model.vision_tower.load_state_dict(naming.tower.state_dict(), strict=False)
    kept = {name: value for name, value in start.language_model.state_dict().items() if "embed" not in name and "lm_head" not in name}
    model.language_model.load_state_dict(kept, strict=False)
    table, known = model.get_input_embeddings().weight, their.get_vocab()
    theirs = start.get_input_embeddings().weight
    size = theirs.square().mean().sqrt()
    table.normal_(0, float(size))
    for piece, number in tokenizer.get_vocab().items():
        if piece in known and piece not in their.all_special_tokens:
            table[number] = theirs[known[piece]]
    look = model.connector.resampler
    look.ln_kv.weight.copy_(naming.norm.weight * CALM)
    look.ln_kv.bias.copy_(naming.norm.bias * CALM)
    look.ln_q.weight.zero_()
    width = look.query.shape[1]
    turn, eye = torch.linalg.qr(torch.randn(width, width))[0] * NEARNESS, torch.eye(width)
    look.in_proj.weight.copy_(torch.cat([turn, turn, eye / CALM]))
    look.out_proj.weight.copy_(eye)
    model.connector.proj.copy_(torch.linalg.qr(torch.randn(width, width))[0] * size)
    return model


def pieces_of_classes(tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[int, int]]:
    """The class of everything that has a word, and the piece of that word with and without a space before it."""
    for number, name in enumerate((*vocabulary(), *COMMON_WORDS)):
        for piece in (name_piece(name), name_piece(name, spaced=False)):
            yield number, tokenizer.convert_tokens_to_ids(piece)


class Connecting(nn.Module):
    """The resampler by itself: each of its tokens is to be near the word of what lies in its cell, as the language model has that word.

    The words of names stay where they are; those that are only written, and nothing, find their place.
    """

    def __init__(self, model: Pupil, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.connector = model.connector
        words = model.get_input_embeddings().weight.detach()
        spaced = [tokenizer.convert_tokens_to_ids(name_piece(name)) for name in vocabulary()]
        self.register_buffer("names", words[spaced].clone())
        self.words = nn.Embedding(CLASSES + 1 - len(spaced), words.shape[1])
        self.words.weight.data.normal_(0, float(words.std()))
        self.middles = nn.Linear(words.shape[1], 1)

    @torch.no_grad()
    def begin(self, batches: Iterable[Mapping[str, Tensor]]) -> None:
        """Turns the resampler's last matrix so that what it makes of each named thing lies as near the thing's word as a turn allows, and puts
        every other word where its tokens then lie."""
        proj = self.connector.proj
        sums, counts = torch.zeros(CLASSES + 1, len(proj)), torch.zeros(CLASSES + 1)
        for batch in batches:
            known = batch["classes"] != UNKNOWN
            classes = batch["classes"][known].long() % (CLASSES + 1)
            sums.index_add_(0, classes, self.connector(batch["features"])[known])
            counts += torch.bincount(classes, minlength=CLASSES + 1)
        means, seen = (sums / counts.clamp(min=1)[:, None]) - sums.sum(0) / counts.sum(), counts > 0
        known = seen[: len(self.names)]
        left, _, right = torch.linalg.svd(functional.normalize(means[: len(self.names)][known], dim=-1).T @ self.names[known])
        turned = means @ (left @ right)
        proj.copy_(proj @ (left @ right))
        scale = self.names.norm(dim=-1).mean() / turned.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        rows = torch.where(seen[:, None], turned * scale, torch.cat([self.names, self.words.weight]))
        self.words.weight.copy_(rows[len(self.names) :])

    def forward(self, features: Tensor, classes: Tensor, middles: Tensor, is_far: Tensor) -> Mapping[str, Tensor]:
        """Losses over all cells; features [views side side dim], classes and middles [views cells]."""
        tokens = self.connector(features)
        loss, right = named_loss(tokens, torch.cat([self.names, self.words.weight]), classes.long())
        counted = self.middles(functional.rms_norm(tokens, tokens.shape[-1:]))[..., 0]
        counting = functional.mse_loss(counted, middles)
        loss = loss + MIDDLES * counting
        near, written = ~is_far[:, None].expand_as(classes), classes >= len(self.names)
        found = {name: right[which].mean() for name, which in (("things", (classes >= 0) & ~written & near), ("texts", written & near))}
        found["things_far"] = right[(classes >= 0) & ~written & ~near].mean()
        return {"loss": loss} | found | {"middles": 1 - counting / middles.var()}


class Seen(Dataset):
    """The kept features of each picture, view by view, with what lies in each cell of the resampler's grid."""

    def __init__(self, shown: Shown, features: Sequence[np.ndarray]) -> None:
        self.shown, self.features = shown, features

    def __len__(self) -> int:
        return sum(map(len, self.features))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        shard, place = self.shown.place(index)
        classes, middles = (torch.from_numpy(kind).flatten(1) for kind in cells_of_views(self.shown[index][1]))
        features = torch.from_numpy(np.asarray(self.features[shard][place])).float()
        return {"features": features, "classes": classes, "middles": middles, "is_far": torch.arange(len(classes)) == len(classes) - 1}


def cells_of_views(drawing: Drawing) -> tuple[np.ndarray, np.ndarray]:
    """What lies in each cell of the resampler's grid, and how many things stand there, in the windows of a picture and in the whole
    [views cells cells]."""
    height, width = drawing.labels.shape
    corners = [(left, top, left + WINDOW, top + WINDOW) for top in range(0, height, WINDOW) for left in range(0, width, WINDOW)]
    found = [cells_of(drawing, part, QUERIES) for part in corners] + [cells_of(drawing, (0, 0, width, height), QUERIES, legible=False)]
    classes, middles = (np.stack(kind) for kind in zip(*found, strict=True))
    return classes, middles


def collate_seen(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """All views of some pictures."""
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


@torch.no_grad()
def take_words(model: Pupil, connecting: Connecting, tokenizer: PreTrainedTokenizerFast) -> None:
    """Puts the written words where the resampler found them."""
    known = len(connecting.names)
    table, names = model.get_input_embeddings().weight, set(vocabulary())
    for number, piece in pieces_of_classes(tokenizer):
        if number >= known and COMMON_WORDS[number - known] not in names:
            table[piece] = connecting.words.weight[number - known]


@torch.no_grad()
def keep_shard(look: Callable[[Tensor], Tensor], shard: Shard, path: Path) -> None:
    """Writes what `look` makes of the views of each picture, windows then the whole, as float16 [pictures views ...]."""
    done = []
    for start in range(0, len(shard.records), 20):
        windows, wholes = views_of(np.asarray(shard.pixels[start : start + 20]))
        parts = [look(views) for views in (windows, wholes)]
        done.append(torch.cat([parts[0].unflatten(0, (len(wholes), -1)), parts[1][:, None]], 1).half().numpy())
    partial_path = path.with_suffix(".part.npy")
    np.save(partial_path, np.concatenate(done))
    partial_path.rename(path)


class Asked(Dataset):
    """Packed questions about the drawn pictures, with the tokens kept of them, or with their pixels where none are (None).

    An index is a visit: the same picture is asked anew each time.
    """

    def __init__(
        self,
        shards: Sequence[tuple[Shard, np.ndarray | None]],
        processor: MonkeyProcessor,
        count: int,
        seed: int = 0,
        tasks: Mapping[str, float] = SHORT_TASKS,
    ) -> None:
        self.shown, self.tokens = Shown([shard for shard, _ in shards]), [tokens for _, tokens in shards]
        self.processor, self.count, self.seed, self.tasks = processor, count, seed, tasks

    def __len__(self) -> int:
        return len(self.shown) * 100

    def __getitem__(self, index: int) -> dict[str, object]:
        pixels, drawing = self.shown[index % len(self.shown)]
        row: dict[str, object] = dict(zip(("packed", "tasks"), self.packed(drawing, np.random.default_rng([self.seed, index])), strict=True))
        shard, place = self.shown.place(index % len(self.shown))
        if (tokens := self.tokens[shard]) is None:
            return row | {"pixels": pixels}
        return row | {"tokens": torch.from_numpy(tokens[place].astype(np.float32))}

    def questions(self, drawing: Drawing, rng: np.random.Generator) -> list[Question]:
        """What is asked about a picture at one visit."""
        return short_questions(drawing, rng, self.count, self.tasks)

    def packed(self, drawing: Drawing, rng: np.random.Generator) -> tuple[Packed, Tensor]:
        """As many questions as there is room for behind the tokens of one image, and the number of its task on every token."""
        height, width = drawing.labels.shape
        texts, tasks, room, shared = [], [], TOKENS, 0
        for question in self.questions(drawing, rng):
            turns = (Turn("user", question.ask), Turn("assistant", question.answer))
            written, _, _ = self.processor.write_example(Example(drawing.id, (Picture(width, height, data=b""),), turns), train=True)
            shared = shared or len(written.ids) - written.ids[::-1].index(self.processor.image_token_id)
            room -= len(written.ids) - shared
            if texts and room < 0:
                break
            texts.append((written.ids, written.labels))
            tasks.append(list(SHORT_TASKS).index(question.task) + 1)
        packed = pack(texts, shared)
        return packed, torch.tensor([0, *tasks])[packed.segments]


def collate_asked(rows: list[dict], pad: int) -> dict[str, Tensor]:
    """Packed questions with what there is of their pictures: tokens, or the views of the released canvas."""
    batch = stack_packed([row["packed"] for row in rows], pad)
    batch["tasks"] = nn.utils.rnn.pad_sequence([row["tasks"] for row in rows], batch_first=True)
    if "tokens" in rows[0]:
        batch["tokens"] = torch.stack([row["tokens"] for row in rows])
    if "pixels" in rows[0]:
        windows, wholes = views_of(np.stack([row["pixels"] for row in rows]))
        grids = torch.tensor([[side // WINDOW for side in rows[0]["pixels"].shape[:2]]] * len(rows))
        batch |= {"tile_values": windows, "pixel_values": wholes, "grids": grids}
    return batch
