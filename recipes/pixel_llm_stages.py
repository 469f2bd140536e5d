"""The small PixelLLM's later stages, over kept maps of its towers: the detector alone, and everything on questions with places."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from tokenizers import normalizers
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import LlamaConfig, PreTrainedTokenizerFast

from foveal.data.sources.scenes import Drawing, thing_mask
from foveal.data.sources.scenes.narrated import narrated
from foveal.data.sources.scenes.phrases import view_of
from foveal.data.sources.scenes.pointing import region_of
from foveal.data.sources.scenes.questions import ask_about, expression
from foveal.data.sources.scenes.short import ask_shortly
from foveal.geometry import Region
from foveal.grounding import Example, GroundedText, Picture, Span, Turn, tied
from foveal.grounding.wordings.pixel_llm import NARRATIVES, SHORT_CAPTIONS, WHERE, ask_object, context_of
from foveal.models.ferret import FerretForConditionalGeneration
from foveal.models.losses import IGNORED
from foveal.models.pixel_llm import PixelLLMConfig, PixelLLMForConditionalGeneration, PixelLLMProcessor, PixelSight
from foveal.models.pixel_llm.detection import detection_loss
from foveal.vision import TowerPair
from monkey_pictures import Shard, Shown
from nano_words import FERRET_ROLES, SPACE, SPECIAL, build_tokenizer, name_piece, pieces_of
from pixel_llm_towers import PLACES, SIDE, THINGS, Towers, inputs_of

__all__ = [
    "GRID",
    "TASKS",
    "Asked",
    "Boxed",
    "Detecting",
    "Kept",
    "Pupil",
    "collate_asked",
    "collate_boxed",
    "example_of",
    "keep_shard",
    "new_model",
    "new_tokenizer",
    "questions",
]

GRID = 8
"""Side of the grid of queries: each begins by looking at its own place."""
TASKS: Mapping[str, float] = {"narrate": 0.18, "caption": 0.04, "locate": 0.36, "describe": 0.36, "count": 0.02, "present": 0.04}
"""Share of each kind of question."""


def questions(drawing: Drawing, rng: np.random.Generator, count: int, tasks: Mapping[str, float] = TASKS) -> list[tuple[Turn, Turn]]:
    """At most `count` questions about `drawing`, each with its answer and its places."""
    kinds = list(tasks)
    found: dict[tuple[str, tuple[Region, ...]], tuple[Turn, Turn]] = {}
    for kind in rng.choice(len(kinds), count, p=np.array(list(tasks.values())) / sum(tasks.values())):
        pair = _asked(drawing, rng, kinds[kind])
        if pair is not None:
            found.setdefault((pair[0].text, pair[0].regions), (Turn("user", pair[0]), Turn("assistant", pair[1])))
    return list(found.values())


def _asked(drawing: Drawing, rng: np.random.Generator, task: str) -> tuple[GroundedText, GroundedText] | None:
    match task:
        case "narrate":
            told = narrated(drawing, rng)
            return told and (GroundedText(_one(NARRATIVES, rng)), _first_regions(told.told))
        case "caption":
            question = ask_about(drawing, rng, "caption_grounded")
            return question and (GroundedText(_one(SHORT_CAPTIONS, rng)), _single_regions(question.answer))
        case "locate":
            said = expression(drawing, rng)
            return said and (GroundedText(f"{WHERE}{said[0]}"), tied(said[0], thing_mask(drawing, said[1])))
        case "describe":
            thing = int(rng.integers(max(1, len(drawing.things))))
            region = region_of(drawing, thing, "box" if rng.random() < 0.7 else "point", rng) if drawing.things else None
            return region and (ask_object(region), GroundedText(view_of(drawing).labels[thing]))
        case _:
            short = ask_shortly(drawing, rng, task)
            return short and (short.ask, short.answer)


def _one(texts: Sequence[str], rng: np.random.Generator) -> str:
    return texts[int(rng.integers(len(texts)))]


def _first_regions(said: GroundedText) -> GroundedText:
    return GroundedText(said.text, tuple(Span(span.start, span.end, span.regions[:1]) for span in said.spans))


def _single_regions(said: GroundedText) -> GroundedText:
    return GroundedText(said.text, tuple(span for span in said.spans if len(span.regions) == 1))


def new_tokenizer(shown: Shown, pictures: int = 1500) -> PreTrainedTokenizerFast:
    """Every word of questions about some pictures and of their answers, and every name, is one piece; a text begins as its other words do."""
    texts = []
    for index in range(min(pictures, len(shown))):
        for asked, answer in questions(shown[index][1], np.random.default_rng(index), 12, dict.fromkeys(TASKS, 1.0)):
            texts += [f" {context_of(asked.said.text)}", f" {answer.said.text}"]
    pieces = [*pieces_of(texts), *(name_piece(word) for text in (*SHORT_CAPTIONS, *NARRATIVES) for word in text.strip(" :?").split(" "))]
    tokenizer = build_tokenizer(list(dict.fromkeys(pieces)), SPECIAL[:4], **{role: FERRET_ROLES[role] for role in ROLES})
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    return tokenizer


ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")


def configuration(tokenizer: PreTrainedTokenizerFast, text: LlamaConfig) -> PixelLLMConfig:
    """PixelLLM in small: 64 tokens of a prompt, a language model of four layers, masks of 64 x 64."""
    ends = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(token) for name, token in (("bos", "<s>"), ("eos", "</s>"), ("pad", "<pad>"))}
    return PixelLLMConfig(
        vision_config=THINGS,
        place_config=PLACES,
        text_config=LlamaConfig(**(text.to_dict() | {"vocab_size": len(tokenizer)} | ends)),
        vision_colours="imagenet",
        place_colours="clip",
        side=SIDE,
        frozen_places=False,
        prompt_dim=64,
        extractor_width=128,
        extractor_depth=2,
        extractor_heads=4,
        extractor_mlp=256,
        queries=GRID * GRID,
        visual_dim=64,
        location_hidden=128,
        location_depth=3,
        scored_places=True,
        segments=True,
        mask_mlp=96,
        mask_hidden=48,
        detector={"width": 48, "up": 32, "layers": 2, "groups": 8, "hidden": (48, 48), "peaks": 200, "proposals": 64, "detections": 30},
        text_length=96,
        context_length=24,
        label_smoothing=0.0,
        place_weight=1.0,
        tie_word_embeddings=True,
    )


class Pupil(PixelLLMForConditionalGeneration):
    """The model with another forward: losses over kept maps, and how right words and places are."""

    def forward(self, fused: Tensor, fine: Tensor, **rows: Tensor) -> dict[str, Tensor]:
        """`fused` [images dim rows cols] and `fine` are kept of what the towers see; `rows` are the processor's."""
        sight = PixelSight((fused[0, :, 0, :0].T,) * len(fused), tuple(fused), tuple(fine), (SIDE, SIDE))
        made = super().forward(sight=sight, **rows)
        labels, placed = rows["labels"][:, 1:], rows["placed"]
        learnt = labels != IGNORED
        words = (made.logits[:, :-1].argmax(-1) == labels)[learnt].float().mean()
        sides = rows["sizes"][rows["image"]].flip(-1)[:, None, None]
        away = (made.points - rows["places"] / sides).abs().mean((-2, -1))
        named = ~learnt.any(-1)
        found = {"words": words, "away": away[placed].mean(), "away_named": away[named][placed[named]].mean()}
        return (
            {"loss": made.loss}
            | found
            | {name: made[name] for name in ("text_loss", "place_loss", "mask_loss", "box_loss") if made.get(name) is not None}
        )


@torch.no_grad()
def new_model(tokenizer: PreTrainedTokenizerFast, towers: Towers, start: FerretForConditionalGeneration, their: PreTrainedTokenizerFast) -> Pupil:
    """The model before its extractor has learnt anything: towers and language model come trained, known words keep their vectors."""
    torch.manual_seed(0)
    model = Pupil(configuration(tokenizer, start.config.text_config))
    model.towers.load_state_dict(towers.pair.state_dict())
    kept = {name: value.float() for name, value in start.language_model.state_dict().items() if "embed" not in name and "lm_head" not in name}
    language = model.writer.model
    language.load_state_dict(kept, strict=False)
    table, known, theirs = language.get_input_embeddings().weight, their.get_vocab(), start.get_input_embeddings().weight.float()
    size = float(theirs.square().mean().sqrt())
    table.normal_(0, size)
    for piece, number in tokenizer.get_vocab().items():
        if piece in known and piece not in their.all_special_tokens:
            table[number] = theirs[known[piece]]
    norm = model.writer.visual_projection[1]
    norm.weight.fill_(size)
    return model


class Kept:
    """The kept maps of some pictures, and the pictures."""

    def __init__(self, shards: Sequence[tuple[Shard, Path]]) -> None:
        self.shown = Shown([shard for shard, _ in shards])
        self.paths = [path for _, path in shards]

    @cached_property
    def maps(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [tuple(np.load(path.with_suffix(f".{name}.npy"), mmap_mode="r") for name in ("fused", "fine")) for path in self.paths]

    def of(self, index: int) -> tuple[dict[str, Tensor], Drawing]:
        """What is kept of a picture, and its drawing."""
        shard, place = self.shown.place(index)
        maps = {name: torch.from_numpy(kept[place].astype(np.float32)) for name, kept in zip(("fused", "fine"), self.maps[shard], strict=True)}
        return maps, self.shown[index][1]


class Asked(Dataset):
    """A picture's maps, and questions about it with answers and places. An index is a visit: the same picture is asked anew each time."""

    def __init__(self, kept: Kept, count: int, seed: int = 0, tasks: Mapping[str, float] = TASKS) -> None:
        self.kept, self.count, self.seed, self.tasks = kept, count, seed, tasks

    def __len__(self) -> int:
        return len(self.kept.shown) * 100

    def __getitem__(self, index: int) -> dict[str, object]:
        maps, drawing, asked = self.visit(index)
        return maps | {"example": example_of(drawing, asked)}

    def visit(self, index: int) -> tuple[dict[str, Tensor], Drawing, list[tuple[Turn, Turn]]]:
        """What is kept of a picture, its drawing, and what is asked this time."""
        maps, drawing = self.kept.of(index % len(self.kept.shown))
        return maps, drawing, questions(drawing, np.random.default_rng([self.seed, index]), self.count, self.tasks)


def collate_asked(rows: list[dict], processor: PixelLLMProcessor) -> dict[str, Tensor]:
    """All questions about some pictures."""
    batch = {name: torch.stack([row[name] for row in rows]) for name in ("fused", "fine")}
    batch |= processor.encode([row["example"] for row in rows], train=True, look=False)
    if "masked" in batch:  # one outline of each picture is enough to learn from
        chosen = batch["masked"].nonzero()[:, 0]
        first = torch.tensor([n == 0 or batch["image"][row] != batch["image"][chosen[n - 1]] for n, row in enumerate(chosen)], dtype=torch.bool)
        batch["masked"] = torch.zeros_like(batch["masked"]).index_fill(0, chosen[first], True)
    return batch


class Detecting(nn.Module):
    """The detector by itself, over kept maps."""

    def __init__(self, model: Pupil) -> None:
        super().__init__()
        self.detector = model.detector

    def forward(self, fused: Tensor, objects: Tensor) -> Mapping[str, Tensor]:
        """Its losses; objects [images most 4] are the boxes of all things in pixels, zeros behind them."""
        found = detection_loss(self.detector, fused.permute(0, 2, 3, 1), (SIDE, SIDE), objects, peaks=300, proposals=100, samples=64)
        parts = {name: getattr(found, name) for name in ("found", "imagined", "reach", "classes", "deltas")}
        return {"loss": found.total} | parts


class Boxed(Dataset):
    """A picture's map, and the boxes of all things on it."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept

    def __len__(self) -> int:
        return len(self.kept.shown) * 100

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        maps, drawing = self.kept.of(index % len(self.kept.shown))
        return {"fused": maps["fused"], "objects": torch.tensor([thing.box_px for thing in drawing.things], dtype=torch.float32).view(-1, 4)}


def collate_boxed(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Maps and padded boxes of some pictures."""
    objects = nn.utils.rnn.pad_sequence([row["objects"] for row in rows], batch_first=True)
    return {"fused": torch.stack([row["fused"] for row in rows]), "objects": objects}


@torch.no_grad()
def keep_shard(pair: TowerPair, shard: Shard, path: Path) -> None:
    """Writes what the towers see of each picture, as float16: the one map, and the tower for places' own."""
    found: dict[str, list[np.ndarray]] = {"fused": [], "fine": []}
    for start in range(0, len(shard.records), 25):
        inputs = inputs_of(list(shard.pixels[start : start + 25]))
        seen = pair(inputs["pixel_values"], inputs["real"])
        for name, maps in (("fused", seen.fused), ("fine", seen.maps[1])):
            found[name].append(maps.permute(0, 3, 1, 2).half().numpy())
    for name, parts in found.items():
        np.save(path.with_suffix(f".{name}.npy"), np.concatenate(parts))


def example_of(drawing: Drawing, pairs: Sequence[tuple[Turn, Turn]]) -> Example:
    """Questions about a picture and their answers, without its pixels."""
    height, width = drawing.labels.shape
    return Example(drawing.id, (Picture(width, height, data=b""),), tuple(turn for pair in pairs for turn in pair))
