"""Laws of the measures of hallucination: yes and no are read from any answer, and what is not there is counted."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.evaluate.hallucination import Mentions, YesNoTally, chair, hallucinated, mme_score, tally_yes_no, yes_or_no

DATA = Path(os.environ.get("FOVEAL_DATA") or Path(__file__).parents[3] / "shared" / "data")
FORMS = {"dog": "dog", "dogs": "dog", "puppy": "dog", "cat": "cat", "hot dog": "hot dog"}


@given(st.text(max_size=60))
def test_any_answer_is_read(answer: str) -> None:
    assert yes_or_no(answer) in ("yes", "no", None) and yes_or_no(answer, as_published=True) in ("yes", "no")
    assert yes_or_no(f"Yes. {answer}") == "yes" and yes_or_no(f"no, {answer}") == "no"


@pytest.mark.parametrize(
    ("answer", "said", "published"),
    [
        ("Yes, there is a dog [1, 2, 3, 4].", "yes", "yes"),
        ("NO", "no", "yes"),
        ("Not at all", "no", "yes"),
        ("nothing", "no", "yes"),
        ("noon", None, "yes"),
        ("I know.", None, "yes"),
        ("", None, "yes"),
        ("there are no, dogs", "no", "no"),
        ("yes. no", "yes", "yes"),
        ("No. Yes.", "no", "no"),
        ("Yes no", "yes", "no"),
        ("There isn’t a dog", "no", "yes"),
        ("I cannot see one", "no", "yes"),
        ("That is not correct.", "no", "no"),
        ("That is correct.", "yes", "yes"),
        ("There is a dog.", "yes", "yes"),
        ("nowhere near yesterday", None, "yes"),
    ],
)
def test_a_verdict_is_by_whole_words_and_in_the_script_by_three_words_in_their_case(answer: str, said: str | None, published: str) -> None:
    assert yes_or_no(answer) == said and yes_or_no(answer, as_published=True) == published


def test_shares_of_a_tally_are_those_counted_by_hand() -> None:
    tally = tally_yes_no(["yes", "yes", "yes", "no", "no", "hm", "hm"], ["yes", "yes", "no", "no", "yes", "yes", "no"])
    assert tally == YesNoTally(hits=2, alarms=1, rejections=1, misses=1, unclear_yes=1, unclear_no=1)
    assert (tally.count, tally.accuracy, tally.precision, tally.recall, tally.yes_ratio) == (7, 3 / 7, 2 / 3, 2 / 4, 3 / 7)
    assert tally.f1 == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert YesNoTally().f1 == YesNoTally().accuracy == YesNoTally().recall == 0


@given(st.lists(st.tuples(st.sampled_from(["Yes.", "No.", "?"]), st.sampled_from(["yes", "no"])), min_size=1, max_size=30))
def test_tallies_of_parts_add_up_to_that_of_the_whole(asked: list[tuple[str, str]]) -> None:
    said, labels = zip(*asked, strict=True)
    whole = tally_yes_no(said, labels)
    assert sum((tally_yes_no([one], [label]) for one, label in asked), YesNoTally()) == whole and whole.count == len(asked)
    assert whole.accuracy == pytest.approx(np.mean([yes_or_no(one) == label for one, label in asked]))


def test_labels_that_are_no_verdict_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels \['perhaps'\]: wanted yes or no"):
        tally_yes_no(["yes"], ["perhaps"])
    with pytest.raises(ValueError, match="1 answers for 2 labels"):
        tally_yes_no(["yes"], ["yes", "no"])


@pytest.mark.parametrize("kind", ["adversarial", "popular", "random"])
def test_of_popes_questions_one_answer_to_all_is_half_right_and_the_labels_are_all_right(kind: str) -> None:
    path = DATA / "fixtures" / "pope" / f"coco_pope_{kind}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no questions of POPE at {path}; set FOVEAL_DATA to their folder")
    questions = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    labels = [question["label"] for question in questions]
    share = labels.count("yes") / len(labels)
    always, never = (tally_yes_no([answer] * len(labels), labels) for answer in ("Yes, there is.", "No, there is not."))
    assert (always.accuracy, always.recall, always.precision, always.yes_ratio) == (share, 1, share, 1)
    assert (never.accuracy, never.recall, never.f1, never.yes_ratio) == (pytest.approx(1 - share), 0, 0, 0)
    right = tally_yes_no([label.capitalize() for label in labels], labels)
    assert right.accuracy == right.f1 == 1 and right.yes_ratio == share
    assert tally_yes_no([question["text"] for question in questions], labels).unclear_yes == labels.count("yes"), "a question is no answer"


def test_mme_counts_questions_and_pictures() -> None:
    all_right = {"count": [("a", True), ("a", True)], "color": [("a", True), ("a", True), ("b", True), ("b", True)]}
    assert mme_score(all_right) == 400
    assert mme_score({**all_right, "color": [("a", True), ("a", False), ("b", False), ("b", True)]}) == 200 + 50
    with pytest.raises(ValueError, match=r"no questions of \['ocr'\]"):
        mme_score({"ocr": []})


def test_objects_are_mentioned_by_any_form_in_whole_words() -> None:
    assert hallucinated("Dogs, a PUPPY and a hot dog; no catalogue", {"dog"}, FORMS) == [("dog", False), ("dog", False), ("hot dog", True)]
    assert hallucinated("", {"dog"}, FORMS) == [] and hallucinated("a dog", set(), {}) == []


def test_chair_counts_captions_and_mentions() -> None:
    found = chair(["A dog and a cat and a cat", "two dogs", "a bird"], [{"dog"}, {"dog", "cat"}, {"bird", "dog"}], FORMS)
    assert found == Mentions(captions=3, wrong_captions=1, mentions=4, wrong_mentions=2, there=4, told=2)
    assert (found.chair_s, found.chair_i, found.recall) == (1 / 3, 0.5, 0.5)
    assert Mentions().chair_s == Mentions().chair_i == Mentions().recall == 0
    assert chair([], [], FORMS) == Mentions() and chair(["hot", "dog \0 cat"], [{"dog"}] * 2, FORMS) == Mentions(2, 1, 2, 1, 2, 1)
    with pytest.raises(ValueError, match="1 captions of 2 pictures"):
        chair(["a"], [set(), set()], FORMS)


@given(st.lists(st.sampled_from(sorted(FORMS)), max_size=8), st.sets(st.sampled_from(["dog", "cat", "hot dog"])))
def test_more_objects_in_the_picture_never_mean_more_hallucination(said: list[str], present: set[str]) -> None:
    caption = ", ".join(said)
    fewer, more = chair([caption], [present], FORMS), chair([caption], [present | {"cat"}], FORMS)
    assert more.chair_i <= fewer.chair_i and more.mentions == fewer.mentions == len(said)
    assert chair([caption], [set(FORMS.values())], FORMS).chair_s == 0
    assert chair([caption, "", "a dog"], [present] * 3, FORMS) == fewer + chair([""], [present], FORMS) + chair(["a dog"], [present], FORMS)


def test_people_hallucinate_less_of_their_own_picture_than_of_another() -> None:
    path = DATA / "coco" / "annotations.jsonl"
    if not path.exists():
        pytest.skip(f"no pictures at {path}; set FOVEAL_DATA to their folder")
    kept = [
        record
        for record in map(json.loads, path.read_text(encoding="utf-8").splitlines())
        if record.get("captions") and record.get("boxes") == "complete"
    ]
    present = [{region["label"] for region in record["regions"]} for record in kept]
    forms = {name: name for shown in present for name in shown} | {f"{name}s": name for shown in present for name in shown}
    captions = [record["captions"][0] for record in kept]
    own, others = chair(captions, present, forms), chair(captions, [*present[1:], *present[:1]], forms)
    assert own.mentions and own.chair_i < 0.5 * others.chair_i and own.recall > 2 * others.recall
