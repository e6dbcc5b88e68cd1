"""Testing of patterns: tolerances, comparison of results."""
