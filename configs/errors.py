"""The one kind of error that is the user's to mend; the command line prints it as one line."""


class InputError(ValueError):
    """What was given cannot be used: a file, a flag, a folder. The message names it and says what to do."""
