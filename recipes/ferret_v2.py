"""Ferret-v2 (arXiv 2404.07973): image-caption alignment, high-resolution dense alignment, intent-enhanced instruction tuning."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from data_files import part
from ferret import CHECKPOINTED, FERRET, grit
from foveal.data.mixture import Part, Task
from foveal.data.tasks import caption, detect, followed_by, name_all, of_split, spoken
from foveal.grounding.wordings.questions import SHORT_ANSWER
from foveal.models import GroundedModel
from foveal.train import Recipe, Stage

__all__ = ["align", "copy_projector", "dense", "instruct"]

_BRIEF: Task = followed_by(of_split(spoken), SHORT_ANSWER)
QUESTIONS: Mapping[str, tuple[float, Task]] = {
    "vqav2": (83.0, _BRIEF),
    "gqa": (72.0, _BRIEF),
    "okvqa": (9.0, _BRIEF),
    "ocrvqa": (80.0, _BRIEF),
    "textvqa": (35.0, _BRIEF),
    "textcaps": (22.0, caption(FERRET)),
}
"""Thousands of samples: those of LLaVA-1.5's mixture; TextVQA, which is not in it, counts as many as it has."""


@torch.no_grad()
def copy_projector(model: GroundedModel) -> None:
    """The tiles' projector begins as the overview's has become. Of encoders of two widths the first matrices differ, and only the rest is copied."""
    parts: Any = model
    theirs = dict(parts.projector.named_parameters())
    for name, value in parts.local_projector.named_parameters():
        if value.shape == theirs[name].shape:
            value.copy_(theirs[name])


def captions(root: Path) -> list[Part]:
    """1.4 million pairs of image and text, in the form of instructions."""
    return [part(root, "sharegpt4v_pretrain", 1.0, spoken)]


def lvis(root: Path) -> list[Part]:
    """LVIS, half of the time what all things are that are pointed at, half of the time where all things are."""
    pointed = name_all(forms={"mask": 1.0}, most=MOST)
    return [part(root, "lvis", 1.0, pointed), part(root, "lvis", 1.0, detect(FERRET, most=MOST))]


def everything(root: Path) -> list[Part]:
    """GRIT, and questions about pictures and about text in them."""
    return [*grit(root), *(part(root, name, weight, task) for name, (weight, task) in QUESTIONS.items())]


MOST = 40
"""Things of an image in one question: about ten on average, as in the paper."""

align = Stage(
    recipe=Recipe(
        name="ferret-v2-align",
        learn={"projector": 1e-3},
        steps=5_469,  # 1.4 million pairs once
        batch=256,
        warmup=0.03,
        bf16=True,
        workers=4,
        save_every=500,
        options=CHECKPOINTED,
    ),
    data=captions,
    seen={"grids": []},
)
"""Stage I: the overview's projector alone learns, on the overview alone. It begins with what `assemble.py` makes."""

dense = Stage(
    recipe=Recipe(
        name="ferret-v2-dense",
        learn={"projector": 1e-4, "local_projector": 1e-4, "sampler": 1e-4},
        steps=1_566,  # the 100,170 images of LVIS once for each of the two tasks
        batch=128,
        warmup=0.03,
        bf16=True,
        workers=4,
        save_every=200,
        options=CHECKPOINTED,
    ),
    data=lvis,
    start=align,
    prepare=copy_projector,
    alike=True,
)
"""Stage II: both projectors and the sampler learn."""

instruct = Stage(
    recipe=Recipe(
        name="ferret-v2-instruct",
        learn={
            "overview_tower": 2e-6,
            "local_tower": 2e-6,
            "projector": 2e-5,
            "local_projector": 2e-5,
            "sampler": 2e-5,
            "language_model": 2e-5,
        },
        steps=11_273,  # 1,443 thousand samples once
        batch=128,
        warmup=0.03,
        bf16=True,
        workers=4,
        save_every=500,
        options=CHECKPOINTED,
    ),
    data=everything,
    start=dense,
    alike=True,
)
"""Stage III: everything learns. Nothing is known in which 7B and 13B differ; what fits into memory does, and is `accumulate`."""
