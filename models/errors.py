"""Everything that can go wrong with a call: one tree, facts inside, no HTTP."""


class CallError(Exception):
    """A call could not be scored; the message says what was wrong and what to do."""


class DecodeError(CallError):
    """The recording is not sound that can be read."""


class EmptyRecording(DecodeError):
    def __init__(self) -> None:
        super().__init__("the recording is empty: no sound in it; check that the file was saved or uploaded whole")


class UnknownFormat(DecodeError):
    def __init__(self, detail: str = "") -> None:
        super().__init__(
            "not a recording in a known format"
            + (f" ({detail})" if detail else "")
            + "; send WAV, MP3, M4A, Ogg, FLAC, AMR, WebM, 3GP, WMA, MP4 or a WeChat SILK voice message"
        )


class BrokenRecording(DecodeError):
    def __init__(self, detail: str) -> None:
        super().__init__(f"the recording could not be decoded ({detail}); send the original file again")


class TooManyChannels(DecodeError):
    def __init__(self, channels: int) -> None:
        super().__init__(f"the recording has {channels} channels; send one or two (export the telephone channels only)")
        self.channels = channels


class TooLong(CallError):
    def __init__(self, limit_s: float, stated_s: float | None = None) -> None:
        """`stated_s`: how long the file says it is, if it does."""
        super().__init__(
            f"the recording is longer than {limit_s:.0f} s; cut it, or raise CALLAUDIT_MAX_RECORDING_SECONDS"
        )
        self.limit_s, self.stated_s = limit_s, stated_s


class TooLarge(CallError):
    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"the file is larger than {limit_bytes} bytes; compress or cut it, or raise CALLAUDIT_MAX_UPLOAD_BYTES"
        )
        self.limit_bytes = limit_bytes


class DecoderLimit(CallError):
    """The decoder's child process hit its memory or CPU limit, or died."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"decoding was stopped ({detail}); the file is broken or hostile, convert it to WAV and retry")


class UnreadableFile(CallError):
    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name!r} cannot be read: {why}; check the path and its permissions")
        self.name = name


class NoSpace(CallError):
    def __init__(self) -> None:
        super().__init__("no space left for the decoded sound; free some, or set TMPDIR to a folder that has it")


class ModelError(CallError):
    """A model cannot be used; names the setting and what to do."""


class ModelNotFound(ModelError):
    def __init__(self, setting: str, name: str, why: str) -> None:
        super().__init__(
            f"{setting}={name}: {why}; set {setting} to a local model folder, or to a name of a hub that is reachable"
        )
        self.setting, self.name = setting, name


class WrongModel(ModelError):
    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} is not a model that callaudit can use: {why}")


class InvalidText(CallError):
    """A text that cannot be labelled."""
