class Alignment:
    length: int
    text: bytes | None
    ranges: list[tuple[int, int, int, int]]

def align(first: bytes, second: bytes, only_length: bool = False) -> Alignment: ...
