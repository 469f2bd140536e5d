"""Phrase grounding on the official files of Flickr30k Entities: where the things are that a caption's phrases name."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from foveal.data.reading import LOG, Report
from foveal.data.sources.flickr30k import flickr30k_entities
from foveal.data.sources.referring import mdetr_referring
from foveal.evaluate.benchmark import Benchmark
from foveal.evaluate.benchmarks.asking import asked_about, named_facts, share_figure
from foveal.evaluate.boxes import Phrase, phrase_recall
from foveal.evaluate.kept import Answered
from foveal.evaluate.regions import Figure
from foveal.geometry import bounding_box
from foveal.grounding import Example, GroundedText, Span, tied
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["OFFICIAL", "Layout", "Protocol", "phrases"]

Layout = Literal["entities", "mdetr"]
Protocol = Literal["merged", "any"]


def phrases(
    split: str = "val", *, layout: Layout = "entities", protocol: Protocol = "merged", together: bool | None = None, report: Report = LOG.warning
) -> Benchmark:
    """Where the things are that the phrases of a caption name (Plummer et al. 2015): the share of phrases whose first box is right, IoU 0.5.

    All phrases with boxes of a caption are one question in Ferret's words where the family is so asked (`Verbs.locations`), and a box is a phrase's
    whose words it is tied to; else, or with `together` False, each phrase is a question of its own, and all boxes of the answer are its. A phrase
    of several boxes is judged by the box around them all ("merged", as Ferret and most such models are) or by any of them ("any"); figures of both
    are kept (`recall@1`, `any/recall@1`), by kind as `recall@1/people`, and `protocol` says which makes the scores and the benchmark's number.

    Read are `flickr30k/val.txt` with the folders `Sentences` and `Annotations`, or as `mdetr` `mdetr/final_flickr_separateGT_val.json`, which
    knows no kinds; pictures lie in `flickr30k/flickr30k-images`.
    """
    file = f"flickr30k/{split}.txt" if layout == "entities" else f"mdetr/final_flickr_separateGT_{split}.json"

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        at_once = verbs.locations is not None if together is None else together
        verbs.of("locations" if at_once else "location", "it")
        for example in _captioned(root, root / file, layout, report):
            yield from _asked_at_once(example, verbs) if at_once else _asked_each(example, verbs)

    def score(asked: Example, said: GroundedText) -> float:
        return phrase_recall([_judged(asked, said)], firsts=[1], protocol=protocol)["recall@1"]

    return Benchmark(
        name=f"flickr30k-{split}" + ("" if layout == "entities" else f"-{layout}") + ("" if protocol == "merged" else f"-{protocol}"),
        about=f"Where the things are that phrases of Flickr30k Entities {split} name: share of phrases, IoU 0.5 of the first box.",
        files=(file,),
        questions=questions,
        score=score,
        figures=_figures,
        main="recall@1" if protocol == "merged" else "any/recall@1",
        max_new_tokens=512,
    )


def _captioned(root: Path, file: Path, layout: Layout, report: Report) -> Iterator[Example]:
    folder, images = root / "flickr30k", root / "flickr30k" / "flickr30k-images"
    if layout == "mdetr":
        return mdetr_referring(file, phrases=True, images=images, report=report)
    return flickr30k_entities(folder, images=images, split_file=file, report=report)


def _asked_at_once(example: Example, verbs: Verbs) -> Iterator[Example]:
    for number, (caption, kinds) in enumerate(_placed(example)):
        if caption.spans:
            words = [caption.text[span.start : span.end] for span in caption.spans]
            yield asked_about(example, number, verbs.of("locations", *words), caption, kinds=kinds)


def _asked_each(example: Example, verbs: Verbs) -> Iterator[Example]:
    for number, (caption, kinds) in enumerate(_placed(example)):
        for place, (span, of) in enumerate(zip(caption.spans, kinds, strict=True)):
            words = caption.text[span.start : span.end]
            truth = tied(words, *span.regions)
            yield asked_about(example, f"{number}/{place}", verbs.of("location", words), truth, kinds=[of], alone=True)


def _placed(example: Example) -> Iterator[tuple[GroundedText, list[list[str]]]]:
    """Captions with only those phrases that have boxes, and the kinds of each of these."""
    listed = named_facts(example, "phrases")
    captions = [note.said for note in example.notes if note.source == "caption"]
    for number, caption in enumerate(captions):
        entries = listed[number] if number < len(listed) else []
        known = {(entry["start"], entry["end"]): list(entry["types"]) for entry in entries} if isinstance(entries, list) else {}
        spans = tuple(span for span in caption.spans if span.regions)
        yield GroundedText(caption.text, spans), [known.get((span.start, span.end), []) for span in spans]


def _judged(asked: Example, said: GroundedText) -> tuple[GroundedText, list[Phrase]]:
    """An answer and the phrases it was asked for; all boxes of an answer to a single phrase are that phrase's."""
    truth, kinds = asked.notes[0].said, named_facts(asked, "kinds")
    wanted = [
        Phrase(truth.text[span.start : span.end], tuple(map(bounding_box, span.regions)), tuple(map(str, of if isinstance(of, list | tuple) else ())))
        for span, of in zip(truth.spans, kinds, strict=True)
    ]
    if asked.facts.get("alone"):
        said = GroundedText(truth.text, (Span(0, len(truth.text), said.regions),))
    return said, wanted


def _figures(answered: Sequence[Answered]) -> Mapping[str, Figure]:
    judged = [_judged(*one) for one in answered]
    kinds = [phrase.kinds for _, wanted in judged for phrase in wanted]
    if not kinds:
        return {}
    figures = {}
    for protocol, before in (("merged", ""), ("any", "any/")):
        found = phrase_recall(judged, protocol="merged" if protocol == "merged" else "any")
        for name, value in found.items():
            kind = name.partition("/")[2]
            figures[before + name] = share_figure(value, sum(not kind or kind in of for of in kinds))
    return figures


OFFICIAL: tuple[Benchmark, ...] = tuple(phrases(split) for split in ("val", "test"))
"""Both official splits; figures of both protocols are of the same answers."""
