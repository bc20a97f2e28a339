"""Name or folder -> a local model folder that is whole, with its card and hash; never a silent fallback."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import ModelNotFound

BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True, slots=True)
class Weights:
    folder: Path
    name: str
    version: str
    sha256: str
    card: Mapping[str, Any] = field(default_factory=dict)  # what card.json says; empty where there is none


def find_weights(setting: str, name: str, needed: tuple[str, ...], remedy: str = "") -> Weights:
    """`name` is "bundled/…" for a model that ships, a local folder, or a repository of the Hugging Face hub.

    Raises ModelNotFound, naming `setting`, if it cannot be had or lacks one of the `needed` files; `remedy` says how
    they are got.
    """
    if name.startswith("bundled/"):
        folder = BUNDLED / name.removeprefix("bundled/")
    elif Path(name).is_dir():
        folder = Path(name)
    elif name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelNotFound(setting, name, "there is no such folder")
    else:
        folder = _download(setting, name)
    missing = [file for file in needed if not (folder / file).is_file()]
    if missing:
        raise ModelNotFound(setting, name, f"the folder lacks {', '.join(missing)}{remedy and f' ({remedy})'}")
    card = _card(folder)
    return Weights(folder, name, str(card["version"]) if card else "unversioned", sha256_of(folder), card)


def _download(setting: str, name: str) -> Path:
    from faster_whisper.utils import _MODELS  # noqa: PLC0415 - only a name needs the hub
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        return Path(snapshot_download(_MODELS.get(name, name)))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelNotFound(
            setting, name, f"no such folder, and the hub did not give it ({type(error).__name__})"
        ) from error


def _card(folder: Path) -> dict[str, Any]:
    file = folder / "card.json"
    return dict(json.loads(file.read_text("utf8"))) if file.is_file() else {}


def sha256_of(folder: Path, files: str = "*") -> str:
    """Over names and contents of the files that match, in order, so that a changed tokenizer changes it too."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.glob(files) if path.is_file()):
        name = file.relative_to(folder).as_posix()
        if name.startswith(".") or "/." in name:
            continue
        digest.update(name.encode() + b"\0")
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()
