"""Monkey's multi-level descriptions (arXiv 2311.06607, 3.2) of any pictures, by the models that ship and PP-OCR: no network, no weights to fetch.

    foveal synth recipes/captions.py PICTURES --out runs/captions
    foveal synth show runs/captions
    FOVEAL_WRITER=qwen3 FOVEAL_WRITER_URL=http://localhost:8000/v1 foveal synth recipes/captions.py:TEACHERS PICTURES --out runs/taught

Text, things, a caption; what is unsure or said twice is marked; a template writes the description. TEACHERS are the models of Monkey's own pipeline,
whose weights are fetched, with Florence-2 in GRiT's place. With a writer (`foveal.synth.writers.writer_of`; its key in OPENAI_API_KEY), a language
model writes in the template's place. Docs, figures and costs: docs/descriptions.md.
"""

import os

from foveal.synth import PUBLISHED, Step, captioned, composed_by_template, deduped, read_text, regions_captioned, scored_above
from foveal.synth.blip import blip_captioned, segments_captioned
from foveal.synth.matching import matched
from foveal.synth.segments import segmented
from foveal.synth.writers import writer_of
from foveal.synth.written import described_by

__all__ = ["PIPELINE", "TEACHERS"]

_WRITER = writer_of(os.environ)
_DESCRIPTION = ("description", composed_by_template() if _WRITER is None else described_by(_WRITER))

PIPELINE = [
    Step("text", read_text(), processes=2),
    ("things", regions_captioned("pixelllm-nano")),
    ("caption", captioned("monkey-nano")),
    ("sure", scored_above(PUBLISHED)),
    ("single", deduped()),
    _DESCRIPTION,
]
"""Where better models are at hand, their names stand here instead: any folder or hub name that `foveal.Session.open` takes."""

TEACHERS = [
    Step("caption", blip_captioned(), gpus=0.5),
    Step("regions", regions_captioned("florence-community/Florence-2-large"), gpus=0.5),
    Step("masks", segmented(), gpus=1),
    Step("segments", segments_captioned(), gpus=0.5),
    Step("matched", matched(), gpus=0.5),
    Step("text", read_text(), processes=2),
    ("sure", scored_above({"text": PUBLISHED["text"]})),
    ("single", deduped()),
    _DESCRIPTION,
]
"""The nine steps of the original in its order; `matched` has the thresholds of regions and segments."""
