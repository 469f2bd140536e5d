"""A server: OpenAI's chat completions with regions as parts of a message, scenes that are looked at once, and a page."""

from foveal.serve.settings import ServeSettings

__all__ = ["ServeSettings"]
