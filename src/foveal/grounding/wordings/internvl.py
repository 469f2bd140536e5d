"""How InternVL is asked: the words of its authors' data for grounding and referring."""

from foveal.geometry import Region
from foveal.grounding.text import GroundedText
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["INTERNVL"]


def _ask_name(region: Region) -> GroundedText:
    return GroundedText.join("Please provide a short description for this region: ", region)


INTERNVL = Verbs(
    family="InternVL",
    name=_ask_name,
    forms=("box", "mask"),
    caption=GroundedText("Please describe the image in one sentence."),
    detailed_caption=GroundedText("Please describe the image in detail."),
    location=lambda phrase: GroundedText(f"Please provide the bounding box coordinate of the region this sentence describes: <ref>{phrase}</ref>"),
    detection=GroundedText("Please detect and label all objects in the following image and mark their positions."),
)
"""A phrase to locate stands between `<ref>` and `</ref>`."""
