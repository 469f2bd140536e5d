"""Which phrases of English sentences may name things that can be seen: told by the words of closed classes around them, without a parser."""

import re

__all__ = ["groundable"]

_OPENING = (
    "a an the this that these those some several many two three four five six seven eight nine ten his her its their my your our another each both"
)
_CLOSED = (
    "and or but nor so yet if then than as of in on at by to from with without into onto over under above below behind before after beside "
    "between among near next through across along around against toward towards during while where when which who whom whose what how why "
    "because there here not no yes is are was were be been being am do does did has have had can could will would shall should may might "
    "must it he she they them him we you i me us very too also just only either neither up down out off away back still now about like "
    "such other appears appear seems seem looks shows sits stands lies wears holds rides eats contains says reads"
)
_UNSEEN = (
    "image picture photo photograph scene view side left right top bottom middle center centre front background foreground corner edge "
    "part area number kind type color colour shape size way time day night lot answer question it one thing things end moment fact example "
    "variety couple pair group"
)
_NO_THING = (
    "unanswerable red green blue yellow black white brown gray grey orange pink purple silver gold beige tan daytime nighttime morning "
    "evening sunny cloudy happy sad male female wood metal plastic zero none"
)
_LONGEST = 5
_BARE = 3
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_OPENS, _ENDS, _NOT, _ALONE = (frozenset(words.split()) for words in (_OPENING, _CLOSED, _UNSEEN, _NO_THING))


def groundable(text: str) -> list[tuple[int, int]]:
    """The (start, end) of phrases that may name a thing: an article or its like and the words behind it, up to five, to the next word of a closed
    class, mark or participle; and an answer that is nothing but one to three words.

    >>> text = "A man in the red hat is riding two brown horses on the left side of the picture."
    >>> [text[start:end] for start, end in groundable(text)]
    ['A man', 'the red hat', 'two brown horses']
    >>> [len(groundable(answer)) for answer in ("Yes.", "tennis racket", "blue", "12", "on the table")]
    [0, 1, 0, 0, 1]
    """
    words = list(_WORD.finditer(text))
    phrases, place = [], 0
    while place < len(words):
        last = _last(text, words, place) if words[place][0].casefold() in _OPENS else None
        if last is not None:
            phrases.append((words[place].start(), words[last].end()))
        place = place + 1 if last is None else last + 1
    return phrases or _bare(text, words)


def _last(text: str, words: list[re.Match[str]], first: int) -> int | None:
    """The last word of the phrase that opens at `first`; None where it names nothing."""
    last = first
    for place in range(first + 1, min(len(words), first + 1 + _LONGEST)):
        word = words[place][0].casefold()
        parted = text[words[place - 1].end() : words[place].start()].strip()
        participle = place > first + 1 and word.endswith("ing") and len(word) > 5
        if parted or word in _ENDS or (word in _OPENS and last > first) or participle:
            break
        last = place
    name = words[last][0].casefold()
    return last if last > first and name not in _NOT and not name.isdigit() else None


def _bare(text: str, words: list[re.Match[str]]) -> list[tuple[int, int]]:
    said = [word[0].casefold() for word in words]
    if not 1 <= len(said) <= _BARE or any(word in _ENDS or word in _NOT for word in said):
        return []
    if said[-1] in _ALONE or any(word in _OPENS or word.isdigit() for word in said) or re.search(r"[.!?,;:]\s+\S", text):
        return []
    return [(words[0].start(), words[-1].end())]
