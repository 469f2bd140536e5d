"""What the nano benchmark asks of a model that answers in words alone: one written word, how many there are, whether there is one, a caption."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from foveal.data.sources.scenes import Drawing, draw_scene, vocabulary
from foveal.data.sources.scenes.questions import ask_about
from foveal.data.sources.scenes.short import SHORT_STYLE, ask_shortly
from foveal.data.sources.scenes.words import fill, name_forms, plural, with_article, wording
from foveal.evaluate import Figure, share, words_found
from foveal.grounding import Example, GroundedText, Note, Picture, Turn
from nano_questions import size_class

__all__ = ["short_examples", "short_figures", "short_scene"]

STYLE = replace(SHORT_STYLE, texts=(1, 1), number_share=0.0, repeat_share=1.0, repeats=(1, 5))


def short_scene(seed: int, number: int) -> Drawing:
    """Test scene `number` of the benchmark with this seed: one word of a thousand, 10 to 16 px high, and one to five of one name."""
    return draw_scene(seed * 1_000_000 + number, "test", STYLE)


def short_examples(drawing: Drawing) -> list[Example]:
    """The scene's questions, each with its true answer as a note."""
    rng = np.random.default_rng(list(drawing.id.encode()))
    things = [thing for thing in drawing.things if thing.kind != "text"]
    found: list[tuple[str, GroundedText, GroundedText]] = []
    if read := ask_shortly(drawing, rng, "read"):
        found.append(("read", read.ask, read.answer))
    names = [thing.name for thing in things]
    if names:
        most = max(dict.fromkeys(names), key=names.count)
        found.append(("count", fill(wording("count", rng), names=plural(most)), GroundedText(str(names.count(most)))))
        index = int(rng.integers(len(things)))
        x0, y0, x1, y1 = things[index].box_px
        ask = fill(wording("present", rng), a_name=with_article(names[index]))
        found.append((f"present/{size_class(x1 - x0, y1 - y0)}", ask, GroundedText("Yes")))
    if absent := ask_about(drawing, rng, "absent"):
        name = words_found(absent.ask.text, vocabulary())[-1]
        if name not in names:
            found.append(("present/large", fill(wording("present", rng), a_name=with_article(name)), GroundedText("No")))
    if caption := ask_shortly(drawing, rng, "caption"):
        found.append(("caption", caption.ask, caption.answer))
    height, width = drawing.labels.shape
    picture = Picture(width, height, pixels=drawing.pixels)
    return [
        Example(
            id=f"{drawing.id}/{task}/{number}",
            images=(picture,),
            turns=(Turn("user", ask),),
            notes=(Note(answer, source="truth"),),
            facts={"scene": drawing.id, "task": task, "width": width, "height": height},
        )
        for number, (task, ask, answer) in enumerate(found)
    ]


def short_figures(answered: Sequence[Example]) -> dict[str, Figure]:
    """Shares of exact answers, by task; of captions, the agreement of the things named with those that are there (F1).

    `present` asks about large things that are there and about absent ones, `present_small_recall` about small things that are there alone.
    """
    figures = {
        "read_exact": share(_agrees(example) for example in answered if example.facts["task"] == "read"),
        "count_1_to_5": share(_agrees(example) for example in answered if example.facts["task"] == "count"),
        "present": share(_agrees(example) for example in answered if example.facts["task"] == "present/large"),
        "present_small_recall": share(_agrees(example) for example in answered if example.facts["task"] == "present/small"),
        "caption_f1": _captions([example for example in answered if example.facts["task"] == "caption"]),
    }
    return {name: figure for name, figure in figures.items() if figure.count}


def _agrees(example: Example) -> bool:
    said, true = (text.lower().strip().rstrip(".") for text in (example.turns[1].said.text, example.notes[0].said.text))
    return said == true


def _captions(answered: Sequence[Example]) -> Figure:
    said, true, both = 0, 0, 0
    forms = name_forms()
    for example in answered:
        texts = (example.turns[1].said.text, example.notes[0].said.text)
        named, there = ({forms[form] for form in words_found(text, list(forms))} for text in texts)
        said, true, both = said + len(named), true + len(there), both + len(named & there)
    return Figure(2 * both / max(1, said + true), true, float("nan"), float("nan"))
