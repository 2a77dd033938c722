"""Policy-gradient training: estimators, the training step and the training loop."""
