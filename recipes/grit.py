"""Conversations about regions after GRIT (arXiv 2310.07704), of any pictures: what is where, spoken of by pointing, and hard negatives.

    foveal synth recipes/grit.py PICTURES --out runs/grit
    FOVEAL_WRITER=qwen3 FOVEAL_WRITER_URL=http://localhost:8000/v1 foveal synth recipes/grit.py PICTURES --out runs/grit

Things are found by names and in words of their own, doubles marked; a template describes them; what was looked for and is nowhere is asked for and
denied. With a writer, any model at an endpoint of OpenAI's kind (its key in OPENAI_API_KEY), dialogues and its own negatives come to it; what each
process may spend is in FOVEAL_WRITER_BUDGET, by the prices of a million tokens in FOVEAL_WRITER_PRICES ("0.4,1.6"). Pictures with the notes of a data
set (its .jsonl of examples) keep them: then nothing need be found.
"""

import os

from foveal.grounding.wordings import VERBS
from foveal.grounding.wordings.grounding_dino import COMMON_NAMES
from foveal.synth import Step, composed_by_template, deduped, read_text, regions_captioned, scored_above
from foveal.synth.matching import matched
from foveal.synth.named import found_by_name
from foveal.synth.negatives import denied
from foveal.synth.pseudo_labels import things_placed, writing_placed
from foveal.synth.writers import writer_of
from foveal.synth.written import denied_by, discussed_by

__all__ = ["CLUSTER", "NAMES", "PIPELINE", "PLACED"]

NAMES = ("person", "car", "dog", "cat", "chair", "table", "cup", "bottle", "book", "tree", "ball", "clock")
"""What is denied where no note names it. Denials are as true as the notes are complete: give the names that a detector looked for."""


_WRITER = writer_of(os.environ)
_WRITTEN = [] if _WRITER is None else [("dialogues", discussed_by(_WRITER)), ("hard-negatives", denied_by(_WRITER))]

PIPELINE = [
    Step("text", read_text(), processes=2),
    ("things", regions_captioned("pixelllm-nano")),
    ("sure", scored_above()),
    ("single", deduped()),
    ("description", composed_by_template(VERBS["ferret"].of("grounded_caption"))),
    ("negatives", denied(NAMES)),
    *_WRITTEN,
]
"""By models that ship; an endpoint's writer comes to them."""

CLUSTER = [
    Step("text", read_text(), processes=2),
    Step("things", found_by_name("IDEA-Research/grounding-dino-base", COMMON_NAMES), gpus=0.5),
    Step("regions", regions_captioned("florence-community/Florence-2-large"), gpus=0.5),
    Step("matched", matched(sources=("region",)), gpus=0.5),
    ("sure", scored_above({"text": 0.85})),
    ("single", deduped()),
    ("negatives", denied(COMMON_NAMES)),
    *_WRITTEN,
]
"""The same with real teachers, `recipes/grit.py:CLUSTER`, a GPU shared by two processes."""

PLACED = [
    Step("text", read_text(), processes=2),
    ("sure", scored_above({"text": 0.85})),
    ("writing", writing_placed()),
    Step("things", things_placed("IDEA-Research/grounding-dino-base"), gpus=0.5),
]
"""Ferret-v2's pseudo-labels (arXiv 2404.07973, stage III), `recipes/grit.py:PLACED`, of a data set of questions and answers: text that answers quote
gets the places of its lines, and the other things that they name those that a grounding model finds."""
