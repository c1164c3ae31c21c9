"""The networks that training.py times, as lists of layers that ours and PyTorch's are built from.

A layer is (kind, channels in, channels out); without channels where there are none.
"""

Layers = list[tuple[str, int, int]]

# What a step works on: images [batch, size, size, channels] and K codes of D numbers.
NETWORKS: dict[str, dict[str, int]] = {
    "mnist": {"batch": 128, "size": 28, "channels": 1, "codes": 128, "dim": 16},
    "resnet": {"batch": 64, "size": 32, "channels": 3, "codes": 512, "dim": 64, "width": 256},
    "vqgan": {"batch": 16, "size": 64, "channels": 3, "codes": 512, "dim": 64, "width": 64},
}
VARIANCE = 0.0949  # of MNIST's pixels; another would time alike
_MULTIPLIERS = (1, 2, 2)
_BLOCKS = 2


def vqgan_encoder(channels: int, dim: int, width: int) -> Layers:
    """An encoder in the style of VQGAN (arXiv:2012.09841), without attention."""
    layers, last = [("conv3", channels, width)], width
    for level, multiplier in enumerate(_MULTIPLIERS):
        for _ in range(_BLOCKS):
            layers.append(("block", last, multiplier * width))
            last = multiplier * width
        if level < len(_MULTIPLIERS) - 1:
            layers.append(("down", last, last))
    return [*layers, ("block", last, last), ("activation", last, last), ("conv3", last, dim)]


def vqgan_decoder(channels: int, dim: int, width: int) -> Layers:
    """Its decoder, which repeats pixels and convolves where the encoder halves."""
    last = _MULTIPLIERS[-1] * width
    layers = [("conv3", dim, last), ("block", last, last)]
    for level, multiplier in reversed(list(enumerate(_MULTIPLIERS))):
        for _ in range(_BLOCKS):
            layers.append(("block", last, multiplier * width))
            last = multiplier * width
        if level > 0:
            layers.append(("up", last, last))
    return [*layers, ("activation", last, last), ("conv3", last, channels)]
