"""Training: a recipe says what learns from what, transformers' Trainer does it."""

from foveal.train.checkpoint import aside, is_whole, last_whole_checkpoint
from foveal.train.recipe import Recipe
from foveal.train.schedule import LayerDecay
from foveal.train.stage import Stage, run_stage
from foveal.train.trainer import RecipeTrainer, freeze, train

__all__ = ["LayerDecay", "Recipe", "RecipeTrainer", "Stage", "aside", "freeze", "is_whole", "last_whole_checkpoint", "run_stage", "train"]
