"""The statistics of a verdict: numpy and scipy only, each function citing its source. No torch here."""
