"""Value functions of interests, for planning policies."""
