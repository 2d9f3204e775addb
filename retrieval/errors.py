"""The one exception that means: the user can mend this. It lives in the lowest room so that every room may raise it."""


class UserError(Exception):
    """A single line that names the file, row or config path and says what would be right.

    The command line prints it and exits with status 2; every other exception keeps its traceback and exits with 1.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Refused(UserError):
    """One thing cannot be had here (an index that needs more vectors to train); a comparison goes on without it."""
