"""How good a frozen policy is: fresh users, fixed seeds, intervals."""
