"""How conversations and tasks are put into words, one file for each family of models."""

from foveal.grounding.wordings.templates import Template, header_template, plain_template, render, two_separator_template

__all__ = ["Template", "header_template", "plain_template", "render", "two_separator_template"]
