"""Monkey's multi-level descriptions (arXiv 2311.06607, 3.2) of any pictures, by the models that ship and PP-OCR: no network, no weights to fetch.

    foveal synth recipes/captions.py PICTURES --out runs/captions
    foveal synth show runs/captions

Text, things, a caption; what is unsure or said twice is marked; a template writes the description. Docs, figures and costs: docs/descriptions.md.
"""

from foveal.synth import PUBLISHED, Step, captioned, composed_by_template, deduped, read_text, regions_captioned, scored_above

__all__ = ["PIPELINE"]

PIPELINE = [
    Step("text", read_text(), processes=2),
    ("things", regions_captioned("pixelllm-nano")),
    ("caption", captioned("monkey-nano")),
    ("sure", scored_above(PUBLISHED)),
    ("single", deduped()),
    ("description", composed_by_template()),
]
"""Where better models are at hand, their names stand here instead: any folder or hub name that `foveal.Session.open` takes."""
