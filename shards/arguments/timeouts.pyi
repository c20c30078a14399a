def timeout_ms(argument: bytes, now_ms: int) -> int:
    """When a blocking command would give up, by its timeout in seconds; 0 for never.

    Raises CommandError with the texts of Redis.
    """
