"""Call scripts with their truth -> demo recordings in voices that no model was trained on."""

import argparse
import json
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from pipelines.training.synthesis import Synthesizer, Voice
from pipelines.training.telephone import SAMPLE_RATE, coloured_noise

TELEPHONE_RATE = 8_000
# suffix: container, codec, bits a second
FORMATS = {
    ".ogg": ("ogg", "libopus", 16_000),
    ".mp3": ("mp3", "libmp3lame", 24_000),
    ".amr": ("amr", "libopencore_amrnb", 12_200),
    ".wav": ("wav", "pcm_mulaw", None),
}


def render(script: Path, synthesizer: Synthesizer) -> None:
    """Write the recording that the script names beside it, and the utterances' times into it."""
    call = json.loads(script.read_text("utf8"))
    random = np.random.default_rng(zlib.crc32(script.stem.encode()))
    pieces: list[tuple[int, int, NDArray[np.float32]]] = []
    position = SAMPLE_RATE // 2
    for utterance in call["utterances"]:
        side = "collector" if utterance["speaker"] == "collector" else "borrower"
        speech = synthesizer.speak(utterance["text"], Voice(**call["voices"][side])).samples
        speech = speech / np.abs(speech).max() * random.uniform(0.4, 0.7)
        pieces.append((0 if side == "collector" else 1, position, speech))
        utterance["start"] = round(position / SAMPLE_RATE, 2)
        utterance["end"] = round((position + speech.size) / SAMPLE_RATE, 2)
        position += speech.size + int(random.uniform(0.45, 0.9) * SAMPLE_RATE)
    sound = np.zeros((2, position), np.float32)
    for side_index, begin, speech in pieces:
        sound[side_index, begin : begin + speech.size] += speech
    if call["collector_channel"] == 1:
        sound = sound[::-1]
    if call["channels"] == 1:
        sound = sound.sum(axis=0, keepdims=True)
    noise = 10 ** (call["noise_db"] / 20) * 0.1
    heard = [_telephone(channel + noise * coloured_noise(position, 1.0, random)) for channel in sound]
    _write(np.stack(heard), script.with_name(call["recording"]))
    script.write_text(json.dumps(call, ensure_ascii=False, indent=1) + "\n", "utf8")


def _telephone(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    narrow = soxr.resample(samples, SAMPLE_RATE, TELEPHONE_RATE)
    band = butter(2, [250, 3_400], "band", fs=TELEPHONE_RATE, output="sos")
    return np.clip(sosfilt(band, narrow), -1, 1).astype(np.float32)


def _write(channels: NDArray[np.float32], file: Path) -> None:
    container, codec, bits = FORMATS[file.suffix]
    with av.open(str(file), "w", format=container) as out:
        # At low rates Opus joins two channels to one; family 255 codes them apart.
        apart = {"mapping_family": "255"} if codec == "libopus" else {}
        layout = "stereo" if len(channels) == 2 else "mono"
        stream = out.add_stream(codec, rate=TELEPHONE_RATE, layout=layout, options=apart)
        if bits:
            stream.bit_rate = bits
        samples = np.ascontiguousarray((channels * 32_767).astype(np.int16).T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(samples, "s16", stream.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = TELEPHONE_RATE, 0, Fraction(1, TELEPHONE_RATE)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scripts", type=Path, nargs="+")
    speaker = Synthesizer()
    for chosen in parser.parse_args().scripts:
        render(chosen, speaker)
