"""Learning by policy gradient: estimators, one step, the loop."""
