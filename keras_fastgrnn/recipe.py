"""Whole ways to train: the paper's recipe, and the search for a model within a budget."""

from keras_fastgrnn.budget_search import search
from keras_fastgrnn.lsq import fit_lsq
from keras_fastgrnn.lsq_result import LSQResult, TrainingWarning

__all__ = ["LSQResult", "TrainingWarning", "fit_lsq", "search"]
