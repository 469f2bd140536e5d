"""Conversations about regions after GRIT (arXiv 2310.07704), of any pictures: what is where, spoken of by pointing, and hard negatives.

    foveal synth recipes/grit.py PICTURES --out runs/grit
    FOVEAL_WRITER=qwen3 FOVEAL_WRITER_URL=http://localhost:8000/v1 foveal synth recipes/grit.py PICTURES --out runs/grit

Things are found by names and in words of their own, doubles marked; a template describes them; what was looked for and is nowhere is asked for and
denied. With a writer, any model at an endpoint of OpenAI's kind (its key in OPENAI_API_KEY), dialogues and its own negatives come to it; what each
process may spend is in FOVEAL_WRITER_BUDGET, by the prices of a million tokens in FOVEAL_WRITER_PRICES ("0.4,1.6"). Pictures with the notes of a data
set (its .jsonl of examples) keep them: then nothing need be found.
"""

import os
from pathlib import Path

from foveal.endpoint import Prices
from foveal.grounding.wordings import VERBS
from foveal.grounding.wordings.grounding_dino import COMMON_NAMES
from foveal.synth import Step, composed_by_template, deduped, read_text, regions_captioned, scored_above
from foveal.synth.matching import matched
from foveal.synth.named import found_by_name
from foveal.synth.negatives import denied
from foveal.synth.writers import Writer
from foveal.synth.written import denied_by, discussed_by

__all__ = ["CLUSTER", "NAMES", "PIPELINE"]

NAMES = ("person", "car", "dog", "cat", "chair", "table", "cup", "bottle", "book", "tree", "ball", "clock")
"""What is denied where no note names it. Denials are as true as the notes are complete: give the names that a detector looked for."""


def _writer() -> Writer | None:
    """The writer that the environment names."""
    if not (model := os.environ.get("FOVEAL_WRITER")):
        return None
    given = os.environ.get("FOVEAL_WRITER_PRICES")
    prices = Prices(*(float(one) for one in given.split(","))) if given else None
    budget = float(os.environ["FOVEAL_WRITER_BUDGET"]) if "FOVEAL_WRITER_BUDGET" in os.environ else None
    url = os.environ.get("FOVEAL_WRITER_URL", "https://api.openai.com/v1")
    return Writer(url, model, prices=prices, budget=budget, cache=Path("runs/replies.jsonl"))


_WRITER = _writer()
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
