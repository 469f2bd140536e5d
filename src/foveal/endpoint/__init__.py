"""Language models that somebody serves: any endpoint that speaks OpenAI's chat completions, asked for many replies at once."""

from foveal.endpoint.client import Endpoint
from foveal.endpoint.replies import Message, Prices, Replies, Reply, Spent, message

__all__ = ["Endpoint", "Message", "Prices", "Replies", "Reply", "Spent", "message"]
