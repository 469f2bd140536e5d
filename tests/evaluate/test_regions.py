"""Laws of the figures on marked pictures: what is asked has its truth beside it, and right answers alone reach one."""

from dataclasses import replace

from foveal.evaluate import region_figures, region_questions
from foveal.geometry import Box
from foveal.grounding import Example, GroundedText, Note, Picture, tied
from foveal.grounding.wordings import VERBS

LEFT, RIGHT, LOW = Box(0.0, 0.1, 0.3, 0.6), Box(0.5, 0.0, 0.9, 0.5), Box(0.2, 0.7, 0.4, 0.9)
NOTES = tuple(Note(tied(name, box), "object") for name, box in (("cat", LEFT), ("cat", RIGHT), ("dog", LOW)))
KNOWN = Example("7", (Picture(64, 48, "a.png"),), notes=NOTES)
NAMES = ["cat", "dog"]


def test_regions_names_and_everything_are_asked_as_the_family_takes_it() -> None:
    tasks = [example.facts["task"] for example in region_questions(KNOWN, VERBS["ferret"])]
    assert (tasks.count("named"), tasks.count("located"), tasks.count("found")) == (3, 1, 1)  # two cats have no one place
    assert {example.facts["task"] for example in region_questions(KNOWN, VERBS["monkey"])} == {"named"}
    assert len(region_questions(KNOWN, VERBS["monkey"], most=2)) == 2
    assert len({example.id for example in region_questions(KNOWN, VERBS["ferret"])}) == 5


def test_the_truth_reaches_one_and_what_is_wrong_does_not() -> None:
    asked = region_questions(KNOWN, VERBS["ferret"])
    right = region_figures([(example, example.notes[0].said) for example in asked], NAMES)
    assert {name: (figure.value, figure.count) for name, figure in right.items()} == {
        "named": (1.0, 3),
        "commonest": (2 / 3, 3),
        "located": (1.0, 1),
        "found": (1.0, 3),
    }
    wrong = region_figures([(example, tied("dog", Box(0.9, 0.9, 1.0, 1.0))) for example in asked], NAMES)
    assert (wrong["named"].value, wrong["located"].value, wrong["found"].value) == (1 / 3, 0.0, 0.0)
    silent = region_figures([(example, GroundedText("")) for example in asked], NAMES)
    assert all(figure.value == 0 for name, figure in silent.items() if name != "commonest")
    assert region_figures([], NAMES) == {} and region_questions(replace(KNOWN, notes=()), VERBS["monkey"]) == []
