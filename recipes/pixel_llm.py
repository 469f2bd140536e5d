"""PixelLLM (arXiv 2312.09237): captions, captions with a place for every word, and what is taught from there: referring, outlines, dense captions."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from data_files import part
from foveal.data.augment import example_on, random_shot
from foveal.data.images import load_picture
from foveal.data.mixture import Part, Task
from foveal.data.tasks import caption as captioned
from foveal.data.tasks import detect, each, joined, locate, of_some, refer, requested, spoken
from foveal.grounding import Example
from foveal.grounding.wordings import VERBS
from foveal.grounding.wordings.pixel_llm import NARRATIVES, SHORT_CAPTIONS
from foveal.train import LayerDecay, Recipe, Stage

__all__ = [
    "caption",
    "dense_captions",
    "joint",
    "joint_masks",
    "referring",
    "seen_through",
    "segmentation",
    "trace",
    "with_t5",
]

PIXEL_LLM = VERBS["pixel_llm"]
SIDE, ROWS, BOXES, WORDS = 384, 16, 100, 16
"""Pixels of the input's side; rows of an image in joint training, and in dense captioning; words of the longest question, of 32 tokens."""

EYES = "towers.towers.0"
EVA = LayerDecay(prefix=f"{EYES}.blocks.", blocks=24, stem=(f"{EYES}.patches", f"{EYES}.positions"), factor=0.8)
"""EVA-02-L learns by 0.8 more slowly with every block: its patches and positions at 0.8 to the 25th, all behind the blocks at the full rate."""


def seen_through(task: Task, scales: tuple[float, float], *, flips: float = 0.0) -> Task:
    """`task`, of a picture that is scaled by a factor drawn from `scales`, cut to the input's side and mirrored by a chance, notes and all."""

    def shown(example: Example, rng: np.random.Generator) -> Example | None:
        pixels = torch.from_numpy(np.array(load_picture(example.images[0]))).float()
        return task(example_on(example, random_shot(pixels, rng, SIDE, scales=scales, flips=flips)), rng)

    return shown


def answers(example: Example, rng: np.random.Generator) -> Example | None:
    """Questions of a conversation that are short enough to be read, each by itself: at most as many as there are rows."""
    turns = example.turns if spoken(example, rng) and example.images else ()
    pairs = [pair for pair in zip(turns[::2], turns[1::2], strict=False) if len(pair[0].said.text.split()) <= WORDS]
    kept = sorted(rng.permutation(len(pairs))[:ROWS])
    return replace(example, turns=tuple(turn for place in kept for turn in pairs[place])) if pairs else None


_SHORT = requested(captioned(PIXEL_LLM), SHORT_CAPTIONS)
_LONG = requested(captioned(PIXEL_LLM, source="narrative", detailed=True), NARRATIVES)
_REGION = ("region",)
_DESCRIBE = refer(PIXEL_LLM, forms={"box": 1.0}, sources=_REGION)
_EXPRESSIONS = seen_through(each(locate(PIXEL_LLM, sources=("expression",)), sources=("expression",), most=ROWS), (0.75, 1.25))
_REFERRING: Mapping[str, float] = {"referring_flickr": 1.0, "referring_coco": 5.0, "referring_vg": 1.0}


def image_text(root: Path) -> list[Part]:
    """Pairs of image and text from the web."""
    return [part(root, "image_text", 1.0, _SHORT)]


def traces(root: Path) -> list[Part]:
    """COCO's captions, and narratives of its pictures whose words have places."""
    return [part(root, "coco_captions", 1.0, seen_through(_SHORT, (0.75, 1.25))), part(root, "narratives", 2.0, _LONG)]


def expressions(root: Path) -> list[Part]:
    """Referring expressions of three sources; each is a row, and its box is its last token's place."""
    return [part(root, name, weight, _EXPRESSIONS) for name, weight in _REFERRING.items()]


def outlines(root: Path) -> list[Part]:
    """Referring expressions of COCO with the outlines of what they mean."""
    return [part(root, "referring_masks", 1.0, _EXPRESSIONS)]


def described(root: Path, most: int = BOXES, weight: float = 1.0) -> list[Part]:
    """Visual Genome's regions, at most so many of a picture: they are what the detector is to find, and each is described for itself."""
    found = joined(detect(PIXEL_LLM, sources=_REGION, most=most), each(_DESCRIBE, sources=_REGION, most=most))
    return [part(root, "vg_dense", weight, seen_through(of_some(found, sources=_REGION, most=most), (0.1, 2.0), flips=0.5))]


def everything(root: Path) -> list[Part]:
    """Captions, narratives, expressions, regions and questions: seven sources."""
    return [
        part(root, "coco_captions", 3.0, seen_through(each(_SHORT, sources=("caption",), most=ROWS), (0.75, 1.25))),
        part(root, "narratives", 1.0, each(_LONG, sources=("narrative",), most=ROWS)),
        *expressions(root),
        *described(root, ROWS, 5.0),
        part(root, "sharegpt4v_instruct", 5.0, answers),
    ]


def _learn(rate: float, *more: str) -> dict[str, float]:
    return dict.fromkeys((EYES, "extractor", "writer", "location_head", *more), rate)


caption = Stage(
    recipe=Recipe(
        name="pixel-llm-caption",
        learn=dict.fromkeys((EYES, "extractor", "writer"), 1e-4),
        steps=100_000,
        batch=256,
        warmup=2_000 / 100_000,
        weight_decay=0.05,
        decay_rule="rank",
        layers=EVA,
        clip=0.0,
        workers=8,
        save_every=1_000,
        keep=1,
        options={"ddp_find_unused_parameters": True},
    ),
    data=image_text,
)
"""Stage 0. Of the authors' own, on WebLI, nothing is known but that it was; all of its figures are ours."""

trace = Stage(
    recipe=replace(
        caption.recipe, name="pixel-llm-trace", learn=_learn(5e-5), steps=10_000, batch=256, warmup=250 / 10_000, weight_decay=0.0, layers=None
    ),
    data=traces,
    start=caption,
    together=True,
)
"""Stage 1: every word learns its place."""

referring = Stage(
    recipe=replace(trace.recipe, name="pixel-llm-referring", steps=120_000, batch=64, warmup=1_000 / 120_000, save_every=4_000),
    data=expressions,
    start=trace,
    together=True,
)
"""Stage 2a: an expression's box. Words are read and not learnt: the loss is that of places alone."""

segmentation = Stage(
    recipe=replace(
        referring.recipe,
        name="pixel-llm-segmentation",
        learn={"mask_adapter": 5e-4, "location_head": 5e-5},
        steps=60_000,
        batch=64,
        warmup=500 / 60_000,
        save_every=2_000,
    ),
    data=outlines,
    start=referring,
    together=True,
)
"""Stage 2b: what asks SAM's decoder learns, ten times as fast as the places."""

dense_captions = Stage(
    recipe=replace(
        trace.recipe,
        name="pixel-llm-dense-captions",
        learn=dict.fromkeys((EYES, "extractor", "writer", "detector"), 1e-4),
        steps=40_000,
        batch=64,
        warmup=1_000 / 40_000,
        weight_decay=0.05,
        layers=EVA,
        save_every=5_000,
    ),
    data=described,
    start=trace,
    together=True,
)
"""Stage 2c: the detector, and what stands in each box. The losses are those of words and of boxes."""

joint = Stage(
    recipe=replace(
        dense_captions.recipe,
        name="pixel-llm-joint",
        learn=_learn(1e-4, "detector"),
        steps=240_000,
        batch=128,
        warmup=2_000 / 240_000,
        save_every=8_000,
    ),
    data=everything,
    start=caption,
    together=True,
)
"""Stage 3: one model for everything but outlines, from stage 0."""

joint_masks = Stage(
    recipe=replace(
        joint.recipe,
        name="pixel-llm-joint-masks",
        learn={"mask_adapter": 1e-4},
        steps=30_000,
        batch=128,
        warmup=250 / 30_000,
        weight_decay=0.0,
        layers=None,
        save_every=1_000,
    ),
    data=outlines,
    start=joint,
    together=True,
)
"""Stage 4: outlines for the joint model."""


def with_t5(stage: Stage) -> Stage:
    """A stage, and those before it, of a model that writes with T5: its adapters learn in its place, and what brings visual tokens to it.

    >>> sorted(with_t5(trace).recipe.learn)
    ['extractor', 'location_head', 'towers.towers.0', 'visual_projection', 'writer.*lora_*']
    """
    learn: dict[str, float] = {}
    for name, rate in stage.recipe.learn.items():
        learn |= {"writer.*lora_*": rate, "visual_projection": rate} if name == "writer" else {name: rate}
    start = with_t5(stage.start) if isinstance(stage.start, Stage) else stage.start
    return replace(stage, recipe=replace(stage.recipe, name=f"{stage.recipe.name}-t5", learn=learn), start=start)


trace_t5, referring_t5, segmentation_t5, dense_captions_t5, joint_t5, joint_masks_t5 = (
    with_t5(stage) for stage in (trace, referring, segmentation, dense_captions, joint, joint_masks)
)
