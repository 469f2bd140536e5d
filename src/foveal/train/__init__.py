"""Training: a recipe says what learns from what, transformers' Trainer does it."""

from foveal.train.recipe import Recipe
from foveal.train.trainer import RecipeTrainer, freeze, last_whole_checkpoint, train

__all__ = ["Recipe", "RecipeTrainer", "freeze", "last_whole_checkpoint", "train"]
