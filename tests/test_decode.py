import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from fractions import Fraction
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pysilk
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from models.call import SAMPLE_RATE
from models.errors import (
    BrokenRecording,
    CallError,
    DecoderLimit,
    EmptyRecording,
    TooLarge,
    TooLong,
    TooManyChannels,
    UnknownFormat,
    UnreadableFile,
)
from pipelines.decode import DecodeLimits, decode

ROOT = Path(__file__).parent.parent
RECORDINGS = Path(__file__).parent / "data" / "recordings"

Sound = NDArray[np.float32]


def tones(rate: int, *frequencies: float, seconds: float = 2.0) -> Sound:
    """Columns of half a second of silence, then a tone each."""
    t = np.arange(int(rate * seconds)) / rate
    columns = [0.3 * np.sin(2 * np.pi * frequency * t) * (t >= 0.5) for frequency in frequencies]
    return np.stack(columns, axis=1).astype(np.float32)


def bursts(seed: int, rate: int, seconds: int, turns: Callable[[int], bool]) -> Sound:
    """Noise during the whole seconds that are one's turn; no two seeds are alike."""
    noise = np.random.default_rng(seed).normal(0, 0.1, (seconds, rate))
    return (noise * [[turns(second)] for second in range(seconds)]).astype(np.float32).ravel()


def by_soundfile(path: Path, sound: Sound, rate: int, container: str, subtype: str) -> None:
    soundfile.write(path, sound, rate, format=container, subtype=subtype)


def by_pyav(path: Path, sound: Sound, rate: int, container: str, codec: str, *, picture: bool = False) -> None:
    with av.open(str(path), "w", format=container) as file:
        layout = ("mono", "stereo", "2.1", "quad", "5.0", "5.1")[sound.shape[1] - 1]
        stream = file.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        if codec == "wmav2":
            stream.bit_rate = 64_000
        if picture:
            film(file)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.T), "fltp", layout)
        frame.sample_rate = rate
        coder = stream.codec_context
        resampler = av.AudioResampler(coder.format, layout, rate, coder.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))


def film(file: av.container.OutputContainer) -> None:
    video = file.add_stream("mpeg4", rate=10)
    assert isinstance(video, av.VideoStream)
    video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
    for number in range(5):
        picture = av.VideoFrame(64, 64, "yuv420p")
        picture.pts = number
        file.mux(video.encode(picture))
    file.mux(video.encode(None))


def as_silk(sound: Sound, tencent: bool) -> bytes:
    output = BytesIO()
    pysilk.encode(BytesIO((sound * 32767).astype("<i2").tobytes()), output, 24_000, 24_000, tencent=tencent)
    return output.getvalue()


def wav(rate: int, sound: Sound, chunk: bytes = b"") -> bytes:
    channels = sound.shape[1]
    data = (sound * 32767).astype("<i2").tobytes()
    layout = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + layout + chunk + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def assert_tones(path: Path, codec: str, *frequencies: float) -> None:
    with decode(path) as recording:
        assert (recording.codec, len(recording.channels)) == (codec, len(frequencies))
        assert recording.source_channels == len(frequencies)
        assert recording.duration == pytest.approx(2, abs=0.13)  # encoders pad the last packet
        for channel, frequency in zip(recording.channels, frequencies, strict=True):
            sound = channel.samples.read(0, len(channel.samples))
            onset = int(np.flatnonzero(np.abs(sound) > 0.1)[0])
            assert onset / SAMPLE_RATE == pytest.approx(0.5, abs=0.06)
            spectrum = np.abs(np.fft.rfft(sound[12_000:28_000])) ** 2  # one second: a bin is one hertz
            assert int(spectrum.argmax()) == pytest.approx(frequency, abs=1)
            assert spectrum[int(frequency) - 20 : int(frequency) + 20].sum() > 0.9 * spectrum.sum()
            assert sound[12_000:28_000].std() == pytest.approx(0.3 / np.sqrt(2), rel=0.35)  # AMR hums it lower


@pytest.fixture(scope="module")
def ten_hours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("silence") / "ten hours.flac"
    ten_minutes = np.zeros(8_000 * 600, np.int16)
    with soundfile.SoundFile(path, "w", 8_000, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(60):
            file.write(ten_minutes)
    return path


@pytest.fixture(scope="module")
def endless(ten_hours: Path) -> Path:
    """The same without the number of samples in its header."""
    data = bytearray(ten_hours.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path = ten_hours.with_name("endless.flac")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("container", "subtype", "codec"),
    [
        ("WAV", "PCM_16", "pcm_s16le"),
        ("WAV", "PCM_U8", "pcm_u8"),
        ("WAV", "PCM_24", "pcm_s24le"),
        ("WAV", "FLOAT", "pcm_f32le"),
        ("WAV", "DOUBLE", "pcm_f64le"),
        ("WAVEX", "PCM_32", "pcm_s32le"),
        ("RF64", "PCM_16", "pcm_s16le"),
        ("WAV", "ALAW", "pcm_alaw"),
        ("WAV", "ULAW", "pcm_mulaw"),
        ("WAV", "MS_ADPCM", "adpcm_ms"),
        ("WAV", "IMA_ADPCM", "adpcm_ima_wav"),
        ("FLAC", "PCM_16", "flac"),
        ("FLAC", "PCM_24", "flac"),
        ("OGG", "VORBIS", "vorbis"),
    ],
)
def test_telephone_stereo_keeps_each_channels_tone(tmp_path: Path, container: str, subtype: str, codec: str) -> None:
    by_soundfile(tmp_path / "call", tones(8_000, 440, 1000), 8_000, container, subtype)
    assert_tones(tmp_path / "call", codec, 440, 1000)


@pytest.mark.parametrize(
    ("container", "encoder", "rate", "codec"),
    [
        ("mp3", "libmp3lame", 44_100, "mp3"),
        ("mp3", "libmp3lame", 8_000, "mp3"),
        ("ipod", "aac", 44_100, "aac"),
        ("ipod", "alac", 16_000, "alac"),
        ("adts", "aac", 44_100, "aac"),
        ("ogg", "libopus", 48_000, "opus"),
        ("webm", "libopus", 48_000, "opus"),
        ("asf", "wmav2", 22_050, "wmav2"),
        ("3gp", "aac", 32_000, "aac"),
    ],
)
def test_stereo_keeps_each_channels_tone(tmp_path: Path, container: str, encoder: str, rate: int, codec: str) -> None:
    by_pyav(tmp_path / "call", tones(rate, 440, 1000), rate, container, encoder)
    assert_tones(tmp_path / "call", codec, 440, 1000)


@pytest.mark.parametrize("container", ["amr", "3gp"])
def test_amr_narrowband_keeps_its_tone(tmp_path: Path, container: str) -> None:
    by_pyav(tmp_path / "call", tones(8_000, 440), 8_000, container, "libopencore_amrnb")
    assert_tones(tmp_path / "call", "amr_nb", 440)


def test_amr_wideband_keeps_its_tone() -> None:
    assert_tones(RECORDINGS / "tone-wb.amr", "amr_wb", 440)


def test_gsm_in_wav_keeps_its_tone(tmp_path: Path) -> None:
    by_soundfile(tmp_path / "call.wav", tones(8_000, 440), 8_000, "WAV", "GSM610")
    assert_tones(tmp_path / "call.wav", "gsm_ms", 440)


def test_sound_of_a_video_is_taken(tmp_path: Path) -> None:
    by_pyav(tmp_path / "call.mp4", tones(44_100, 440, 1000), 44_100, "mp4", "aac", picture=True)
    assert_tones(tmp_path / "call.mp4", "aac", 440, 1000)


@pytest.mark.parametrize("tencent", [True, False], ids=["with 0x02", "without"])
@pytest.mark.parametrize("ending", [b"", b"\xff\xff", b"\x50\x00cut off"], ids=["plain", "end mark", "cut off"])
def test_wechat_voice_message_keeps_its_tone(tmp_path: Path, tencent: bool, ending: bytes) -> None:
    (tmp_path / "voice.amr").write_bytes(as_silk(tones(24_000, 440), tencent) + ending)
    assert_tones(tmp_path / "voice.amr", "silk", 440)


def test_a_voice_message_keeps_the_pauses_that_its_recorder_left_out(tmp_path: Path) -> None:
    sound = tones(24_000, 440, seconds=6)
    sound[24_000:-24_000] = 0
    message = BytesIO()
    pysilk.encode(BytesIO((sound * 32767).astype("<i2").tobytes()), message, 24_000, 24_000, use_dtx=True)
    (tmp_path / "voice.silk").write_bytes(message.getvalue())
    with decode(tmp_path / "voice.silk") as recording:
        assert recording.duration == 6


@pytest.mark.parametrize("rate", [4_000, 11_025, 16_000, 192_000])
def test_any_rate_is_brought_to_16_khz(tmp_path: Path, rate: int) -> None:
    by_soundfile(tmp_path / "call.wav", tones(rate, 440, 1000), rate, "WAV", "PCM_16")
    assert_tones(tmp_path / "call.wav", "pcm_s16le", 440, 1000)


def test_16_khz_samples_come_out_unchanged_by_stretches(tmp_path: Path) -> None:
    noise = np.random.default_rng(5).integers(-32768, 32767, 40_000, dtype=np.int16)
    soundfile.write(tmp_path / "call.wav", noise, SAMPLE_RATE)
    with decode(tmp_path / "call.wav") as recording:
        samples = recording.channels[0].samples
        assert len(samples) == 40_000
        assert recording.sha256 == sha256((tmp_path / "call.wav").read_bytes()).hexdigest()
        middle = samples.read(9_999, 20_001)
        assert middle.dtype == np.float32
        np.testing.assert_array_equal(middle, noise[9_999:20_001] / np.float32(32768))
        assert len(samples.read(39_000, 50_000)) == 1_000
        assert len(samples.read(50_000, 60_000)) == 0


def test_float_samples_that_are_no_numbers_are_silenced(tmp_path: Path) -> None:
    sound = tones(SAMPLE_RATE, 440)
    sound[100:200], sound[300:310], sound[400:410] = np.nan, np.inf, 1e30
    by_soundfile(tmp_path / "call.wav", sound, SAMPLE_RATE, "WAV", "FLOAT")
    with decode(tmp_path / "call.wav") as recording:
        samples = recording.channels[0].samples.read(0, 32_000)
        assert np.isfinite(samples).all()
        assert samples[100:200].any() == np.False_


@pytest.mark.parametrize(
    "name",
    [
        "通话 '\"; rm -rf $HOME.wav",
        "-i.wav",
        "concat:a.wav|b.wav",
        "new\nline.m3u8",
        "%2e%2e%2f.wav",
        "no-utf8-\udcff.wav",
    ],
)
def test_odd_names_do_not_matter(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(wav(8_000, tones(8_000, 440)))
    assert_tones(tmp_path / name, "pcm_s16le", 440)


def test_tags_in_gbk_do_not_matter(tmp_path: Path) -> None:
    title = "催收录音".encode("gbk")
    tags = b"INFOINAM" + struct.pack("<I", len(title)) + title
    (tmp_path / "call.wav").write_bytes(wav(8_000, tones(8_000, 440), b"LIST" + struct.pack("<I", len(tags)) + tags))
    assert_tones(tmp_path / "call.wav", "pcm_s16le", 440)


def channels_of(path: Path, sound: Sound, container: str, encoder: str) -> int:
    by_pyav(path, sound, 16_000, container, encoder)
    with decode(path) as recording:
        assert recording.source_channels == 2
        assert [channel.index for channel in recording.channels] == list(range(len(recording.channels)))
        return len(recording.channels)


@pytest.mark.parametrize("gain", [1.0, -0.4])
@pytest.mark.parametrize(
    ("container", "encoder"), [("wav", "pcm_s16le"), ("wav", "pcm_mulaw"), ("mp3", "libmp3lame"), ("ogg", "libopus")]
)
def test_the_same_signal_on_both_channels_is_one_channel(
    tmp_path: Path, container: str, encoder: str, gain: float
) -> None:
    speech, _ = tones_and_pauses()
    assert channels_of(tmp_path / "call", np.stack([speech, gain * speech], axis=1), container, encoder) == 1


def test_of_two_equal_channels_the_louder_is_kept(tmp_path: Path) -> None:
    speech, _ = tones_and_pauses()
    soundfile.write(tmp_path / "call.wav", np.stack([0.1 * speech, speech], axis=1), 16_000)
    with decode(tmp_path / "call.wav") as recording:
        (channel,) = recording.channels
        np.testing.assert_allclose(channel.samples.read(0, len(speech)), speech, atol=1e-4)


@pytest.mark.parametrize(("container", "encoder"), [("wav", "pcm_mulaw"), ("mp3", "libmp3lame")])
def test_two_speakers_stay_two_channels_despite_crosstalk(tmp_path: Path, container: str, encoder: str) -> None:
    one, other = tones_and_pauses()
    sound = np.stack([one + 0.1 * other, other + 0.1 * one], axis=1)
    assert channels_of(tmp_path / "call", sound, container, encoder) == 2


def test_loud_music_on_both_channels_does_not_hide_two_speakers(tmp_path: Path) -> None:
    music = bursts(1, 16_000, 40, lambda second: second < 35)
    one = 0.2 * bursts(2, 16_000, 40, lambda second: second in (35, 37, 39))
    other = 0.2 * bursts(3, 16_000, 40, lambda second: second in (36, 38))
    assert channels_of(tmp_path / "call", np.stack([music + one, music + other], axis=1), "wav", "pcm_s16le") == 2


@pytest.mark.parametrize("silent", [0, 1])
def test_one_silent_channel_remains_a_channel(tmp_path: Path, silent: int) -> None:
    sound = tones(16_000, 440, 440)
    sound[:, silent] = 0
    assert channels_of(tmp_path / "call", sound, "mp3", "libmp3lame") == 2


def test_silence_is_a_recording(tmp_path: Path) -> None:
    assert channels_of(tmp_path / "call", np.zeros((32_000, 2), np.float32), "wav", "pcm_s16le") == 1


def tones_and_pauses() -> tuple[Sound, Sound]:
    """Two who take turns, in the telephone's band."""
    band = [bursts(seed, 8_000, 10, lambda second, seed=seed: second % 2 == seed) for seed in (0, 1)]  # type: ignore[misc]
    one, other = (soxr.resample(sound, 8_000, 16_000) for sound in band)
    return one, other


def a_png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(72))) + chunk(b"IEND", b"")


def a_jpeg() -> bytes:
    coder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(coder, av.VideoCodecContext)
    coder.width, coder.height, coder.pix_fmt, coder.framerate = 64, 64, "yuvj420p", Fraction(1)
    return b"".join(bytes(packet) for packet in coder.encode(av.VideoFrame(64, 64, "yuvj420p")))


@pytest.mark.parametrize(
    "content",
    [
        b"ffconcat version 1.0\nfile 'secret.wav'\n",
        b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.wav\n#EXT-X-ENDLIST\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
        "你好，这不是录音。\n".encode() * 200,
        a_png(),
        a_jpeg(),
        bytes(10_000),
        np.random.default_rng(3).bytes(50_000),
        (np.sin(np.arange(40_000)) * 100 + 128).astype(np.uint8).tobytes(),
    ],
    ids=["ffconcat", "hls", "sdp", "dash", "text", "png", "jpeg", "zeros", "noise", "headerless"],
)
def test_what_is_no_recording_is_refused_and_nothing_else_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / "secret.wav").write_bytes(wav(8_000, tones(8_000, 440)))
    (tmp_path / "x.wav").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownFormat), decode(Path("x.wav")):
        pass


def test_video_without_sound_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "call.mp4"), "w") as file:
        film(file)
    with pytest.raises(UnknownFormat, match="no sound"), decode(tmp_path / "call.mp4"):
        pass


@pytest.mark.parametrize("content", [b"", wav(8_000, np.zeros((0, 1), np.float32)), b"\x02#!SILK_V3"])
def test_nothing_to_hear_is_an_empty_recording(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "call.wav").write_bytes(content)
    with pytest.raises(EmptyRecording), decode(tmp_path / "call.wav"):
        pass


@pytest.mark.parametrize(
    "content",
    [
        wav(8_000, tones(8_000, 440))[:20],
        wav(2, tones(8_000, 440)),
        b"ID3" + np.random.default_rng(1).bytes(20_000),
        b"#!SILK_V3" + np.random.default_rng(2).bytes(5_000),
    ],
    ids=["half a header", "2 Hz", "mp3 of noise", "silk of noise"],
)
def test_a_damaged_recording_is_broken(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "call.wav").write_bytes(content)
    with pytest.raises(BrokenRecording), decode(tmp_path / "call.wav"):
        pass


def test_a_truncated_video_without_its_index_is_broken(tmp_path: Path) -> None:
    by_pyav(tmp_path / "call.mp4", tones(44_100, 440), 44_100, "mp4", "aac")
    (tmp_path / "call.mp4").write_bytes((tmp_path / "call.mp4").read_bytes()[:-2_000])
    with pytest.raises(BrokenRecording), decode(tmp_path / "call.mp4"):
        pass


def test_of_a_truncated_mp3_what_is_there_is_decoded(tmp_path: Path) -> None:
    by_pyav(tmp_path / "call.mp3", tones(16_000, 440, seconds=10), 16_000, "mp3", "libmp3lame")
    whole = (tmp_path / "call.mp3").read_bytes()
    (tmp_path / "call.mp3").write_bytes(whole[: len(whole) // 2 + 37])
    with decode(tmp_path / "call.mp3") as recording:
        assert recording.codec == "mp3"
        assert recording.duration == pytest.approx(5, abs=0.3)


@pytest.mark.parametrize(
    ("container", "encoder", "channels"), [("wav", "pcm_s16le", 3), ("flac", "flac", 4), ("ipod", "aac", 6)]
)
def test_three_channels_and_more_are_refused(tmp_path: Path, container: str, encoder: str, channels: int) -> None:
    by_pyav(tmp_path / "call", tones(16_000, *range(300, 300 + channels)), 16_000, container, encoder)
    with pytest.raises(TooManyChannels) as refusal, decode(tmp_path / "call"):
        pass
    assert refusal.value.channels == channels


@pytest.mark.parametrize("name", ["missing.wav", "nul\0.wav", "folder", "pipe"])
def test_a_path_that_is_no_readable_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableFile, match=repr(name)[1:-1].replace("\\", r"\\")), decode(tmp_path / name):
        pass


def test_a_file_over_the_cap_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "call.wav").write_bytes(wav(8_000, tones(8_000, 440)))
    with pytest.raises(TooLarge), decode(tmp_path / "call.wav", DecodeLimits(largest_bytes=1_000)):
        pass


def test_a_recording_of_exactly_the_longest_length_passes(tmp_path: Path) -> None:
    (tmp_path / "call.wav").write_bytes(wav(16_000, tones(16_000, 440)))
    with decode(tmp_path / "call.wav", DecodeLimits(longest_s=2)) as recording:
        assert recording.duration == 2
    with pytest.raises(TooLong), decode(tmp_path / "call.wav", DecodeLimits(longest_s=1.99)):
        pass


def test_too_long_a_voice_message_is_refused(tmp_path: Path) -> None:
    (tmp_path / "voice.silk").write_bytes(as_silk(tones(24_000, 440), tencent=True))
    with pytest.raises(TooLong), decode(tmp_path / "voice.silk", DecodeLimits(longest_s=1)):
        pass


@pytest.mark.parametrize("file", ["ten_hours", "endless"])
def test_ten_hours_of_silence_are_refused_in_little_memory(file: str, request: pytest.FixtureRequest) -> None:
    program = """
import os, sys
from pathlib import Path
from models.errors import TooLong
from pipelines.decode import decode
if os.fork():
    print(os.wait3(0)[2].ru_maxrss)
else:
    try:
        with decode(Path(sys.argv[1])):
            pass
    except TooLong:
        sys.exit()
"""
    # A process of its own, since a child's peak includes that of the process it came from.
    command = [sys.executable, "-c", program, request.getfixturevalue(file)]
    peak_kib = int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60).stdout)
    assert 40 * 1024 < peak_kib < 120 * 1024  # no less than loaded codecs take


def test_a_decoder_out_of_memory_is_one_failed_call(tmp_path: Path) -> None:
    by_pyav(tmp_path / "call.mp3", tones(16_000, 440), 16_000, "mp3", "libmp3lame")
    sound = (tmp_path / "call.mp3").read_bytes()
    picture = 200 << 20  # a cover, which ffmpeg reads whole
    header = b"\0image/png\0\3\0"
    tag, frame = (bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) for size in (picture + 23, picture + 13))
    with (tmp_path / "call.mp3").open("wb") as file:
        file.write(b"ID3\4\0\0" + tag + b"APIC" + frame + b"\0\0" + header)
        file.seek(picture, os.SEEK_CUR)
        file.write(sound)
    with pytest.raises(DecoderLimit, match="memory"), decode(tmp_path / "call.mp3"):
        pass


def test_a_decoder_out_of_processor_time_is_one_failed_call(endless: Path) -> None:
    with pytest.raises(DecoderLimit, match="processor time"), decode(endless, DecodeLimits(1e6, cpu_s=1)):
        pass


def children_of(parent: int) -> Iterator[int]:
    with suppress(OSError):  # threads and processes come and go
        for listing in Path(f"/proc/{parent}/task").glob("*/children"):
            for child in listing.read_text().split():
                if b"pipelines.decoder_server" in Path(f"/proc/{child}/cmdline").read_bytes():
                    yield int(child)


def decoders_of(parent: int) -> Iterator[int]:
    for server in children_of(parent):
        yield from children_of(server)


def first_decoder_of(parent: int) -> int:
    until(lambda: any(decoders_of(parent)))
    return next(decoders_of(parent))


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_decoder_out_of_time_is_one_failed_call(endless: Path) -> None:
    with pytest.raises(DecoderLimit, match="after 1 s"), decode(endless, DecodeLimits(1e6, wall_s=0.6)):
        pass
    until(lambda: not list(decoders_of(os.getpid())))


@pytest.fixture
def short(tmp_path: Path) -> Path:
    (tmp_path / "short.wav").write_bytes(wav(8_000, tones(8_000, 440)))
    return tmp_path / "short.wav"


@pytest.fixture
def decoding(endless: Path) -> Iterator[Future[None]]:
    """A decoder at work, for seconds unless it is killed, and how it ends."""

    def attempt() -> None:
        with decode(endless, DecodeLimits(1e6)):
            pass

    with ThreadPoolExecutor() as pool:
        yield pool.submit(attempt)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSEGV])
def test_a_decoder_that_dies_is_one_failed_call(decoding: Future[None], blow: signal.Signals, short: Path) -> None:
    decoder = first_decoder_of(os.getpid())
    server = parent_of(decoder)
    os.kill(decoder, blow)
    with pytest.raises(DecoderLimit, match=blow.name):
        decoding.result()
    until(lambda: server not in children_of(os.getpid()))  # from it, the next would have its memory laid out alike
    with decode(short) as recording:
        assert recording.duration == 2


def test_a_server_of_decoders_that_dies_is_replaced(decoding: Future[None], short: Path) -> None:
    os.kill(parent_of(first_decoder_of(os.getpid())), signal.SIGKILL)
    with pytest.raises(DecoderLimit, match="SIGKILL"):
        decoding.result()
    with decode(short):
        (server,) = children_of(os.getpid())
    os.kill(server, signal.SIGKILL)
    os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
    with decode(short) as recording:
        assert recording.duration == 2


def test_a_decoder_holds_no_files_but_its_own(decoding: Future[None]) -> None:
    decoder = first_decoder_of(os.getpid())
    # The last thing it does before it looks at the recording.
    until(lambda: "open files 0 0 files" in " ".join(Path(f"/proc/{decoder}/limits").read_text().split()))
    held = sorted(str(link.readlink()).partition(":")[0] for link in Path(f"/proc/{decoder}/fd").iterdir())
    assert held[-1] == "socket"
    assert len(held) == 5  # the recording, two channels, complaints, and that line to the service
    assert os.getsid(decoder) == decoder
    os.kill(decoder, signal.SIGKILL)
    with pytest.raises(DecoderLimit):
        decoding.result()


def test_a_decoder_knows_no_secrets_and_dies_with_the_service(endless: Path, short: Path, tmp_path: Path) -> None:
    """Though a fork of the service lives on, which holds copies of its files, and can decode as well."""
    program = """
import os, pathlib, sys
from pipelines.decode import DecodeLimits, decode
endless, short, done = map(pathlib.Path, sys.argv[1:])
with decode(short):
    pass
if os.fork():
    with decode(endless, DecodeLimits(1e6)):
        pass
with decode(short):
    done.touch()
sys.stdin.read()
"""
    command = [sys.executable, "-c", program, endless, short, tmp_path / "fork"]
    environment = os.environ | {"CALLAUDIT_SECRET": "hush"}
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, env=environment) as service:
        decoder = first_decoder_of(service.pid)
        assert b"hush" not in Path(f"/proc/{decoder}/environ").read_bytes()
        ends = [os.pidfd_open(process) for process in (decoder, parent_of(decoder))]
        until((tmp_path / "fork").exists)
        service.kill()
    for end in ends:
        died, _, _ = select.select([end], [], [], 10)
        os.close(end)
        assert died


def test_a_full_disk_is_told_from_a_hostile_file(tmp_path: Path) -> None:
    (tmp_path / "call.wav").write_bytes(wav(16_000, tones(16_000, 440, seconds=60)))
    (tmp_path / "small").mkdir()
    program = "import sys, pathlib, pipelines.decode as d; d.decode(pathlib.Path(sys.argv[1])).__enter__()"
    mounted = 'mount -t tmpfs -o size=64k tmpfs "$TMPDIR" || exit 77; exec "$@"'
    outcome = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mounted, "sh", sys.executable, "-c", program, tmp_path / "call.wav"],
        check=False,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path / "small")},
        capture_output=True,
        text=True,
    )
    if outcome.returncode == 77 or "unshare" in outcome.stderr:
        pytest.skip(f"no file system can be mounted here: {outcome.stderr.strip()}")
    assert "NoSpace: no space left" in outcome.stderr


@pytest.mark.parametrize("content", [wav(8_000, tones(8_000, 440)), b"no sound"], ids=["decoded", "refused"])
def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    (tmp_path / "call.wav").write_bytes(content)
    (tmp_path / "temporary").mkdir()
    with suppress(CallError), decode(tmp_path / "call.wav"):  # the first one leaves the line to the server of decoders
        pass
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    before = sorted(Path("/proc/self/fd").iterdir())
    try:
        with decode(tmp_path / "call.wav") as recording:
            samples = recording.channels[0].samples
            assert list((tmp_path / "temporary").iterdir()) == []
        with pytest.raises(ValueError, match="closed file"):
            samples.read(0, 1)
    except CallError:
        pass
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    assert list((tmp_path / "temporary").iterdir()) == []
