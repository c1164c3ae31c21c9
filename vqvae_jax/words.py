"""Words for what is printed."""


def counted(number: int, noun: str) -> str:
    """A number of things: "1 image", "2 images"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
