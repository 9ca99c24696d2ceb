"""fastbp.sklearn: scikit-learn's own checks, without exception, and what they do not look at."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastbp.sklearn import NetworkClassifier, NetworkRegressor

SMALL = {"random_state": 0}


@parametrize_with_checks([NetworkRegressor(**SMALL), NetworkClassifier(**SMALL)])
def test_scikit_learn_check(estimator, check):
    check(estimator)
