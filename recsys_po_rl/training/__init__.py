"""Policy-gradient training: advantages, losses, the training step and the training loop."""
