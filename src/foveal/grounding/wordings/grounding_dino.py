"""How Grounding DINO is asked: names, each closed by a full stop (arXiv 2303.05499, 3.5). It answers with boxes alone."""

from foveal.geometry import Region
from foveal.grounding.text import GroundedText
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["COMMON_NAMES", "GROUNDING_DINO", "names_of"]

_COCO = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, parking meter, bench, bird, cat, "
    "dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, "
    "kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, "
    "sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, "
    "remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, "
    "toothbrush"
)
COMMON_NAMES = tuple(_COCO.split(", "))
"""The classes of COCO: what is looked for where nothing is named."""


def names_of(question: str) -> list[str]:
    """The names a question asks for; ValueError for one that is no list of names.

    >>> names_of("a cup. the red hat.")
    ['a cup', 'the red hat']
    """
    names = [name.strip() for name in question.strip().split(".")]
    if len(names) < 2 or names[-1] or not all(names[:-1]):
        raise ValueError(
            f"Grounding DINO finds things that are named, and says nothing; names, each closed by a full stop, are wanted, not {question!r}."
        )
    return names[:-1]


def _listed(*names: str) -> GroundedText:
    return GroundedText(" ".join(f"{name.replace('.', ' ').strip().lower()}." for name in names))


def _refuse_region(region: Region) -> GroundedText:
    raise ValueError("Grounding DINO finds things that are named, and names no regions; a phrase is wanted.")


GROUNDING_DINO = Verbs(
    family="Grounding DINO",
    name=_refuse_region,
    forms=(),
    caption=None,
    location=_listed,
    locations=_listed,
    detection=_listed(*COMMON_NAMES),
    turns=False,
)
"""An open detector: it is given names, not questions."""
