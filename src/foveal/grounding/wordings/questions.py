"""How questions with known answers are put to each family: what stands behind a question, and how options, fields and statements are asked."""

from collections.abc import Sequence

from foveal.grounding.text import GroundedText
from foveal.grounding.wordings.monkey import VQA_HINT

__all__ = [
    "LETTER_ANSWER",
    "SHORT_ANSWER",
    "UNANSWERABLE",
    "ask_answerable",
    "ask_briefly",
    "ask_entailed",
    "ask_field",
    "ask_option",
    "ask_statement",
]

SHORT_ANSWER = "\nAnswer the question using a single word or phrase."
"""Follows a question with a short answer in LLaVA-1.5's mixture (arXiv 2310.03744), from which Ferret-v2 takes its sets of questions."""
LETTER_ANSWER = "\nAnswer with the option's letter from the given choices directly."
"""Follows options there."""
UNANSWERABLE = "\nWhen the provided information is insufficient, respond with 'Unanswerable'."
"""Follows a question that may have no answer there, before `SHORT_ANSWER`."""
_WITH_REQUEST = ("Ferret",)
"""Families that learned to answer shortly by a request; the others answer shortly whatever is asked."""


def ask_briefly(question: str, family: str) -> GroundedText:
    """A question with a short answer; `family` is `Verbs.family`.

    >>> [ask_briefly("How many?", family).text for family in ("Ferret", "Monkey")]
    ['How many?\\nAnswer the question using a single word or phrase.', 'How many?']
    """
    return GroundedText(question + (SHORT_ANSWER if family in _WITH_REQUEST else ""))


def ask_answerable(question: str, family: str) -> GroundedText:
    """A question with a short answer, or with none: VizWiz'.

    >>> ask_answerable("What is this?", "Monkey").text
    'What is this? When the provided information is insufficient, respond with "unanswerable".'
    """
    if family in _WITH_REQUEST:
        return GroundedText(question + UNANSWERABLE + SHORT_ANSWER)
    return GroundedText(f"{question} {VQA_HINT}")


def ask_option(question: str, options: Sequence[str], family: str, context: str = "") -> GroundedText:
    """Which of the options is right, by its letter: to Monkey in the form of Qwen-VL's script, to the others in LLaVA-1.5's.

    >>> ask_option("What is it?", ["a cat", "a dog"], "Monkey").text
    'Context: N/A\\nQuestion: What is it?\\nOptions: A. a cat\\nB. a dog\\nAnswer:'
    >>> ask_option("What is it?", ["a cat", "a dog"], "Ferret", "It barks.").text
    "Context: It barks.\\nWhat is it?\\nA. a cat\\nB. a dog\\nAnswer with the option's letter from the given choices directly."
    """
    listed = "\n".join(f"{chr(ord('A') + place)}. {option}" for place, option in enumerate(options))
    if family == "Monkey":
        return GroundedText(f"Context: {context or 'N/A'}\nQuestion: {question}\nOptions: {listed}\nAnswer:")
    opening = f"Context: {context}\n" if context else ""
    return GroundedText(f"{opening}{question}\n{listed}{LETTER_ANSWER}")


def ask_field(name: str) -> GroundedText:
    """What a document says in a field, as UReader asks DeepForm's and KleisterCharity's (arXiv 2310.05126).

    >>> ask_field("gross_amount").text
    'What is the value for the gross amount?'
    """
    return GroundedText(f"What is the value for the {name.replace('__', ' ').replace('_', ' ')}?")


def ask_entailed(statement: str) -> GroundedText:
    """Whether a table says so, as UReader asks TabFact's statements (arXiv 2310.05126).

    >>> ask_entailed("the team won in 1998.").text
    'the team won in 1998, Yes or No?'
    """
    return GroundedText(f"{statement.strip().rstrip('.')}, Yes or No?")


def ask_statement(sentence: str) -> GroundedText:
    """Whether a sentence about the picture is true.

    >>> ask_statement("There is a box. ").text
    'Is it true that there is a box? Answer yes or no.'
    """
    plain = sentence.strip().rstrip(".")
    return GroundedText(f"Is it true that {plain[:1].lower()}{plain[1:]}? Answer yes or no.")
