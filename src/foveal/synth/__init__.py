"""Data generation: a pipeline of stages writes down what models see in pictures, and what is told of it."""

from foveal.synth.asking import captioned, regions_captioned
from foveal.synth.checks import PUBLISHED, deduped, scored_above
from foveal.synth.composing import composed_by_template, describe
from foveal.synth.inputs import listed_images
from foveal.synth.notes import added, dropped, is_dropped, is_own, marked, refused, standing
from foveal.synth.running import run_pipeline
from foveal.synth.stage import Stage, Step, pipeline_of
from foveal.synth.texts import read_text

__all__ = [
    "PUBLISHED",
    "Stage",
    "Step",
    "added",
    "captioned",
    "composed_by_template",
    "deduped",
    "describe",
    "dropped",
    "is_dropped",
    "is_own",
    "listed_images",
    "marked",
    "pipeline_of",
    "read_text",
    "refused",
    "regions_captioned",
    "run_pipeline",
    "scored_above",
    "standing",
]
