"""Words for printed messages."""


def counted(number: int, noun: str) -> str:
    """Returns a number of things: "1 image", "2 images"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
