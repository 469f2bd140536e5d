"""Captions whose every word has a place, on the official files of Localized Narratives: are the words right, and are they where they should be?"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from foveal.data.narration import by_position, by_words, caption_words, match_words
from foveal.data.reading import LOG, Report
from foveal.data.sources.localized_narratives import localized_narratives
from foveal.evaluate.benchmark import Benchmark, mean_figure
from foveal.evaluate.benchmarks.asking import asked_about, share_figure
from foveal.evaluate.benchmarks.regions import caption_figures
from foveal.evaluate.boxes import pair_overlaps, place_error
from foveal.evaluate.kept import Answered
from foveal.evaluate.meteor import MeteorWords
from foveal.evaluate.regions import Figure
from foveal.geometry import Box, bounding_box, box_array
from foveal.grounding import Example, GroundedText
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["OFFICIAL", "narratives", "word_places"]


def narratives(
    file: str = "localized_narratives/coco_val_localized_narratives.jsonl",
    *,
    images: str = "coco",
    as_published: bool = False,
    words: MeteorWords | None = None,
    report: Report = LOG.warning,
) -> Benchmark:
    """A caption of a whole picture in which words have places (Pont-Tuset et al. 2020; PixelLLM's pixel-aligned captioning, arXiv 2312.09237).

    A picture is asked about once; all its narratives are references. Words of the answer are set against those of each narrative in order, as
    utterances are (`match_words`): those that agree can be in the right place. The score is the share of a narrative's placed words that are said
    with the middle of their box in the true one (the way of the mouse while the word was said), the mean over narratives.

    Figures: `point_l1`, how far corners are off, in fractions of the picture (`place_error`; 0 is best), over answers with words that agree;
    `said`, the share of placed words that are said; of these `placed`, the share that has a place, `word_inside`, the share in the right place,
    and `word_iou`; and `cider`, `meteor`, `rouge_l`, `bleu_4` of the captions. PixelLLM's own point_l1 reads the true caption word by word, which
    a person cannot ask for. `as_published` places true words by its rule, by their position among the utterances, not by what was heard.
    """

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        ask = verbs.captioned(grounded=True)
        align = by_position if as_published else by_words
        for example in localized_narratives(root / file, images=root / images, align=align, together=True, report=report):
            yield asked_about(example, "told", ask, *(note.said for note in example.notes))

    return Benchmark(
        name="narratives-" + Path(file).stem.removesuffix("_localized_narratives").replace("_", "-") + ("-as-published" if as_published else ""),
        about="A long caption in which each word has its place: words that are said, and are where they should be.",
        files=(file,),
        questions=questions,
        score=lambda asked, said: float(np.mean([_inside_share(said, note.said) for note in asked.notes])),
        figures=lambda answered: _figures(answered, words),
        max_new_tokens=256,
    )


def word_places(said: GroundedText, true: GroundedText) -> tuple[list[Box | None], list[Box], Bool[np.ndarray, " words"]]:
    """For each word of `true` that has a place: where it is said to be, where it is, and whether it is said at all.

    >>> from foveal.grounding import tied
    >>> cup, left = tied("cup", Box(0.5, 0.0, 1.0, 1.0)), Box(0.0, 0.0, 0.5, 1.0)
    >>> placed, there, heard = word_places(GroundedText.join("a ", tied("cup", left)), GroundedText.join(tied("The", left), " ", cup))
    >>> placed, heard.tolist()
    ([None, Box(x0=0.0, y0=0.0, x1=0.5, y1=1.0, image=0)], [False, True])
    """
    written, heard = _words(true), _words(said)
    matched = match_words([word for word, _ in written], [word for word, _ in heard]).tolist()
    rows = [(place, box) for place, (_, box) in zip(matched, written, strict=True) if box is not None]
    placed = [heard[place][1] if place >= 0 else None for place, _ in rows]
    return placed, [box for _, box in rows], np.array([place >= 0 for place, _ in rows], dtype=bool)


def _words(text: GroundedText) -> list[tuple[str, Box | None]]:
    """Words without case, each with the box of the first span that it is of."""
    found = []
    for start, end in caption_words(text.text):
        boxes = (bounding_box(span.regions[0]) for span in text.spans if span.regions and span.start < end and start < span.end)
        found.append((text.text[start:end].casefold(), next(boxes, None)))
    return found


def _inside(placed: Sequence[Box | None], there: Sequence[Box]) -> list[bool]:
    """Does the middle of each box lie in its true one?"""
    pairs = zip(placed, there, strict=True)
    return [box is not None and _holds(true, (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for box, true in pairs]


def _holds(box: Box, x: float, y: float) -> bool:
    return box.x0 <= x <= box.x1 and box.y0 <= y <= box.y1


def _inside_share(said: GroundedText, true: GroundedText) -> float:
    placed, there, _ = word_places(said, true)
    return float(np.mean(_inside(placed, there))) if there else 0.0


def _corners(boxes: Sequence[Box | None]) -> Float[np.ndarray, "words 2 2"]:
    return box_array([box or Box(0.0, 0.0, 0.0, 0.0) for box in boxes]).reshape(-1, 2, 2)


def _figures(answered: Sequence[Answered], words: MeteorWords | None) -> Mapping[str, Figure]:
    each = [[word_places(said, note.said) for note in asked.notes] for asked, said in answered]
    errors = []
    for of in each:
        far = [
            place_error(_corners(placed), _corners(there), counts)
            for placed, there, _ in of
            if (counts := np.array([box is not None for box in placed], dtype=bool)).any()
        ]
        errors += [float(np.mean(far))] if far else []
    pairs = [one for of in each for one in of]
    heard = np.concatenate([np.zeros(0, dtype=bool), *(said for _, _, said in pairs)])
    agreed = [(box, true) for placed, there, said in pairs for box, true, one in zip(placed, there, said.tolist(), strict=True) if one]
    boxes, truths = [box for box, _ in agreed], [true for _, true in agreed]
    figures = {"said": share_figure(float(heard.mean()) if len(heard) else 0.0, len(heard))}
    if agreed:
        figures["placed"] = mean_figure([float(box is not None) for box in boxes])
        figures["word_inside"] = mean_figure([float(one) for one in _inside(boxes, truths)])
        figures["word_iou"] = mean_figure(pair_overlaps(boxes, truths).tolist())
    if errors:
        figures["point_l1"] = mean_figure(errors)
    told = [[note.said.text for note in asked.notes] for asked, _ in answered]
    return figures | caption_figures([said.text for _, said in answered], told, words=words)


OFFICIAL: tuple[Benchmark, ...] = (narratives(),)
"""The narratives of COCO's validation pictures."""
