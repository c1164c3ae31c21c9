"""What can go wrong with what a user gave, each said in a line: what, where, what is allowed."""


class ConfigError(ValueError):
    """A setting is missing, unknown, of the wrong type or out of its range."""


class DataError(ValueError):
    """A data set cannot be found, or a file of it is not what it must be."""


class DamagedError(DataError):
    """A file is not as it was written."""


class UnsupportedError(DataError):
    """A data set is whole, but of a form that is not supported."""


class CheckpointError(ValueError):
    """A checkpoint is missing, or does not fit what it shall be restored into."""


class BusyError(RuntimeError):
    """Another process works on the same run."""


class TrainingError(ArithmeticError):
    """A run cannot go on: something is not finite, a device or another process has failed."""


class MissingError(ImportError):
    """A package is missing that an extra of this one installs."""
