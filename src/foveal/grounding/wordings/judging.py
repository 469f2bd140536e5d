"""What judges are told: how two answers are rated beside a picture in words, how one is graded by the truth, and how objects are taken out of one.

The wordings are our own; the benches' published ones are read from their files where those are there, since scores of other wordings differ.
"""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["GRADING", "JUDGE_ROLE", "RULES", "grading_request", "objects_request"]

JUDGE_ROLE = "You are a helpful and precise assistant for checking the quality of the answer."
"""What Ferret-Bench's and LLaVA-Bench's judges are told that they are."""

_RATED = (
    "Two AI assistants answered the user's question above. {shown} It is all you know of the picture, and it is true.\n"
    "Rate {rated} of each answer, with one score from 1 to 10 for each assistant; more is better.\n"
    "Write both scores, that of Assistant 1 first, alone in the first line, with a blank between them. From the second line on, explain them. "
    "Do not favour an answer because it stands first or second."
)
_PLACES = (
    "The context holds sentences about the picture, its objects with their boxes, relations of objects (object -> relation -> object, by number and "
    "name), and descriptions of regions. A box is [x1, y1, x2, y2], its top left and bottom right corner in fractions of the picture from 0 to 1."
)
_QUALITIES = "the helpfulness, the relevance, the accuracy and the level of detail"
_REFERRED = _RATED.format(shown=f"The question is about regions of a picture. {_PLACES}", rated=f"the spatial correspondence, {_QUALITIES}")
_GROUNDED = _RATED.format(
    shown=f"The question wants the coordinates of objects in the answer. {_PLACES}",
    rated=f"the coordinates, {_QUALITIES}",
).replace(
    "\nWrite",
    " See how precise the coordinates are and whether they are those of the object: up to 20 % of the true box's width or height is no fault, "
    "more lowers the score, and the further the more.\nWrite",
)
_SENTENCES = _RATED.format(shown="The question is about a picture. The context describes it in a few sentences.", rated=_QUALITIES)
_BOXES = _RATED.format(
    shown="The question is about a picture. The context holds five sentences about it and its objects with their boxes, (x1, y1, x2, y2) in "
    "fractions of the picture from 0 to 1.",
    rated=_QUALITIES,
)
RULES: Mapping[str, str] = MappingProxyType(
    {
        **{"refer_desc": _REFERRED, "refer_reason": _REFERRED, "ground_conv": _GROUNDED},
        **{f"llava_bench_{kind}": _SENTENCES for kind in ("conv", "detail", "complex")},
        **{kind: _BOXES for kind in ("conv", "detail", "complex")},
    }
)
"""By the categories of Ferret-Bench, of LLaVA-Bench in the wild, and of LLaVA-Bench on COCO."""

GRADING = """Grade how right a prediction is by the true answer to its question: 0.0 (all wrong), 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9 \
or 1.0 (all right). Parts of the true answer joined by <AND> are all needed for 1.0; of parts joined by <OR>, one is enough. Complete the last \
row with its grade and nothing else.

Question | Ground truth | Prediction | Correctness
--- | --- | --- | ---
Which fruits are on the table? | apple <AND> pear | There are bananas. | 0.0
Which fruits are on the table? | apple <AND> pear | I see a pear and a knife. | 0.5
Which fruits are on the table? | apple <AND> pear | A pear lies beside an apple. | 1.0
What does the sign say? | no entry <OR> do not enter | Do not enter | 1.0
What is 3 plus the number of cups? | 7 | It is 6. | 0.0
Why is the drawing funny? | The dog walks its owner on a lead, so that the roles of man and dog are exchanged. | A man and a dog walk. | 0.3
Why is the drawing funny? | The dog walks its owner on a lead, so that the roles of man and dog are exchanged. | The roles are reversed: the dog \
holds the lead and the man is walked by it. | 1.0
"""
"""What stands before a row to be graded."""


def grading_request(question: str, truth: str, answer: str, grading: str = GRADING) -> str:
    """The table with a last row that lacks its grade, as MM-Vet's script makes it (Yu et al. 2023).

    >>> grading_request("What?", "a cat<AND>a dog", "A cat.").splitlines()[-1]
    'What? | a cat <AND> a dog | A cat. | '
    """
    spaced = truth.replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
    return f"{grading}\n" + " | ".join([question, spaced, answer, ""])


def objects_request(question: str, answer: str) -> str:
    """What objects an answer says are seen, as a JSON list; after RLHF-V's evaluation (arXiv 2312.00849).

    >>> objects_request("Describe it.", "A red cup.").splitlines()[-1]
    '["cup", "spoon"] is such a list; where the answer mentions no visible object, write [].'
    """
    return (
        f"Somebody was shown a picture and asked:\n\n{question}\n\nThe answer was:\n\n{answer}\n\n"
        "Take the answer for true. List the objects that it says are visible in the picture: only those that it names itself, each once, by its "
        "name alone, without colour, material, number or any other property. Write nothing but a JSON list of names.\n"
        '["cup", "spoon"] is such a list; where the answer mentions no visible object, write [].'
    )
