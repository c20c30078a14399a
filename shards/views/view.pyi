class View:
    """A key of the running command's database, looked up again in each call."""

    name: bytes
