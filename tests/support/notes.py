"""What the summary of a run says beside its failures, whichever of its processes noted it."""

LEAKS: list[str] = []  # tests that left native blocks behind: the run fails
ORACLE_ENDS: list[str] = []  # cases in which redis-server crashed, so that nothing was compared
