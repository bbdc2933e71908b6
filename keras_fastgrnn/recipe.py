"""Whole ways to train: the paper's recipe, and the search for a model within a budget."""

from keras_fastgrnn.budget_search import search
from keras_fastgrnn.lsq import LSQResult, fit_lsq

__all__ = ["LSQResult", "fit_lsq", "search"]
