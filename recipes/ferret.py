"""Ferret (arXiv 2310.07704): one stage, in which everything but the image encoder learns to refer and to ground."""

from collections.abc import Mapping
from pathlib import Path

from data_files import part
from foveal.data.mixture import Part, Task
from foveal.data.tasks import absent, caption, grounded, locate, refer, relate, spoken
from foveal.geometry import Region
from foveal.grounding import GroundedText
from foveal.grounding.wordings import VERBS
from foveal.train import Recipe, Stage

__all__ = ["CHECKPOINTED", "GRIT", "ask_relation", "grit", "instruct"]

FERRET = VERBS["ferret"]

CHECKPOINTED: Mapping[str, object] = {
    "activation_checkpointing": True,
    "activation_checkpointing_kwargs": {"use_reentrant": False},
    "ddp_find_unused_parameters": True,  # blocks behind the layer taken, and the sampler where a batch points at nothing
}
"""Options of the Trainer in all of Ferret's stages."""


def ask_relation(first: Region, second: Region) -> GroundedText:
    """How two things relate: our words, since the data's are not public.

    >>> from foveal.geometry import Box
    >>> ask_relation(Box(0, 0, 1, 1), Box(0, 0, 1, 1)).text
    'What is the relation between  and ?'
    """
    return GroundedText.join("What is the relation between ", first, " and ", second, "?")


OBJECTS = (
    "person", "chair", "car", "bottle", "cup", "lamp", "book", "bowl", "handbag", "dog", "cat", "horse", "bird", "boat", "bus", "bicycle",
    "umbrella", "clock", "vase", "pillow", "guitar", "laptop", "knife", "apple", "cake", "hat", "glasses", "kite", "traffic light", "potted plant",
)  # fmt: skip
"""Names that an image of Objects365 may lack: of them hard negatives are made."""

GRIT: Mapping[str, tuple[float, Task]] = {
    "vg_objects": (339.0, refer(FERRET)),
    "objects365": (169.5, locate(FERRET)),
    "refcoco": (56.5, locate(FERRET, sources=("expression",))),
    "refcoco_plus": (56.5, locate(FERRET, sources=("expression",))),
    "refcocog": (56.5, locate(FERRET, sources=("expression",))),
    "vg_relationships": (88.5, relate(ask_relation)),
    "vg_regions": (88.5, refer(FERRET, sources=("region",))),
    "flickr30k": (34.0, grounded(caption(FERRET))),
    "llava_instruct": (158.0, spoken),
}
"""Of each data set thousands of samples, and what is asked of it. The sums of its groups are GRIT's, the shares within a group are ours."""

NEGATIVES = 95.0
"""Thousands of questions for what is not there, on Objects365."""


def grit(root: Path) -> list[Part]:
    """GRIT as far as it can be made of what is public: things and expressions, relations and regions, captions, conversations, what is absent."""
    parts = [part(root, name, weight, task) for name, (weight, task) in GRIT.items()]
    return [*parts, part(root, "objects365", NEGATIVES, absent(FERRET, OBJECTS))]


instruct = Stage(
    recipe=Recipe(
        name="ferret-instruct",
        learn={"language_model": 2e-5, "projector": 2e-5, "sampler": 2e-5},
        steps=26_766,  # three epochs of 1,142 thousand samples
        batch=128,
        warmup=0.03,
        weight_decay=0.0,
        betas=(0.9, 0.999),
        schedule="cosine",
        bf16=True,
        workers=4,
        save_every=500,
        options=CHECKPOINTED,
    ),
    data=grit,
)
"""It begins with Vicuna v1.3, CLIP, and LLaVA's linear projector; the same for 7B and 13B."""
