"""Environment variables CALLAUDIT_* -> Settings; docs/settings.md tells each one's story."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, SecretStr, ValidationError, ValidationInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.encryption import Keyring
from app.objects import Prefixes

if TYPE_CHECKING:
    import sqlalchemy as sa

Network = IPv4Network | IPv6Network

_BORROWER_UPLOAD_BYTES = 100 * 2**20


class CannotStart(Exception):
    """The program cannot run as it is configured; the message is one line that says what to change."""


def _known_database(url: SecretStr) -> SecretStr:
    import sqlalchemy as sa  # noqa: PLC0415 - most commands need none

    try:
        name = sa.make_url(url.get_secret_value()).get_backend_name()
    except sa.exc.ArgumentError:
        name = "unreadable"
    if name not in ("sqlite", "postgresql"):
        raise ValueError("must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE")
    return url


def _known_key(key: SecretStr) -> SecretStr:
    Keyring.read(key.get_secret_value())
    return key


def _known_prefixes(setting: str) -> str:
    Prefixes.read(setting)
    return setting


def _networks(given: object) -> object:
    if not isinstance(given, str):
        return given
    try:
        return tuple(ip_network(part.strip()) for part in given.split(",") if part.strip())
    except ValueError:
        raise ValueError("must be networks with commas, as 10.0.0.0/8,192.168.1.0/24") from None


def _within_upload(size: int, info: ValidationInfo) -> int:
    """What the pages take is decoded under the limit of all uploads."""
    if size > info.data.get("max_upload_bytes", size):
        raise ValueError(f"must not be above CALLAUDIT_MAX_UPLOAD_BYTES, which is {info.data['max_upload_bytes']}")
    return size


class Settings(BaseSettings):
    """How this deployment runs. Method options live beside the methods."""

    model_config = SettingsConfigDict(env_prefix="CALLAUDIT_", frozen=True)

    data_dir: Path = Path("data")
    database_url: Annotated[SecretStr, AfterValidator(_known_database)] | None = None
    recordings_url: str | None = None
    encryption_key: Annotated[SecretStr, AfterValidator(_known_key)] | None = None
    encryption_key_file: Path | None = None

    asr_model: str = "bundled/transcriber"
    classifier: str = "bundled/classifier"
    speakers: str = Field(default="embeddings", pattern=r"^(off|embeddings|pyannote(:.+)?)$")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compute_type: str = "default"
    threads: int = Field(default=0, ge=0)

    timestamp_url: HttpUrl | None = None
    timestamp_roots: Path | None = None

    concurrency: int = Field(default=1, ge=1)
    max_recording_seconds: float = Field(default=10_800, gt=0)
    max_upload_bytes: int = Field(default=512 * 2**20, gt=0)
    max_queued_calls: int = Field(default=10_000, ge=1)
    object_prefixes: Annotated[str, AfterValidator(_known_prefixes)] = ""

    borrower_pages: Literal["auto", "on", "off"] = "auto"
    borrower_days: int = Field(default=30, ge=1, le=3650)
    borrower_upload_bytes: Annotated[int, AfterValidator(_within_upload)] = Field(
        default_factory=lambda known: min(_BORROWER_UPLOAD_BYTES, known["max_upload_bytes"]), gt=0
    )
    borrower_uploads_per_hour: int = Field(default=20, ge=1)

    conduct_rules: Path | None = None

    executor_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,100}$")
    worker_timeout_seconds: float = Field(default=30, ge=1)
    request_within_seconds: float = Field(default=20, gt=0)
    stop_within_seconds: int = Field(default=10, ge=1)
    database_wait_seconds: float = Field(default=5, gt=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "text"] = "auto"

    webhook_private_networks: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = ()
    metrics_token: SecretStr | None = Field(default=None, min_length=16)
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    traces_url: str | None = Field(default=None, pattern=r"^https?://[^@]+$")

    @property
    def database(self) -> "sa.URL":
        import sqlalchemy as sa  # noqa: PLC0415

        if self.database_url is None:
            return sa.URL.create("sqlite", database=str(self.data_dir.absolute() / "callaudit.db"))
        url = sa.make_url(self.database_url.get_secret_value())
        return url if url.get_backend_name() == "sqlite" else url.set(drivername="postgresql+psycopg")

    @property
    def keyring(self) -> Keyring:
        """Raises CannotStart if the file of keys is no such file."""
        if self.encryption_key_file is not None:
            try:
                return Keyring.read(self.encryption_key_file.read_text("ascii").strip())
            except (OSError, ValueError) as error:
                told = getattr(error, "strerror", None) or str(error)
                raise CannotStart(f"CALLAUDIT_ENCRYPTION_KEY_FILE={self.encryption_key_file}: {told}") from error
        return Keyring.read(self.encryption_key.get_secret_value()) if self.encryption_key else Keyring([])

    @property
    def recordings(self) -> str:
        return self.recordings_url or str(self.data_dir.absolute() / "recordings")


def read_settings() -> Settings:
    """Raises CannotStart, naming the variables that are wrong."""
    try:
        return Settings()
    except ValidationError as error:
        # A default that another setting decides is not told of besides that setting's own fault.
        faults = [fault for fault in error.errors() if fault["type"] != "default_factory_not_called"]
        wrong = (f"CALLAUDIT_{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in faults)
        raise CannotStart("; ".join(wrong)) from None
