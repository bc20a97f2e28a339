from pathlib import Path

import pytest
from pydantic import ValidationError

from app.config import CannotStart, Settings, read_settings
from app.engine import engine_options
from pipelines.decode import DecodeLimits
from pipelines.score import EngineOptions

SETTINGS = Path(__file__).parent.parent / "docs" / "settings.md"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_setting_is_documented(name: str) -> None:
    assert f"`CALLAUDIT_{name.upper()}`" in SETTINGS.read_text("utf8")


def test_defaults_are_those_of_the_engine_and_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALLAUDIT_ASR_MODEL", raising=False)
    settings = Settings()
    assert engine_options(settings) == EngineOptions()
    assert settings.max_recording_seconds == DecodeLimits().longest_s
    assert settings.max_upload_bytes == DecodeLimits().largest_bytes


def test_settings_come_from_the_environment_and_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLAUDIT_MAX_UPLOAD_BYTES", "1000")
    settings = Settings()
    assert settings.max_upload_bytes == 1000
    with pytest.raises(ValidationError):
        settings.max_upload_bytes = 2000  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CALLAUDIT_MAX_UPLOAD_BYTES", "lots"),
        ("CALLAUDIT_THREADS", "-1"),
        ("CALLAUDIT_DATABASE_URL", "mysql://somewhere/db"),
        ("CALLAUDIT_EXECUTOR_ID", "../evil"),
        ("CALLAUDIT_LOG_LEVEL", "LOUD"),
        ("CALLAUDIT_BORROWER_UPLOAD_BYTES", str(512 * 2**20 + 1)),
    ],
)
def test_wrong_setting_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(CannotStart, match=name) as error:
        read_settings()
    assert "\n" not in str(error.value)
    assert str(error.value).count(": ") == 1


def test_borrowers_may_send_no_more_than_anyone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().borrower_upload_bytes == 100 * 2**20
    monkeypatch.setenv("CALLAUDIT_MAX_UPLOAD_BYTES", "1000")
    assert read_settings().borrower_upload_bytes == 1000
    monkeypatch.setenv("CALLAUDIT_BORROWER_UPLOAD_BYTES", "999")
    assert read_settings().borrower_upload_bytes == 999
    monkeypatch.setenv("CALLAUDIT_BORROWER_UPLOAD_BYTES", "1001")
    with pytest.raises(CannotStart, match="CALLAUDIT_MAX_UPLOAD_BYTES, which is 1000"):
        read_settings()


def test_password_of_the_database_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLAUDIT_DATABASE_URL", "postgresql://me:hunter2@host/db")
    assert "hunter2" not in repr(Settings())
    assert "hunter2" not in repr(Settings().database)
