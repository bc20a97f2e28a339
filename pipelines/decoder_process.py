"""A stranger's file on standard input -> sound on the files handed down, and what was found as JSON on standard output.

pipelines.decoder_server forks it, and pipelines.decode holds the other ends. Before it looks at a byte it gives up
memory, time and the opening of files, so that a hostile recording costs one failed call and reaches nothing else.
"""

import ctypes
import json
import os
import re
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from errno import EDQUOT, EFBIG, ENOSPC
from io import RawIOBase
from typing import BinaryIO

import av
import av.subtitles.codeccontext  # PyAV imports these two on first use, when nothing can be opened any more
import av.subtitles.stream
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from pipelines.pcm import PcmWriter, Refused
from pipelines.silk import decode_silk, is_silk

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38

_CONTAINERS = "wav,mp3,aac,mov,ogg,flac,amr,matroska,asf"
# Pictures, subtitles and the codecs of old games never run: the fewer decoders, the fewer holes.
_CODECS = (
    "pcm_u8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,"
    "pcm_f64be,pcm_alaw,pcm_mulaw,gsm,gsm_ms,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,g722,g726,g723_1,g729,"
    "truespeech,speex,ilbc,mp2,mp2float,mp3,mp3float,aac,aac_latm,alac,flac,vorbis,opus,libopus,amrnb,amrwb,"
    "libopencore_amrnb,libopencore_amrwb,qcelp,evrc,wmav1,wmav2,wmapro,wmavoice,wmalossless,ac3,eac3"
)
_MAGIC = re.compile(
    rb"(RIFF|RF64)....WAVE|....ftyp|ID3|fLaC|OggS|#!AMR|\x1aE\xdf\xa3|\x30\x26\xb2\x75\x8e\x66\xcf\x11", re.DOTALL
)
# Their headers count samples; other containers let ffmpeg guess a length from the bit rate.
_STATES_LENGTH = frozenset(("flac", "mov,mp4,m4a,3gp,3g2,mj2"))


@dataclass(frozen=True, slots=True)
class Order:
    """What pipelines.decode asks for."""

    outputs: tuple[int, ...]  # file descriptors, one per channel
    longest_s: float
    memory_bytes: int
    cpu_s: int
    file_bytes: int  # of sound, per channel


def run(order: Order, parent: int) -> None:
    """Decodes in this process, which is of no other use afterwards."""
    av.logging.set_level(None)
    outputs = [os.fdopen(descriptor, "wb", buffering=0) for descriptor in order.outputs]
    source = os.fdopen(0, "rb")
    _confine(order, parent)
    answer: dict[str, object]
    try:
        answer = _decode(source, outputs, order.longest_s)
    except Refused as refusal:
        answer = {"error": refusal.error, "facts": refusal.facts}
    except MemoryError:
        answer = {"error": "DecoderLimit", "facts": ["out of memory"]}
    except OSError as error:
        if error.errno not in (ENOSPC, EDQUOT, EFBIG):
            raise
        answer = {"error": "NoSpace", "facts": []}
    print(json.dumps(answer), end="", flush=True)


def _confine(order: Order, parent: int) -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it died before the signal was asked for
        sys.exit(1)
    resource.setrlimit(resource.RLIMIT_CPU, (order.cpu_s, order.cpu_s + 1))  # SIGXCPU first, then SIGKILL
    for what, most in (
        (resource.RLIMIT_AS, order.memory_bytes),
        (resource.RLIMIT_FSIZE, order.file_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 0),  # what is open stays open, and nothing else can be opened
    ):
        resource.setrlimit(what, (most, most))


def _decode(source: BinaryIO, outputs: Sequence[RawIOBase], longest_s: float) -> dict[str, object]:
    source.seek(0)  # the parent has read it for the hash
    head = source.read(16)
    source.seek(0)
    writer = PcmWriter(outputs, longest_s)
    if is_silk(head):
        codec, whole = "silk", decode_silk(source, writer.push)
    else:
        with _opened(source, head) as container:
            stream = _sound_of(container, longest_s)
            codec, whole = stream.codec_context.codec.canonical_name, _decode_stream(container, stream, writer)
    kept = writer.finish()
    if not kept:
        raise Refused("EmptyRecording") if whole else Refused("BrokenRecording", "none of it is whole")
    return {"codec": codec, "source_channels": writer.channels, "kept": kept}


def _opened(source: BinaryIO, head: bytes) -> InputContainer:
    # ffmpeg probes all formats, playlists too, and only then asks the list; so a playlist is refused, not misread.
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none", "codec_whitelist": _CODECS}
    try:
        return av.open(source, "r", container_options=options, metadata_errors="replace")  # tags may be GBK
    except MemoryError:
        raise
    except av.FFmpegError as error:
        if _MAGIC.match(head):
            raise Refused("BrokenRecording", error.strerror or "damaged") from None
        raise Refused("UnknownFormat") from None


def _sound_of(container: InputContainer, longest_s: float) -> AudioStream:
    if not container.streams.audio:
        raise Refused("UnknownFormat", "it holds no sound")
    stream = container.streams.audio[0]
    coder = stream.codec_context
    if coder is None or coder.codec.name not in _CODECS.split(","):
        raise Refused("UnknownFormat", f"codec {coder.codec.canonical_name if coder else 'unknown'}")
    if coder.channels > 2:
        raise Refused("TooManyChannels", coder.channels)
    stated_s = (container.duration or 0) / av.time_base
    if container.format.name in _STATES_LENGTH and stated_s > longest_s:
        raise Refused("TooLong", longest_s, stated_s)
    coder.thread_count = 1
    return stream


def _decode_stream(container: InputContainer, stream: AudioStream, writer: PcmWriter) -> bool:
    """Decodes what can be; true when all of it could be."""
    good = bad = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except MemoryError:
            raise
        except av.FFmpegError:
            bad += 1
            break
        if packet is None:
            break
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except av.FFmpegError:
            bad += 1
            continue
        good += bool(frames)
        for frame in frames:
            writer.push(_samples(frame), frame.sample_rate)
    if bad > good > 0:
        raise Refused("BrokenRecording", "most of it is damaged")
    return not bad


def _samples(frame: AudioFrame) -> NDArray[np.float32]:
    """Frames as rows, channels as columns, full scale as 1."""
    sound = frame.to_ndarray()
    sound = sound.T if frame.format.is_planar else sound.reshape(-1, frame.layout.nb_channels)
    samples: NDArray[np.float32] = sound.astype(np.float32)
    if sound.dtype == np.uint8:
        samples -= 128
    if sound.dtype.kind in "iu":
        samples /= 2 ** (8 * sound.itemsize - 1)
    return samples
