"""Value functions of interests, for policies that plan."""
