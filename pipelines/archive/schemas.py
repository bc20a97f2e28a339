"""The tables of an archive, as docs/archive.md describes them; a test pins both."""

import pyarrow as pa

VERSION = "1"
CALLS, UTTERANCES, FAILURES = "calls", "utterances", "failures"

_TEXTS = pa.list_(pa.string())
_UTC = pa.timestamp("us", "UTC")
_STATED = {b"callaudit_schema": VERSION.encode()}

_WHO = [
    ("recording", pa.string()),
    ("call_id", pa.string()),
    ("sha256", pa.string()),
]

SCHEMAS = {
    CALLS: pa.schema(
        [
            *_WHO,
            ("same_as", pa.string()),
            ("collector_id", pa.string()),
            ("agency", pa.string()),
            ("borrower_ref", pa.string()),
            ("called_at", _UTC),
            ("direction", pa.string()),
            ("contact", pa.string()),
            ("contact_refused", pa.bool_()),
            ("agreed_hours", pa.bool_()),
            ("duration_s", pa.float64()),
            ("channels", pa.int32()),
            ("codec", pa.string()),
            ("verdict", _TEXTS),
            ("awaiting_review", pa.int32()),
            ("utterances", pa.int32()),
            ("threat", pa.int32()),
            ("insult", pa.int32()),
            ("third_party_contact", pa.int32()),
            ("compliant", pa.int32()),
            ("highest_threat", pa.float64()),
            ("highest_insult", pa.float64()),
            ("highest_third_party_contact", pa.float64()),
            ("collector_speech_s", pa.float64()),
            ("borrower_speech_s", pa.float64()),
            ("unknown_speech_s", pa.float64()),
            ("asr_confidence", pa.float64()),
            ("level_dbfs", pa.float64()),
            ("transcriber_sha256", pa.string()),
            ("classifier_sha256", pa.string()),
            ("speakers_sha256", pa.string()),
            ("report", pa.string()),
        ],
        _STATED,
    ),
    UTTERANCES: pa.schema(
        [
            *_WHO,
            ("index", pa.int32()),
            ("channel", pa.int32()),
            ("speaker", pa.string()),
            ("speaker_confidence", pa.float64()),
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("text", pa.string()),
            ("raw_text", pa.string()),
            ("label", pa.string()),
            ("labels", _TEXTS),
            ("threat", pa.float64()),
            ("insult", pa.float64()),
            ("third_party_contact", pa.float64()),
            ("forms", _TEXTS),
            ("asr_confidence", pa.float64()),
            ("level_dbfs", pa.float64()),
            ("raised_voice", pa.bool_()),
            ("needs_review", pa.bool_()),
            ("review_reasons", _TEXTS),
        ],
        _STATED,
    ),
    FAILURES: pa.schema([*_WHO, ("error", pa.string()), ("reason", pa.string())], _STATED),
}

FINDINGS = "findings"
RULES = b"callaudit_rules"  # in the file's metadata: the rules that judged, as JSON
FINDINGS_SCHEMA = pa.schema(
    [
        ("rule", pa.string()),
        ("title", pa.string()),
        ("borrower_ref", pa.string()),
        ("collectors", _TEXTS),
        ("agencies", _TEXTS),
        ("first_at", _UTC),
        ("last_at", _UTC),
        ("calls", _TEXTS),
        ("count", pa.int32()),
        ("limit", pa.int32()),
    ],
    _STATED,
)
