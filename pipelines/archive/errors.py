"""What stops an archive run as a whole; a recording that fails is a row, not one of these."""


class ArchiveError(Exception):
    """The run cannot start or go on; the message says what is wrong and what to do."""
