"""Laws of the caption measures: words as the Penn Treebank has them, figures as a slow count by the definition has them."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.evaluate.captions import DocumentFrequencies, bleu, caption_scores, cider, cider_d, document_frequencies, paired_captions, rouge_l
from foveal.evaluate.tokens import PUNCTUATION, caption_tokens, treebank_tokens

WORDS = st.lists(st.sampled_from("abcde"), max_size=9).map(" ".join)
SETS = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A man's t-shirt can't be \"red\", isn't it?", "a man 's t-shirt ca n't be '' red '' , is n't it ?"),
        ("The cats' bowl; it's 5:30 p.m. on the U.S. coast.", "the cats ' bowl ; it 's 5:30 p.m. on the u.s. coast ."),
        ("Mr. Smith's dog at 3,000 ft. cost $5.00 and 50% off.", "mr. smith 's dog at 3,000 ft. cost $ 5.00 and 50 % off ."),
        ("I cannot, gonna 'tis the '90s and/or w/ 1/2 of it...", "i can not , gon na 't is the '90s and/or w / 1/2 of it ..."),
        ("hello . . . world -- foo - bar – baz — qux", "hello ... world -- foo - bar -- baz -- qux"),
        ("(no) [yes] {ok}", "-lrb- no -rrb- -lsb- yes -rsb- -lcb- ok -rcb-"),
        ("He'd we'll they're I've I'm don't 60's", "he 'd we 'll they 're i 've i 'm do n't 60 's"),
        ("10-year-old 24/7 10x10 20th 1.5.2 .5 +5", "10-year-old 24/7 10x10 20th 1.5.2 .5 +5"),
        ("rock 'n' roll at six o'clock with hors d'oeuvres for 'em", "rock 'n' roll at six o'clock with hors d'oeuvres for 'em"),
        ("It is it's 'single' it’s “smart”", "it is it 's ' single ' it 's '' smart ''"),
        ("see http://foo.com/a?b=1, me@x.com or www.foo.com!", "see http://foo.com/a?b=1 , me@x.com or www.foo.com !"),
        ("R&B and AT&T and a & b &amp; c", "r&b and at&t and a & b & c"),
        ("No. 5 is no. The no", "no. 5 is no . the no"),
        ("what!! well?! wow:) 1 1/2 cups", "what !! well ?! wow :-rrb- 1\u00a01/2 cups"),
        ("café crème ½ cup of £5", "café crème 1/2 cup of # 5"),
        ("", ""),
    ],
)
def test_words_are_parted_as_in_the_penn_treebank(text: str, tokens: str) -> None:
    assert " ".join(treebank_tokens(text)) == tokens


@given(st.text(alphabet="abcXYZ 0123456789.,;:!?'\"()-/&$éß’–", max_size=40))
def test_no_letter_is_lost_and_no_mark_is_counted(text: str) -> None:
    tokens = treebank_tokens(text)
    letters = "".join(sign for sign in text.lower() if sign in "abcxyzéß0123456789")
    kept = "".join(tokens).replace("-lrb-", "").replace("-rrb-", "")
    assert "".join(sign for sign in kept if sign in "abcxyzéß0123456789") == letters
    assert caption_tokens(text) == tuple(token for token in tokens if token not in PUNCTUATION)
    assert not any(token != token.lower() or " " in token or not token for token in tokens)


@given(SETS)
def test_figures_are_those_of_a_slow_count(pairs: list[tuple[str, list[str]]]) -> None:
    said, sets = [one for one, _ in pairs], [several for _, several in pairs]
    scores = caption_scores(said, sets, tokens=str.split)
    for n in range(1, 5):
        assert scores[f"BLEU-{n}"].value == pytest.approx(_slow_bleu(said, sets, n))
        assert scores[f"BLEU-{n}"].each == pytest.approx([_slow_bleu([one], [several], n) for one, several in pairs])
    assert scores["ROUGE-L"].each == pytest.approx([_slow_rouge(one, several) for one, several in pairs])
    assert scores["CIDEr-D"].each == pytest.approx(_slow_cider(said, sets, 6.0))
    assert cider(said, sets, tokens=str.split).each == pytest.approx(_slow_cider(said, sets, None))
    assert all(scores[name].value == pytest.approx(np.mean(scores[name].each)) for name in ("ROUGE-L", "CIDEr-D"))


@given(SETS)
def test_given_frequencies_make_scores_that_do_not_depend_on_the_others(pairs: list[tuple[str, list[str]]]) -> None:
    said, sets = [one for one, _ in pairs], [several for _, several in pairs]
    known = document_frequencies(sets, tokens=str.split)
    for measure in (cider, cider_d):
        alone = [measure([one], [several], frequencies=known, tokens=str.split).value for one, several in pairs]
        assert measure(said, sets, tokens=str.split).each == pytest.approx(alone)


def test_a_word_is_right_as_often_as_one_reference_has_it() -> None:
    score = bleu(["the the the the the the the"], [["The cat is on the mat.", "There is a cat on the mat."]])[0]
    assert score.value == pytest.approx(2 / 7), "the example of Papineni et al. 2002"


def test_of_two_references_as_near_the_shorter_sets_the_length() -> None:
    assert bleu(["a b c"], [["a b c d", "a b"]], tokens=str.split)[0].value == pytest.approx(1)
    assert bleu(["a b c"], [["a b c d", "a b c d e"]], tokens=str.split)[0].value == pytest.approx(math.exp(1 - 4 / 3))


def test_saying_a_reference_again_is_best() -> None:
    said = ["a small dog runs on grass", "two red cups stand there empty", "the train left early this morning"]
    scores = caption_scores(said, [[one, "something else"] for one in said])
    assert [scores[name].value for name in ("BLEU-1", "BLEU-4", "ROUGE-L")] == pytest.approx([1, 1, 1])
    assert cider_d(said, [[one] for one in said]).value == pytest.approx(10)


def test_captions_may_have_keys_in_any_order() -> None:
    said, sets = {"x": "a red cat", "y": "two dogs"}, {"y": ["two dogs run"], "x": ["the cat", "a cat"]}
    ordered = caption_scores(["a red cat", "two dogs"], [["the cat", "a cat"], ["two dogs run"]])
    for name, score in caption_scores(said, sets).items():
        assert score.each.tolist() == ordered[name].each.tolist() and score.value == ordered[name].value


@pytest.mark.parametrize(
    ("said", "sets", "reason"),
    [
        (["a"], [["a"], ["b"]], "1 candidates for 2 sets"),
        (["a"], [[]], "wanted at least one sentence"),
        (["a"], ["a"], "wanted at least one sentence"),
        ({"x": "a"}, {"y": ["a"]}, "2 keys are only on one side"),
        ({"x": "a"}, [["a"]], "wanted both alike"),
    ],
)
def test_captions_without_a_partner_are_refused(said: object, sets: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        paired_captions(said, sets)  # type: ignore[arg-type]


def test_frequencies_above_their_own_count_are_refused() -> None:
    with pytest.raises(ValueError, match="3 of 2 sets"):
        cider_d(["a"], [["a"]], frequencies=DocumentFrequencies({("a",): 3}, 2))


def test_silence_is_worth_nothing_and_an_empty_set_has_figures() -> None:
    scores = caption_scores(["", "a cat"], [["a cat"], [""]])
    assert all(score.each == pytest.approx(0, abs=1e-6) for score in scores.values())
    assert bleu([], [])[3].value == rouge_l([], []).value == 0 and cider_d([], []).value == 0


def _grams(text: str, n: int) -> Counter[tuple[str, ...]]:
    words = text.split()
    return Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))


def _slow_bleu(said: list[str], sets: list[list[str]], order: int) -> float:
    product = 1.0
    for n in range(1, order + 1):
        right = sum(
            min(count, max(_grams(one, n)[gram] for one in several))
            for text, several in zip(said, sets, strict=True)
            for gram, count in _grams(text, n).items()
        )
        product *= (right + 1e-15) / (sum(_grams(text, n).total() for text in said) + 1e-9)
    length = sum(len(text.split()) for text in said)
    near = sum(
        min((abs(len(one.split()) - len(text.split())), len(one.split())) for one in several)[1] for text, several in zip(said, sets, strict=True)
    )
    ratio = (length + 1e-15) / (near + 1e-9)
    return product ** (1 / order) * (math.exp(1 - 1 / ratio) if ratio < 1 else 1)


def _slow_rouge(text: str, several: list[str]) -> float:
    words = text.split() or [""]
    shared = [(_subsequence(words, other := one.split() or [""]), len(other)) for one in several]
    precision, recall = max(length for length, _ in shared) / len(words), max(length / size for length, size in shared)
    return (1 + 1.44) * precision * recall / (recall + 1.44 * precision) if precision else 0.0


def _subsequence(one: list[str], other: list[str]) -> int:
    if not one or not other:
        return 0
    if one[-1] == other[-1]:
        return 1 + _subsequence(one[:-1], other[:-1])
    return max(_subsequence(one[:-1], other), _subsequence(one, other[:-1]))


def _slow_cider(said: list[str], sets: list[list[str]], sigma: float | None) -> list[float]:
    scores = []
    for text, several in zip(said, sets, strict=True):
        total = 0.0
        for other in several:
            for n in range(1, 5):
                here, there = (
                    {
                        gram: count * (math.log(len(sets)) - math.log(max(1, sum(any(gram in _grams(one, n) for one in some) for some in sets))))
                        for gram, count in _grams(sentence, n).items()
                    }
                    for sentence in (text, other)
                )
                norm = math.hypot(*here.values()) * math.hypot(*there.values()) or 1.0
                shared = sum((min(weight, there.get(gram, 0)) if sigma else weight) * there.get(gram, 0) for gram, weight in here.items())
                gap = _grams(text, 2).total() - _grams(other, 2).total()
                total += shared / norm * (math.exp(-(gap**2) / (2 * sigma**2)) if sigma else 1)
        scores.append(10 * total / 4 / len(several))
    return scores
