"""Why no bundle comes of a recording and its report; kept out of the tree of what can be wrong with a call."""


class EvidenceError(Exception):
    """The message says what was wrong and what to do."""


class OtherRecording(EvidenceError):
    def __init__(self, found: str, reported: str) -> None:
        """Both are SHA-256 in hexadecimal."""
        super().__init__(
            f"the report is about the recording with SHA-256 {reported}, this one has {found}; "
            "give the recording that was scored, or score this one"
        )
        self.found, self.reported = found, reported


class NotAKey(EvidenceError):
    def __init__(self, why: str) -> None:
        super().__init__(f"not an Ed25519 public key in PEM form ({why}); `callaudit evidence key` prints one")


class TimestampFailed(EvidenceError):
    """The timestamp authority gave no token that holds; nothing was written."""
