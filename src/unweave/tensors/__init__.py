"""Mathematics that knows no model: linear algebra, moments, small logistic problems, splits, scores, resampling."""
