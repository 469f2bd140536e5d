"""How good answers are: measures of words and boxes, each with an interval that says how far its number can be trusted."""

from foveal.evaluate.metrics import (
    Tally,
    average_precision,
    boxes_agree,
    calibration_error,
    f1_interval,
    first_box,
    interval,
    is_unparseable,
    match_named,
    names_object,
    names_placed,
    phrases_found,
    says_absent,
    spellings,
    tally_detections,
    words_found,
)
from foveal.evaluate.regions import Figure, region_figures, region_questions, share

__all__ = [
    "Figure",
    "Tally",
    "average_precision",
    "boxes_agree",
    "calibration_error",
    "f1_interval",
    "first_box",
    "interval",
    "is_unparseable",
    "match_named",
    "names_object",
    "names_placed",
    "phrases_found",
    "region_figures",
    "region_questions",
    "says_absent",
    "share",
    "spellings",
    "tally_detections",
    "words_found",
]
