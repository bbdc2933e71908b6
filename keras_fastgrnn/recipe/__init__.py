"""Whole ways to train: the paper's recipe, and the search for a model within a budget."""

from keras_fastgrnn.recipe.budget_search import search
from keras_fastgrnn.recipe.lsq import fit_lsq
from keras_fastgrnn.recipe.lsq_result import LSQResult, TrainingWarning

__all__ = ["LSQResult", "TrainingWarning", "fit_lsq", "search"]
