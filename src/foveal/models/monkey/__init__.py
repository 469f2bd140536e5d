"""Monkey: large inputs through windows with a LoRA each and a shared resampler (arXiv 2311.06607)."""

from foveal.models.monkey.config import MonkeyConfig
from foveal.models.monkey.language import Qwen7BConfig, Qwen7BForCausalLM
from foveal.models.monkey.model import MonkeyForConditionalGeneration
from foveal.models.monkey.processor import MonkeyProcessor

__all__ = ["MonkeyConfig", "MonkeyForConditionalGeneration", "MonkeyProcessor", "Qwen7BConfig", "Qwen7BForCausalLM"]
