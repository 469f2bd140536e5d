"""Object HalBench: which objects a description mentions that are not in the picture, by a judge that lists what is mentioned or by its words alone.

| folder below the root of all data | holds |
|---|---|
| `obj_halbench` | `obj_halbench_300_with_image.jsonl`, pictures in it; `synonyms_refine.txt`, a line of names for each object, COCO's first |
| `coco/annotations` | `instances_train2014.json`, `instances_val2014.json`, `captions_train2014.json`, `captions_val2014.json` |
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from foveal.data.reading import LOG, Report, array_of, text_lines
from foveal.data.sources.benches import object_halbench
from foveal.endpoint import Message, message
from foveal.evaluate.benchmark import Benchmark
from foveal.evaluate.benchmarks.asking import named_facts, share_figure
from foveal.evaluate.hallucination import Mentions, hallucinated
from foveal.evaluate.judgements import judgement_of
from foveal.evaluate.kept import Answered
from foveal.evaluate.metrics import words_found
from foveal.evaluate.regions import Figure, share
from foveal.grounding import Example, GroundedText
from foveal.grounding.wordings.judging import objects_request
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["object_forms", "object_hallucination", "objects_listed"]

_YEARS = ("train2014", "val2014")
_SHORT = 3
"""Answers of so many words at most mention nothing, as in the original."""
_MEANT = {"bow tie": "tie", "toilet seat": "toilet", "home plate": "", "train track": "", "train tracks": ""}
"""What CHAIR takes such words for: another object, or none."""
_PLURALS = {
    "person": "people",
    "child": "children",
    "mouse": "mice",
    "knife": "knives",
    "sheep": "sheep",
    "goose": "geese",
    "calf": "calves",
    "human": "humans",
}


def object_hallucination(
    folder: str = "obj_halbench", *, judge: bool = True, annotations: str = "coco/annotations", report: Report = LOG.warning
) -> Benchmark:
    """Object HalBench (Rohrbach et al. 2018; RLHF-V, arXiv 2312.00849; Table 4 of Ferret-v2). Lower is better, but for `recall`.

    `response` is the share of answers that mention an object which is not there, of those that mention any; `mention` the share of such mentions;
    `recall` that of the objects there which are mentioned. In the picture is what COCO marks or its captions mention. With `judge`, a judge lists
    what an answer mentions, each word once, and a name counts by its last words ("wooden chair", not "chair leg"); without, any of COCO's objects
    counts wherever one of its names stands. The score of an answer is 1 where all that it mentions is there.
    """
    files = tuple(f"{annotations}/{kind}_{year}.json" for kind in ("instances", "captions") for year in _YEARS)

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        synonyms = [line for _, line in text_lines(root / folder / "synonyms_refine.txt")]
        asked = list(object_halbench(root / folder / "obj_halbench_300_with_image.jsonl", report=report))
        known = _objects_there({int(str(one.facts["image_id"])) for one in asked}, [root / file for file in files], synonyms)
        for one in asked:
            there = known.get(int(str(one.facts["image_id"])))
            if there is None:
                report(f"picture {one.facts['image_id']} is passed over: {root / annotations} has nothing of it")
            else:
                yield replace(one, facts={**one.facts, "there": sorted(there), "synonyms": synonyms})

    return Benchmark(
        name="obj-hal" if judge else "obj-hal-words",
        about=f"Object HalBench: objects described that are not there, {'as a judge lists them' if judge else 'by their names'}. Lower is better.",
        files=(f"{folder}/obj_halbench_300_with_image.jsonl", f"{folder}/synonyms_refine.txt", *files),
        questions=questions,
        score=lambda asked, said: float((found := _mentions(asked, said, judge)) is not None and not found.wrong_mentions),
        figures=lambda answered: _rates(answered, judge),
        main="response",
        max_new_tokens=1024,
        judged=_asked_for_objects if judge else None,
        judge_settings={"temperature": 0.0, "max_tokens": 1024} if judge else {},
    )


def objects_listed(reply: str) -> list[str] | None:
    """The names in the last JSON list of a reply; None where there is none, or it holds anything else.

    >>> objects_listed('Sure:\\n```json\\n["cup", "spoon"]\\n```'), objects_listed("[]"), objects_listed("a cup")
    (['cup', 'spoon'], [], None)
    """
    for found in reversed(re.findall(r"\[[^\[\]]*\]", reply)):
        try:
            names = json.loads(found)
        except ValueError:
            continue
        return names if all(isinstance(name, str) for name in names) else None
    return None


def object_forms(synonyms: Sequence[str]) -> dict[str, str]:
    """All names of objects and their plurals, each with the object's own: of lines of names, the first of which is its own.

    >>> forms = object_forms(["person, fireman", "dining table, desk"])
    >>> forms["firemen"], forms["dining tables"], forms["people"]
    ('person', 'dining table', 'person')
    """
    return dict(_forms(tuple(synonyms)))


@lru_cache(maxsize=8)
def _forms(synonyms: tuple[str, ...]) -> Mapping[str, str]:
    lines = [[name.strip().lower() for name in line.split(",") if name.strip()] for line in synonyms]
    named = {name: line[0] for line in lines for name in line}
    meant = {words: name if name in named.values() else "" for words, name in _MEANT.items()}
    return {_plural(name): own for name, own in named.items()} | named | meant


def _plural(name: str) -> str:
    before, blank, last = name.rpartition(" ")
    if last in _PLURALS:
        return before + blank + _PLURALS[last]
    if last.endswith("man"):
        return before + blank + last[:-2] + "en"
    if re.search(r"[^aeiou]y$", last):
        return before + blank + last[:-1] + "ies"
    return before + blank + last + ("es" if re.search(r"(s|x|z|ch|sh)$", last) else "s")


def _objects_there(wanted: Collection[int], files: Sequence[Path], synonyms: Sequence[str]) -> dict[int, set[str]]:
    """The objects in each picture that COCO's files know: those that are marked, and those that its captions mention."""
    found: dict[int, set[str]] = {}
    for file in files:
        if not file.is_file():
            raise ValueError(f"there is no file {file}")
        names = {entry["id"]: str(entry["name"]) for _, entry in array_of(file, "categories")}
        for _, entry in array_of(file, "annotations"):
            if entry["image_id"] in wanted:
                text = names[entry["category_id"]] if names else str(entry["caption"])
                found.setdefault(entry["image_id"], set()).update(name for name in _named(text, synonyms) if name)
    return found


def _named(text: str, synonyms: Sequence[str]) -> list[str]:
    return [name for name, _ in hallucinated(text, (), _forms(tuple(synonyms)))]


def _asked_for_objects(asked: Example, said: GroundedText) -> Sequence[Message]:
    if len(said.text.split()) <= _SHORT:
        return []
    return [message("user", objects_request(asked.turns[0].said.text, said.text))]


def _mentions(asked: Example, said: GroundedText, judge: bool) -> Mentions | None:
    """What an answer mentions; None where the judge did not say."""
    synonyms, there = [str(line) for line in named_facts(asked, "synonyms")], {str(name) for name in named_facts(asked, "there")}
    if judge:
        reply = judgement_of(asked)
        listed = objects_listed(reply) if reply is not None else None if _asked_for_objects(asked, said) else []
        if listed is None:
            return None
        names = [name for thing in dict.fromkeys(listed) if (name := _object_of(thing, _forms(tuple(synonyms))))]
    else:
        names = [name for name in _named(said.text, synonyms) if name]
    wrong = sum(name not in there for name in names)
    return Mentions(int(bool(names)), int(bool(wrong)), len(names), wrong, len(there), len(there & set(names)))


def _object_of(thing: str, forms: Mapping[str, str]) -> str:
    """The object that a thing is, by the last words of its name, those before "of", "with" and the like; empty where it is none."""
    head = re.split(r"\s(?:of|with|in|on|at|for|from)\s", thing.lower().strip(" ."))[0]
    found = words_found(head, list(forms))
    return forms[found[-1]] if found and head.endswith(found[-1]) else ""


def _rates(answered: Sequence[Answered], judge: bool) -> Mapping[str, Figure]:
    known = [found for asked, said in answered if (found := _mentions(asked, said, judge)) is not None]
    total = sum(known, Mentions())
    figures = {
        "response": share_figure(total.chair_s, total.captions),
        "mention": share_figure(total.chair_i, total.mentions),
        "recall": share_figure(total.recall, total.there),
    }
    unread = share(objects_listed(reply) is None for asked, _ in answered if (reply := judgement_of(asked)) is not None)
    return figures | ({"unread_judgements": unread} if judge else {})
