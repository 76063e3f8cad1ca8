"""The one exception for faults in what a user gave us."""


class InputError(ValueError):
    """Bad input: the message names the file, key or row, what was expected, and what to do.

    Scripts and the command line print the message alone, without a traceback, and exit with 2.
    """
