class NativeLane:
    """Native handlers by command name; a family's kernel registers its own."""

    def __init__(self) -> None: ...
