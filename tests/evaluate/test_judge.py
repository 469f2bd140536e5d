"""Laws of judged answers: what the judge is shown, how its reply is read, and that the score is relative."""

import gzip
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.evaluate.judge import answer_for_judge, judge_message, judge_scores, relative_score, relative_scores

DATA = Path(os.environ.get("FOVEAL_DATA") or Path(__file__).parents[3] / "shared" / "data")
SCORE = st.integers(2, 20).map(lambda halves: halves / 2)
PAIRS = st.lists(st.tuples(SCORE, SCORE), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("reply", "scores", "published"),
    [
        ("8 7\nfine", (8, 7), (8, 7)),
        ("8, 7\nfine", (8, 7), None),
        ("8,7", (8, 7), (8, 7)),
        ("\n\n8.5  9 \n", (8.5, 9), None),
        ("**8/10, 7/10**", (8, 7), None),
        ("Assistant 1: 8\tAssistant 2: 7", (8, 7), None),
        ("Assistant 1: 8", None, None),
        ("8/10", None, None),
        ("3 4 5", None, None),
        ("8 seven", None, None),
        ("11 5", None, (11, 5)),
        ("0 5", None, (0, 5)),
        ("-3 5", None, (-3, 5)),
        ("1e1 5", None, (10, 5)),
        ("They are 8 7", None, None),
        ("", None, None),
    ],
)
def test_two_scores_alone_in_the_first_line_are_read(reply: str, scores: tuple | None, published: tuple | None) -> None:
    assert judge_scores(reply) == scores and judge_scores(reply, as_published=True) == published


@given(st.text(max_size=40))
def test_any_reply_is_read_or_left(reply: str) -> None:
    scores = judge_scores(reply)
    assert scores is None or all(1 <= score <= 10 for score in scores)
    assert judge_scores(f"7 9.5\n{reply}") == judge_scores(f"7 9.5\n{reply}", as_published=True) == (7, 9.5)


@given(PAIRS)
def test_the_score_is_relative(pairs: list[tuple[float, float]]) -> None:
    found = relative_score(pairs)
    assert found.relative == pytest.approx(100 * sum(said for _, said in pairs) / sum(gold for gold, _ in pairs))
    assert relative_score([(gold, gold) for gold, _ in pairs]).relative == pytest.approx(100)
    assert relative_score([(said, gold) for gold, said in pairs]).relative == pytest.approx(1e4 / found.relative)
    assert relative_score(pairs, as_published=True).relative == pytest.approx(found.relative, abs=0.16)
    assert (found.count, found.unread) == (len(pairs), 0)


def test_replies_that_cannot_be_read_are_left_out_and_pollute_only_the_published_score() -> None:
    pairs = [(8.0, 4.0), None, None]
    found, published = relative_score(pairs), relative_score(pairs, as_published=True)
    assert (found.relative, found.reference, found.answer, found.count, found.unread) == (50, 8, 4, 1, 2)
    assert published.relative == round(100 * round(2 / 3, 3) / 2, 1) and (published.count, published.unread) == (1, 2)
    with pytest.raises(ValueError, match="2 replies, none of which can be read"):
        relative_score([None, None])


def test_categories_stand_beside_all() -> None:
    scores = relative_scores([(10.0, 5.0), (10.0, 10.0), None], ["b", "a", "a"])
    assert {name: (score.relative, score.count) for name, score in scores.items()} == {"all": (75, 2), "a": (100, 1), "b": (50, 1)}
    with pytest.raises(ValueError, match="1 scores for 2 categories"):
        relative_scores([None], ["a", "b"])


def test_places_are_taken_out_or_told_in_fractions_and_all_else_stays() -> None:
    answer = "The dog [10, 20, 300, 1000] and B[7,8] in [1, 2, 3], see [note]"
    assert answer_for_judge(answer, "refer_reason") == "The dog and B in [1, 2, 3], see [note]"
    assert answer_for_judge(answer, "refer_reason", as_published=True) == "The dog and B[7,8] in, see"
    assert answer_for_judge(answer, "ground_conv") == "The dog [0.010, 0.020, 0.300, 1.000] and B[0.007,0.008] in [1, 2, 3], see [note]"
    assert answer_for_judge(answer, "ground_conv", bins=100).startswith("The dog [0.100, 0.200, 3.000, 10.000]")
    assert answer_for_judge(answer, "other") == answer


@given(st.text(st.sampled_from("[], 19a"), max_size=40), st.sampled_from(["refer_desc", "ground_conv"]))
def test_any_answer_can_be_shown_and_one_without_brackets_stays(answer: str, category: str) -> None:
    bare, place = answer.replace("[", ""), "[1, 23, 456, 789]"
    assert answer_for_judge(bare, category) == answer_for_judge(bare, category, as_published=True) == bare
    assert answer_for_judge(f"{bare} {place}", category) == bare + (" [0.001, 0.023, 0.456, 0.789]" if category == "ground_conv" else "")
    assert place not in answer_for_judge(f"{answer} {place}", category)
    assert answer_for_judge("[" + "9" * 5000 + ", 1]", category).count("9") == 5000, "a number of 5,000 digits is no place"


def test_the_bench_is_shown_whole_and_its_own_places_come_back() -> None:
    path = DATA / "fixtures" / "ferret_bench" / "records.json.gz"
    if not path.exists():
        pytest.skip(f"no records of Ferret-Bench at {path}; set FOVEAL_DATA to their folder")
    records = json.loads(gzip.decompress(path.read_bytes()))
    told = 0
    for record in records:
        question, reference, context = (record[name]["text"] for name in ("question", "answer", "context"))
        as_said = re.sub(
            r"\[\d\.\d{3}(?:, \d\.\d{3}){3}\]", lambda place: re.sub(r"(\d)\.(\d{3})", lambda n: str(int(n[1] + n[2])), place[0]), reference
        )
        told += as_said != reference
        if record["question"]["category"] == "ground_conv":
            assert answer_for_judge(as_said, "ground_conv") == reference
        message = judge_message(context, question, reference, reference, "rule")
        parts = re.split(r"\n*\[(?:Context|Question|System|(?:End of )?Assistant [12])\]\n*", message.strip())
        assert [part for part in parts if part] == [context, question, reference, reference, "rule"]
    assert told
