"""The report on paper: what it shows, whatever people wrote; in PDF, and as a page where no Chinese font is."""

import io
import re
from hashlib import sha256
from html import unescape
from pathlib import Path
from zipfile import ZipFile

import pypdfium2
import pytest

from models.call import Evidence, Label, Speaker, Utterance
from pipelines.evidence.bundle import bundle
from pipelines.evidence.exhibit import Stated
from pipelines.evidence.fonts import Font, find_font, printable
from pipelines.evidence.printed import LIMITS, METHOD
from pipelines.evidence.verify import verify
from pipelines.evidence.words import clock, reason
from pipelines.hearing import UNKNOWN_SPEAKER, doubts, suppress
from tests.conftest import needs_debian
from tests.evidence.conftest import CUSTODY, Maker, report_on

HOSTILE = (
    '#panic("x") #eval("1+1") $x^2$ *b* _i_ `r` \\u{41} @ref <label> // c /* d */ [e] {f} = g',
    "<script>alert(1)</script>&amp;<img src=x onerror=alert(1)>",
    "\u202eevil\u202c \x00\x07 \ue000 \U0001f600 \ufeff",
    "مرحبا שלום",
    "W" * 100,
    "很" * 100,
)


@pytest.fixture(scope="module")
def font() -> Font:
    needs_debian("fonts-noto-cjk")
    found = find_font()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def pdf(font: Font, maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    made = maker(tmp_path_factory.mktemp("paper") / "bundle.zip", find_font=find_font)
    with ZipFile(made) as file:
        return file.read("report.pdf")


def text_of(pdf: bytes) -> str:
    """Without spaces, line ends and what stands at the foot of each page, which are a matter of layout."""
    with pypdfium2.PdfDocument(pdf) as document:
        pages = "".join(page.get_textpage().get_text_range() for page in document)
    return re.sub(r"[\s\ufffe\u200b]", "", re.sub(r"[0-9a-f]{16}… · \d+ / \d+", "", pages))


def flat(text: str) -> str:
    return re.sub(r"\s", "", text)


def test_pdf_shows_what_a_desk_needs(pdf: bytes, maker: Maker) -> None:
    shown = text_of(pdf)
    for wanted in (
        maker.report.recording.sha256,
        "再不还钱就打断你的腿",
        "0:00:02.5–0:00:03.5",
        "威胁恐吓；人身威胁；很可能(90%)",
        "我给你们单位打电话",
        "需人工确认",
        "不知道是谁在说话",
        "您好，请问是张先生吗",  # not heard clearly
        "字句没有听清",
        "字幕由志愿者提供",  # suppressed
        "某某小贷",
        "bundled/transcriber0.2",
        "c" * 64,
        "打断你的手",  # a person's correction
        flat(METHOD.zh),
        flat(METHOD.en),
        flat(LIMITS.zh),
        flat(LIMITS.en),
        "call.accepted",
    ):
        assert flat(wanted) in shown, wanted


def test_borrowers_words_are_not_among_what_is_flagged(pdf: bytes) -> None:
    assert "你这个骗子" not in text_of(pdf)


def test_pdf_has_its_fonts_inside_and_is_made_to_be_kept(pdf: bytes) -> None:
    assert b"/FontFile3" in pdf
    assert re.search(rb"/FontName/[A-Z]{6}\+NotoSansCJKsc-Regular", pdf)
    assert b"<pdfaid:part>2</pdfaid:part>" in pdf


def test_waveform_and_marks_are_drawn(pdf: bytes) -> None:
    with pypdfium2.PdfDocument(pdf) as document:
        colours = set(document[0].render(scale=2).to_pil().convert("RGB").get_flattened_data())
    red, blue = (179, 38, 30), (11, 87, 164)
    assert {red, blue} <= colours


def test_same_paper_is_the_same_bytes(font: Font, maker: Maker, pdf: bytes, tmp_path: Path) -> None:
    with ZipFile(maker(tmp_path / "again.zip", find_font=find_font)) as file:
        assert sha256(file.read("report.pdf")).digest() == sha256(pdf).digest()


def hostile_bundle(maker: Maker, out: Path, font: Font | None) -> dict[str, bytes]:
    said = [(float(at), Speaker.COLLECTOR, text, (Label.THREAT,)) for at, text in enumerate(HOSTILE)]
    report = report_on(maker.recording, said)
    stated = Stated(lender=HOSTILE[0], agency=HOSTILE[1], caller_number="W" * 500, note="\n".join(HOSTILE))
    made = bundle(maker.recording, report, CUSTODY, maker.key, out, stated=stated, find_font=lambda: font)
    assert verify(made.path, [maker.public_key]).whole
    with ZipFile(made.path) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_pdf_shows_hostile_text_as_text_and_all_of_it(font: Font, maker: Maker, tmp_path: Path) -> None:
    pdf = hostile_bundle(maker, tmp_path / "hostile.zip", font)["report.pdf"]
    shown = text_of(pdf)
    for text in HOSTILE:
        assert shown.count(flat(printable(text, font)).replace("\u200b", "")) >= 2, text
    for hidden in ("〈U+202E〉evil", "〈U+0000〉", "〈U+E000〉", "〈U+1F600〉", "〈U+FEFF〉", "〈U+0645〉"):
        assert hidden in shown
    with pypdfium2.PdfDocument(pdf) as document:
        for page in document:
            width, _ = page.get_size()
            text = page.get_textpage()
            boxes = [text.get_charbox(at) for at in range(text.count_chars())]
            assert all(left > 40 and right < width - 40 for left, _, right, _ in boxes if right > left)


def test_page_shows_hostile_text_as_text(maker: Maker, tmp_path: Path) -> None:
    page = hostile_bundle(maker, tmp_path / "hostile.zip", None)["report.html"].decode()
    assert "<script" not in page
    assert "<img" not in page
    shown = unescape(page).replace("\u200b", "")
    for text in HOSTILE:
        assert flat(printable(text, None)).replace("\u200b", "") in flat(shown), text


def test_without_a_chinese_font_there_is_a_page_and_the_page_says_why(bundled: Path) -> None:
    with ZipFile(bundled) as file:
        assert "report.pdf" not in file.namelist()
        page = file.read("report.html").decode()
    assert "fonts-noto-cjk" in page
    assert "再不还钱就打断你的腿" in page
    assert "default-src 'none'" in page


def test_many_flagged_utterances_fill_pages_and_no_row_is_lost(font: Font, maker: Maker, tmp_path: Path) -> None:
    said = [
        (at / 20, Speaker.COLLECTOR, f"第{at}句，再不还钱就打断你的腿", (Label.THREAT, Label.INSULT))
        for at in range(150)
    ]
    report = report_on(maker.recording, said)
    made = bundle(maker.recording, report, (), maker.key, tmp_path / "many.zip", find_font=find_font)
    with ZipFile(made.path) as file:
        pdf = file.read("report.pdf")
    shown = text_of(pdf)
    assert all(f"第{at}句" in shown for at in range(150))
    with pypdfium2.PdfDocument(io.BytesIO(pdf)) as document:
        pages = [page.get_textpage().get_text_range() for page in document]
    assert (
        sum(page.count("种类、可能性、原因") for page in pages) >= 8
    )  # the head of the table stands on each of its pages
    for page in pages:  # no row is torn: who says it, below when, is where the words are
        assert len(re.findall(r"第 ?\d+ ?句", page)) == page.count("collector"), page


@pytest.mark.parametrize(
    ("told", "chinese"),
    [
        (UNKNOWN_SPEAKER, "不知道是谁在说话"),
        ("very quiet (-52 dBFS)", "声音很小(-52 dBFS)"),
        ("decoded again, other words were heard (agreement 40%)", "再次识别听出不同的字句(一致度 40%)"),
        (
            "a phrase that recognisers invent (字幕), and the sound is weak (-40 dBFS)",
            "识别模型常凭空写出的套话(字幕)，且声音微弱(-40 dBFS)",
        ),
        ("a reason of tomorrow", "a reason of tomorrow"),
    ],
)
def test_reasons_are_told_in_chinese(told: str, chinese: str) -> None:
    assert (reason(told).zh, reason(told).en) == (chinese, told)


def test_every_reason_that_the_code_gives_has_its_chinese() -> None:
    weakest = Evidence(-9.0, 1.0, 9.0, 1.0, 0.0, -90.0, 0.0)
    said = Utterance(0, Speaker.UNKNOWN, 0.0, 1.0, "请不吝点赞订阅转发", "请不吝点赞订阅转发", 0.0, weakest)
    _, suppressed = suppress([said])
    told = [UNKNOWN_SPEAKER, *doubts(said), *(part.reason for part in suppressed)]
    assert len(told) == 8
    assert [one for one in told if reason(one).zh == one] == []


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0, "0:00:00.0"), (59.96, "0:01:00.0"), (3599.94, "0:59:59.9"), (10_800.0, "3:00:00.0")]
)
def test_times_are_told_as_players_do(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
