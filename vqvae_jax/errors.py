"""Errors in a user's input, each with a one-line message: what, where, what is allowed."""


class ConfigError(ValueError):
    """A setting is missing, unknown, of the wrong type or out of its range."""


class DataError(ValueError):
    """A data set cannot be found, or a file is invalid."""


class DamagedError(DataError):
    """A file differs from what was written."""


class UnsupportedError(DataError):
    """A file or data set is intact, but its form is not supported."""


class CheckpointError(ValueError):
    """A checkpoint is missing, or does not fit the state to restore."""


class BusyError(RuntimeError):
    """Another process is working on the same run."""


class TrainingError(ArithmeticError):
    """A run cannot continue: something is not finite, or a device or another process failed."""


class MissingError(ImportError):
    """A package is missing that one of this package's extras installs."""
