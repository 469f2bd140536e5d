"""What of an answer is certain while it is still being written, so that what has been shown is never taken back."""

import re
from collections.abc import Sequence

from foveal.grounding import Example, GroundedText
from foveal.models.processing import ConversationProcessor
from foveal.session.repeats import without_repeats

__all__ = ["certain", "up_to"]

_OPEN_TAG = re.compile(r"<(?:ref|box|quad)>")


def certain(
    processor: ConversationProcessor, tokens: list[int], example: Example, logprobs: Sequence[float] | None = None, *, merge_repeats: bool = True
) -> GroundedText:
    """The words so far that nothing said later can change: no open bracket or tag, no half character, no blank that a place may swallow; and the
    places behind which other words have begun, for until then another place may follow for the same words.
    """
    raw = processor.tokenizer.decode(tokens, skip_special_tokens=True)
    said = processor.decode([tokens], [example], logprobs=None if logprobs is None else [list(logprobs)])[0]
    said = without_repeats(said) if merge_repeats else said
    text = said.text
    open_bracket = raw.rfind("[")
    if open_bracket > raw.rfind("]"):
        text = text[: text.rfind("[")]
    if (tag := _OPEN_TAG.search(text)) is not None:  # a tag that is read as a place is no longer in the text
        text = text[: tag.start()]
    text = text.rstrip().rstrip("\ufffd").rstrip()
    return GroundedText(text, tuple(span for span in said.spans if text[span.end :].strip()))


def up_to(said: GroundedText, end: int) -> GroundedText:
    """The beginning of a text, and the places of the words in it.

    >>> up_to(GroundedText("a cat"), 1).text
    'a'
    """
    return GroundedText(said.text[:end], tuple(span for span in said.spans if span.end <= end))
