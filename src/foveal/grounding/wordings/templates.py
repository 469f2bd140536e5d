"""How a conversation becomes one string: the marks around the system's, the person's and the model's words."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Template", "header_template", "plain_template", "render", "two_separator_template"]


@dataclass(frozen=True, slots=True)
class Template:
    """The strings around each message, in the order in which they are written; `stop` ends the model's answer."""

    name: str
    opening: str
    """What stands before the first message: the system's words and what ends them."""
    user_opening: str
    user_closing: str
    answer_opening: str
    answer_closing: str
    stop: str

    @property
    def cue(self) -> str:
        """What the model continues: the opening of an answer, without the blank before its first word."""
        return self.answer_opening.rstrip(" ")


def two_separator_template(
    name: str, system: str, user: str = "USER", assistant: str = "ASSISTANT", between: str = " ", end: str = "</s>"
) -> Template:
    """`system USER: question ASSISTANT: answer</s>`: Vicuna's conversation.

    >>> render(two_separator_template("chat", "Be brief."), ["Who?", None])
    'Be brief. USER: Who? ASSISTANT:'
    """
    return Template(name, system + between, f"{user}: ", between, f"{assistant}: ", end, end)


def header_template(name: str, system: str, user: str, assistant: str, end: str) -> Template:
    """Each message between its role's header and `end`: Llama 3 and Phi 3."""
    return Template(name, system + end, user, end, assistant, end, end)


def plain_template(name: str, end: str = "\n") -> Template:
    """Messages one after the other, each closed by `end`: an image and its caption.

    >>> render(plain_template("plain"), ["<image>", "a cat"])
    '<image>\\na cat\\n'
    """
    return Template(name, "", "", end, "", end, end)


def render(template: Template, messages: Sequence[str | None]) -> str:
    """The conversation of alternating messages, the person's first; None at the end leaves it open for the model's answer.

    ValueError when None stands elsewhere: only the model's last word can be missing.
    """
    text = template.opening
    for place, message in enumerate(messages):
        if message is not None:
            opening, closing = (template.answer_opening, template.answer_closing) if place % 2 else (template.user_opening, template.user_closing)
            text += opening + message + closing
        elif place % 2 and place == len(messages) - 1:
            text += template.cue
        else:
            raise ValueError(f"message {place + 1} of {len(messages)} is missing; only the last, and only an answer, can be")
    return text
