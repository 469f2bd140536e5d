"""Captions of regions on the official files of Visual Genome: of regions that are given, and of all that a model finds by itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from foveal.data.reading import LOG, Report, child_of
from foveal.data.sources.visual_genome import dense_captions, vg_regions
from foveal.evaluate.benchmark import Benchmark, mean_figure
from foveal.evaluate.benchmarks.asking import asked_about, check_form, set_figure
from foveal.evaluate.captions import bleu, cider_d, rouge_l
from foveal.evaluate.dense import dense_figures, dense_matches
from foveal.evaluate.kept import Answered
from foveal.evaluate.meteor import MeteorWords, meteor
from foveal.evaluate.regions import Figure
from foveal.geometry import Box, bounding_box
from foveal.grounding import Example, GroundedText, tied
from foveal.grounding.wordings.pixel_llm import say_everything
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["OFFICIAL", "Layout", "caption_figures", "dense", "region_captions", "vg_region_captions"]

Layout = Literal["grit", "visual_genome"]
_FILES: Mapping[Layout, tuple[str, ...]] = {
    "grit": ("vg/annotations/{split}.json",),
    "visual_genome": ("vg/region_descriptions.json", "vg/image_data.json", "vg/densecap_splits.json"),
}


def dense(split: str = "test", *, layout: Layout = "grit", words: MeteorWords | None = None, report: Report = LOG.warning) -> Benchmark:
    """Everything in a picture with words of its own (dense captioning; Johnson et al. 2016, arXiv 1511.07571; PixelLLM's table of Visual Genome).

    `map` is the mean average precision over IoU of 0.3 to 0.7 and METEOR of 0 to 0.25, true regions that overlap by 0.7 taken as one; `detection`
    the same without words. The score of an answer is the `map` of its picture alone. Without METEOR's own tables of `words` METEOR is lower.
    Read are `vg/annotations/test.json` (GRiT's, in COCO's form) or, as `visual_genome`, the site's `region_descriptions.json` and
    `image_data.json` with DenseCap's `densecap_splits.json`; pictures lie in `vg/VG_100K` and `vg/VG_100K_2`.
    """

    def meteors(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Sequence[float]:
        return meteor(list(candidates), list(references), words=words).each.tolist()

    def measured(answered: Sequence[Answered]) -> Mapping[str, float]:
        return dense_figures(dense_matches([(said, asked.notes[0].said) for asked, said in answered]), meteors)

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        ask = verbs.of("dense_captions")
        for example in _described(root, split, layout, report):
            regions = [note.said for note in example.notes if note.said.regions]
            if regions:
                yield asked_about(example, "all", ask, say_everything(regions))

    def figures(answered: Sequence[Answered]) -> Mapping[str, Figure]:
        wanted = ("map", "detection", "detection@0.5", "map@0.5/0.1")
        found = measured(answered)
        return {name: set_figure(found[name], len(answered)) for name in wanted}

    return Benchmark(
        name=_named("vg-dense", split, layout),
        about="Everything in a picture of Visual Genome, each thing with its box and words: mean average precision over IoU and METEOR.",
        files=_files(split, layout),
        questions=questions,
        score=lambda asked, said: measured([(asked, said)])["map"],
        figures=figures,
        main="map",
        max_new_tokens=64,
    )


def vg_region_captions(
    split: str = "test", *, layout: Layout = "grit", most: int | None = None, words: MeteorWords | None = None, report: Report = LOG.warning
) -> Benchmark:
    """What regions of Visual Genome show whose boxes are given (PixelLLM's location-conditioned captioning): each sentence is judged by itself.

    Files are those of `dense`; `most` limits the boxes of a picture.
    """
    return region_captions(
        _named("vg-regions", split, layout),
        lambda root: _described(root, split, layout, report),
        files=_files(split, layout),
        source="region",
        about="What regions of Visual Genome show, their boxes given: CIDEr-D, METEOR, ROUGE-L, BLEU-4.",
        most=most,
        words=words,
    )


def region_captions(
    name: str,
    read: Callable[[Path], Iterator[Example]],
    *,
    files: tuple[str, ...],
    source: str,
    about: str,
    together: bool = False,
    most: int | None = None,
    words: MeteorWords | None = None,
) -> Benchmark:
    """What the regions show that notes of `source` describe: each box is asked about once, whatever is said of it.

    As PixelLLM counts (arXiv 2312.09237), each sentence about a box is a reference of its own; with `together` all sentences about a box are the
    references of one answer. The score of an answer is METEOR, the mean over its sentences or `together` the best.
    """

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        check_form(verbs, "box")
        for example in read(root):
            said: dict[Box, list[GroundedText]] = {}
            for note in example.notes:
                if note.source == source and len(note.said.regions) == 1:
                    box = bounding_box(note.said.regions[0])
                    said.setdefault(box, []).append(tied(note.said.text, box))
            for number, (box, truths) in enumerate(islice(said.items(), most)):
                yield asked_about(example, number, verbs.name(box), *truths)

    def score(asked: Example, said: GroundedText) -> float:
        candidates, references = _paired([(asked, said)], together)
        each = meteor(candidates, references, words=words).each
        return float(each.mean())

    return Benchmark(
        name=name,
        about=about,
        files=files,
        questions=questions,
        score=score,
        figures=lambda answered: caption_figures(*_paired(answered, together), words=words),
        main="cider",
        max_new_tokens=64,
    )


def caption_figures(candidates: Sequence[str], references: Sequence[Sequence[str]], *, words: MeteorWords | None = None) -> dict[str, Figure]:
    """`cider` (CIDEr-D, as the COCO caption evaluation prints it; 1 is what tables call 100), `meteor`, `rouge_l` and `bleu_4` of captions.

    >>> caption_figures(["a red cup", "two dogs"], [["a red cup"], ["two dogs"]])["rouge_l"].value
    1.0
    """
    count = len(candidates)
    return {
        "cider": mean_figure(cider_d(candidates, references).each.tolist()),
        "meteor": set_figure(meteor(candidates, references, words=words).value, count),
        "rouge_l": mean_figure(rouge_l(candidates, references).each.tolist()),
        "bleu_4": set_figure(bleu(candidates, references)[3].value, count),
    }


def _paired(answered: Sequence[Answered], together: bool) -> tuple[list[str], list[list[str]]]:
    """Answers and references: a row for each true sentence, or together one for each answer."""
    rows = [(said.text, [note.said.text for note in asked.notes]) for asked, said in answered]
    if not together:
        rows = [(said, [one]) for said, several in rows for one in several]
    return [said for said, _ in rows], [several for _, several in rows]


def _described(root: Path, split: str, layout: Layout, report: Report) -> Iterator[Example]:
    files = [root / name for name in _files(split, layout)]
    if layout == "grit":
        return dense_captions(files[0], images=root / "vg", report=report)
    listed = child_of(files[2], split)
    if not isinstance(listed, list):
        raise ValueError(f"{files[2]} lists no pictures of split {split!r}; an object of lists is wanted.")
    wanted = {str(number) for number in listed}
    return (one for one in vg_regions(files[0], files[1], images=root / "vg", report=report) if one.id in wanted)


def _files(split: str, layout: Layout) -> tuple[str, ...]:
    return tuple(name.format(split=split) for name in _FILES[layout])


def _named(name: str, split: str, layout: Layout) -> str:
    return f"{name}-{split}" if layout == "grit" else f"{name}-{split}-{layout}"


OFFICIAL: tuple[Benchmark, ...] = (dense(), vg_region_captions())
"""PixelLLM's two of Visual Genome, on GRiT's list of its test pictures."""
