"""Benchmarks of captions, on their official files: CIDEr is the number, BLEU-4, ROUGE-L and METEOR stand beside it.

| folder below the root of all data | holds |
|---|---|
| `coco` | `annotations/captions_val2017.json`, pictures in `val2017`; for Karpathy's split `val2014` |
| `karpathy` | `dataset_coco.json`, `dataset_flickr30k.json` |
| `flickr30k` | pictures in `flickr30k-images` |
| `textcaps` | `TextCaps_0.1_val.json`; pictures are TextVQA's, in `textvqa/train_images` |
| `nocaps` | `nocaps_val_4500_captions.json`, pictures in `val` |
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from foveal.data.sources.captions import karpathy, no_caps
from foveal.data.sources.coco import coco_captions
from foveal.data.sources.documents import text_caps
from foveal.evaluate.benchmark import Benchmark
from foveal.evaluate.benchmarks.asking import named_facts
from foveal.evaluate.benchmarks.posed import id_below, truths
from foveal.evaluate.benchmarks.regions import caption_figures
from foveal.evaluate.captions import rouge_l
from foveal.evaluate.kept import Answered
from foveal.evaluate.regions import Figure
from foveal.grounding import Example, GroundedText, Note, Turn
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["OFFICIAL", "captions_judged", "coco_karpathy", "coco_val", "flickr30k", "like_references", "nocaps", "textcaps"]


def coco_val(year: int = 2017) -> Benchmark:
    """COCO captions (Chen et al. 2015), all pictures of the official val set."""
    file = f"coco/annotations/captions_val{year}.json"
    return _captioned(f"coco-captions-val{year}", f"COCO val{year}", file, lambda root: coco_captions(root / file, images=root / f"coco/val{year}"))


def coco_karpathy(split: str = "test") -> Benchmark:
    """COCO captions, Karpathy's split (Karpathy and Fei-Fei 2015): 5,000 pictures."""
    file = "karpathy/dataset_coco.json"
    return _captioned(
        f"coco-captions-karpathy-{split}", f"COCO, Karpathy's {split}", file, lambda root: karpathy(root / file, split=split, images=root / "coco")
    )


def flickr30k(split: str = "test") -> Benchmark:
    """Flickr30k captions (Young et al. 2014), Karpathy's split: 1,000 pictures."""
    file, images = "karpathy/dataset_flickr30k.json", "flickr30k/flickr30k-images"
    name = f"flickr30k-captions-karpathy-{split}"
    return _captioned(name, f"Flickr30k, Karpathy's {split}", file, lambda root: karpathy(root / file, split=split, images=root / images))


def textcaps(split: str = "val") -> Benchmark:
    """TextCaps (Sidorov et al. 2020), captions that read what is written."""
    file = f"textcaps/TextCaps_0.1_{split}.json"
    return _captioned(f"textcaps-{split}", f"TextCaps {split}", file, lambda root: text_caps(root / file, images=root / "textvqa/train_images"))


def nocaps() -> Benchmark:
    """NoCaps' val set (Agrawal et al. 2019): all of it, and by themselves `cider_in-domain`, `cider_near-domain` and `cider_out-domain` with the
    others' figures, each judged among its own references."""
    file = "nocaps/nocaps_val_4500_captions.json"
    return _captioned("nocaps-val", "NoCaps val", file, lambda root: no_caps(root / file, images=root / "nocaps/val"))


def like_references(asked: Example, said: GroundedText) -> float:
    """ROUGE-L of one answer beside its true ones: of the measures of captions the one that is from 0 to 1 and needs no other pictures."""
    return rouge_l([said.text], [truths(asked)]).value


def captions_judged(answered: Sequence[Answered]) -> Mapping[str, Figure]:
    """`caption_figures` (CIDEr, METEOR, ROUGE-L, BLEU-4) of all answers together, and of those of each kind (the fact "kinds") by themselves.

    METEOR has none of its tables of synonyms and paraphrases here, which makes it about 0.015 lower.
    """
    parts: dict[str, list[Answered]] = {"": list(answered)}
    for one in answered:
        for kind in named_facts(one[0], "kinds"):
            parts.setdefault(f"_{kind}", []).append(one)
    return {f"{name}{part}": figure for part, some in parts.items() if some for name, figure in _judged(some).items()}


def _judged(answered: Sequence[Answered]) -> Mapping[str, Figure]:
    return caption_figures([said.text for _, said in answered], [truths(asked) for asked, _ in answered])


def _captioned(name: str, about: str, file: str, read: Callable[[Path], Iterable[Example]]) -> Benchmark:
    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        ask = verbs.of("caption")
        for example in read(root):
            true = tuple(Note(note.said, "truth") for note in example.notes if note.source == "caption")
            if example.images and true:
                kinds = {"kinds": [example.facts["domain"]]} if "domain" in example.facts else {}
                yield replace(example, id=id_below(example, root), turns=(Turn("user", ask),), notes=true, facts=kinds)

    return Benchmark(
        name=name,
        about=f"A caption of each picture of {about}. CIDEr.",
        files=(file,),
        questions=questions,
        score=like_references,
        figures=captions_judged,
        main="cider",
        max_new_tokens=30,
    )


OFFICIAL: tuple[Benchmark, ...] = (coco_val(), coco_karpathy(), flickr30k(), textcaps(), nocaps())
"""Those of the splits whose captions are published."""
