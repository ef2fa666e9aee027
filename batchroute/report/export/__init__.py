"""A run's results as one file in input order, for people and for other programs."""
