"""Training: a recipe says what learns from what, transformers' Trainer does it."""

from foveal.train.recipe import Recipe
from foveal.train.schedule import LayerDecay
from foveal.train.trainer import RecipeTrainer, freeze, last_whole_checkpoint, train

__all__ = ["LayerDecay", "Recipe", "RecipeTrainer", "freeze", "last_whole_checkpoint", "train"]
