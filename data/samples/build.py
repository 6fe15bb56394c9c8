"""Build the PDF and the DOCX in ``data/samples``: run ``make samples``.

The samples, for trying the app and for benchmarks, describe one invented company, the Tarrow Sound Ferry Company,
without contradictions. The Markdown and HTML files in the same folder are edited by hand. ``tests/samples_facts.jsonl``
has questions with their answers and pages; each section of the PDF is one page, so that edits do not move the others.
The output is reproducible.
"""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docx import Document
from docx.enum.table import WD_TABLE_ALIGNMENT
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Cm, Pt, RGBColor
from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_LEFT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import cm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Frame,
    ListFlowable,
    ListItem,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

SAMPLES = Path(__file__).resolve().parent
REPORT = SAMPLES / "annual-report-2024.pdf"
HANDBOOK = SAMPLES / "crew-handbook.docx"

COMPANY = "Tarrow Sound Ferry Company"
GREEN = HexColor("#1f4d43")
MARGIN = 2.4 * cm
COLUMN = A4[0] - 2 * MARGIN
PALE = HexColor("#e9f0ed")
GREY = HexColor("#5b6661")
ORANGE = HexColor("#e08a1e")

BODY = ParagraphStyle("body", fontName="Times-Roman", fontSize=12.5, leading=18, spaceAfter=9, alignment=TA_LEFT)
ITEM = ParagraphStyle("item", parent=BODY, spaceAfter=3)
LEAD = ParagraphStyle(
    "lead", parent=BODY, fontName="Times-Italic", fontSize=14.5, leading=20, spaceAfter=12, textColor=GREEN
)
HEADING = ParagraphStyle(
    "heading", fontName="Helvetica-Bold", fontSize=21, leading=26, spaceAfter=12, textColor=GREEN, keepWithNext=1
)
SUBHEADING = ParagraphStyle(
    "subheading",
    fontName="Helvetica-Bold",
    fontSize=13,
    leading=17,
    spaceBefore=10,
    spaceAfter=4,
    textColor=GREEN,
    keepWithNext=1,
)
CAPTION = ParagraphStyle(
    "caption", fontName="Helvetica", fontSize=8.5, leading=12, spaceBefore=4, spaceAfter=10, textColor=GREY
)
SMALL = ParagraphStyle("small", fontName="Helvetica", fontSize=10, leading=15, textColor=GREY)


# ---------------------------------------------------------------------------------------------------------------- PDF


def _ferry(canvas: Canvas, x: float, y: float) -> None:
    """Draw a small ferry: a hull, two decks, a funnel."""
    canvas.setFillColor(HexColor("#ffffff"))
    canvas.rect(x + 14, y + 14, 62, 10, stroke=0, fill=1)
    canvas.rect(x + 26, y + 24, 34, 8, stroke=0, fill=1)
    canvas.setFillColor(ORANGE)
    canvas.rect(x + 40, y + 32, 9, 12, stroke=0, fill=1)
    hull = canvas.beginPath()
    hull.moveTo(x, y + 14)
    hull.lineTo(x + 94, y + 14)
    hull.lineTo(x + 82, y)
    hull.lineTo(x + 10, y)
    hull.close()
    canvas.drawPath(hull, stroke=0, fill=1)
    canvas.setFillColor(GREEN)
    for window in range(6):
        canvas.circle(x + 21 + window * 9.5, y + 19, 2, stroke=0, fill=1)


def _waves(canvas: Canvas, y: float, colour: str, step: float, height: float) -> None:
    width = A4[0]
    path = canvas.beginPath()
    path.moveTo(0, y)
    x = 0.0
    while x < width:
        path.curveTo(x + step * 0.3, y + height, x + step * 0.7, y + height, x + step, y)
        x += step
    path.lineTo(x, y - 26)
    path.lineTo(0, y - 26)
    path.close()
    canvas.setFillColor(HexColor(colour))
    canvas.drawPath(path, stroke=0, fill=1)


def _footer(canvas: Canvas, document: BaseDocTemplate) -> None:
    canvas.saveState()
    canvas.setStrokeColor(HexColor("#c7d3ce"))
    canvas.setLineWidth(0.5)
    canvas.line(MARGIN, 1.75 * cm, A4[0] - MARGIN, 1.75 * cm)
    canvas.setFont("Helvetica", 8.5)
    canvas.setFillColor(GREY)
    canvas.drawString(MARGIN, 1.3 * cm, f"{COMPANY}, Annual Report 2024")
    canvas.drawRightString(A4[0] - MARGIN, 1.3 * cm, f"Page {document.page}")
    canvas.restoreState()


def _cover(canvas: Canvas, _document: BaseDocTemplate) -> None:
    width, height = A4
    canvas.saveState()
    canvas.setFillColor(GREEN)
    canvas.rect(0, height - 7.6 * cm, width, 7.6 * cm, stroke=0, fill=1)
    sea = height - 7.2 * cm
    _waves(canvas, sea + 22, "#3a7466", 46, 9)
    _ferry(canvas, width - 6.6 * cm, sea + 16)
    _waves(canvas, sea + 10, "#7fb3a2", 38, 9)
    canvas.setFillColor(HexColor("#ffffff"))
    canvas.rect(0, height - 9 * cm, width, 1.4 * cm, stroke=0, fill=1)
    canvas.setFont("Helvetica", 12)
    canvas.drawString(MARGIN, height - 2.3 * cm, COMPANY)
    canvas.setFont("Helvetica-Bold", 32)
    canvas.drawString(MARGIN, height - 3.75 * cm, "Annual Report 2024")
    canvas.setFont("Times-Italic", 14)
    canvas.drawString(MARGIN, height - 4.65 * cm, "Our 130th year on the water")
    canvas.restoreState()


class _Report(BaseDocTemplate):  # type: ignore[misc]
    """A document with an outline of its headings."""

    def afterFlowable(self, flowable: Any) -> None:  # noqa: N802 -- reportlab's own name
        if isinstance(flowable, Paragraph) and flowable.style.name in {"heading", "subheading"}:
            text = flowable.getPlainText()
            key = f"{self.page}-{text}"
            self.canv.bookmarkPage(key)
            self.canv.addOutlineEntry(text, key, level=0 if flowable.style.name == "heading" else 1)


def _paragraphs(*texts: str) -> list[Any]:
    return [Paragraph(text, BODY) for text in texts]


def _bullets(*texts: str) -> ListFlowable:
    items = [ListItem(Paragraph(text, ITEM)) for text in texts]
    return ListFlowable(items, bulletType="bullet", start="–", bulletFontSize=12.5, bulletColor=ORANGE, leftIndent=16)


def _table(rows: Sequence[Sequence[str]], widths: Sequence[float], *, bold: Sequence[int] = ()) -> Table:
    table = Table(
        [list(row) for row in rows], colWidths=[width * COLUMN / sum(widths) for width in widths], hAlign="LEFT"
    )
    style: list[tuple[Any, ...]] = [
        ("FONT", (0, 0), (-1, -1), "Helvetica", 10),
        ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 10),
        ("TEXTCOLOR", (0, 0), (-1, 0), HexColor("#ffffff")),
        ("BACKGROUND", (0, 0), (-1, 0), GREEN),
        ("ROWBACKGROUNDS", (0, 1), (-1, -1), [HexColor("#ffffff"), PALE]),
        ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
        ("LINEBELOW", (0, -1), (-1, -1), 0.8, GREEN),
        ("TOPPADDING", (0, 0), (-1, -1), 6),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 6),
    ]
    style += [("FONT", (0, row), (-1, row), "Helvetica-Bold", 10) for row in bold]
    table.setStyle(TableStyle(style))
    return table


def _letter() -> list[Any]:
    return [
        Paragraph("A letter from the chair", HEADING),
        Paragraph(
            "Some years on the Sound are remembered for their storms. I hope that 2024 is remembered for its piano.",
            LEAD,
        ),
        *_paragraphs(
            "It was a grand piano, it weighed 480 kilograms, and it was meant for the school on Ivery. It crossed on "
            "the car deck of the Marigold on a flat calm morning in March, roped down among borrowed mattresses, with "
            "all of class four waiting on the quay. Nobody had told me that our deckhands meant to play it on the way "
            "over. I am told they played it rather well.",
            "The Tarrow Sound Ferry Company was founded in 1894 by Edith Calloway, a seed merchant from Penderby. She "
            "had grown tired of waiting for the tide, and for the men who said they understood it, so she bought a "
            "boat of her own. Her first boat was a six-oared gig called Primrose. Every ship of the company since "
            "then has carried the name of a garden plant.",
            "We carried 214,600 passengers in 2024, the most in our history. The busiest day of the year was "
            "Saturday 10 August, the day of the Ivery Cheese Fair, when 2,318 people crossed with us and, by evening, "
            "a good deal of cheese. To the crews who brought all of it home before dark: thank you.",
        ),
        Spacer(1, 4),
        Paragraph("<b>Margaret Fenwick</b>, chair of the board<br/>Penderby, 14 February 2025", SMALL),
        Spacer(1, 16),
        Paragraph("In this report", SUBHEADING),
        Paragraph(
            "The fleet, page 2<br/>Routes and traffic, page 3<br/>People and places, page 4<br/>"
            "Money, and what comes next, page 5",
            SMALL,
        ),
    ]


def _fleet() -> list[Any]:
    return [
        Paragraph("The fleet", HEADING),
        *_paragraphs(
            "Three ships worked the Sound in 2024. They have little in common apart from their green hulls and the "
            "people who look after them, and that suits us: one carries the island’s daily bread, one carries its "
            "visitors, and one carries everybody’s grandparents, slowly, into the sunset."
        ),
        _table(
            [
                ["Ship", "Built", "Length", "Passengers", "Cars", "Service speed"],
                ["Marigold", "2011", "46 m", "180", "24", "12 knots"],
                ["Juniper", "1998", "22 m", "95", "none", "15 knots"],
                ["Old Tansy", "1936", "17 m", "40", "none", "8 knots"],
            ],
            [3.2, 2.1, 2.3, 2.8, 2.1, 3.5],
        ),
        Paragraph("Table 1. The ships of the company on 31 December 2024.", CAPTION),
        Paragraph("Marigold", SUBHEADING),
        *_paragraphs(
            "The Marigold is our only car ferry, and the ship that islanders mean when they say “the boat”. The "
            "Marigold was built at the Hartwell yard in Stennick. She has room for 24 cars, or for eleven cars and "
            "one very large removal van, as we learned in October. On an ordinary day the Marigold burns 1,150 litres "
            "of diesel, which is the best argument we know for the new ship described on the last page."
        ),
        Paragraph("Juniper", SUBHEADING),
        *_paragraphs(
            "The Juniper is our fast passenger boat to Gannet Holm. She was converted to hybrid drive in the winter of "
            "2018, and since then she has entered and left every harbour on her batteries alone. Visitors notice the "
            "quiet. So do the puffins, who used to leave when she arrived. The open top deck of the Juniper has 32 "
            "seats, and on a fine day there is polite competition for all of them."
        ),
        Paragraph("Old Tansy", SUBHEADING),
        *_paragraphs(
            "Old Tansy is a steam launch and our oldest ship. The biscuit maker Albert Crumley "
            "ordered her as a wedding present for his daughter, who was known to be seasick. The company bought Old "
            "Tansy in 1972 for 900 pounds. She makes evening trips from May to September and needs 85 kilograms of "
            "coal for each of them. Every passenger is allowed to sound the whistle once. Nobody has ever declined."
        ),
    ]


def _traffic() -> list[Any]:
    return [
        Paragraph("Routes and traffic", HEADING),
        *_paragraphs(
            "All our routes begin at Penderby, on the mainland. The crossing from Penderby to Ivery is 11 kilometres "
            "long and takes 35 minutes. The Marigold sails it all year round, from Monday to Sunday. The "
            "crossing from Penderby to Gannet Holm is 21 kilometres long and takes 55 minutes, and the Juniper sails "
            "it from April to September."
        ),
        _table(
            [
                ["Quarter", "Ivery", "Gannet Holm", "Evening trips", "All passengers"],
                ["January to March", "28,400", "0", "0", "28,400"],
                ["April to June", "46,900", "11,000", "1,000", "58,900"],
                ["July to September", "78,300", "13,000", "1,400", "92,700"],
                ["October to December", "34,600", "0", "0", "34,600"],
                ["The whole year", "188,200", "24,000", "2,400", "214,600"],
            ],
            [4.2, 2.6, 3.0, 3.0, 3.4],
            bold=(5,),
        ),
        Paragraph("Table 2. Passengers in 2024. Each single crossing counts as one passenger.", CAPTION),
        Paragraph("Keeping time", SUBHEADING),
        *_paragraphs(
            "A sailing is on time if it leaves within five minutes of the hour that we advertise. In 2024, 96.2 per "
            "cent of our sailings left on time. We planned 6,200 sailings and cancelled 41 of them:"
        ),
        _bullets(
            "Gales stopped 30 sailings, most of them in the last week of January.",
            "Fog stopped seven sailings.",
            "Faults in our own machinery stopped four sailings, and we are sorry for each.",
        ),
        Paragraph("What we carried", SUBHEADING),
        *_paragraphs(
            "The Marigold carried 31,450 cars in 2024. She also carried 3,140 sheep, most of them twice, since they "
            "go out to the summer grass of Ivery in May and come home in October. Sheep pay no fare of their own: "
            "they travel by the trailer.",
            "Bees are a newer trade. We shipped 61 beehives to the heather in August. Beehives travel only on the last "
            "boat of the day, when the bees are at home, and their keepers are asked to stay beside them. So far no "
            "bee has missed the boat.",
        ),
    ]


def _people() -> list[Any]:
    return [
        Paragraph("People and places", HEADING),
        *_paragraphs(
            "The company employed 43 people at the end of 2024, six of them apprentices. Tobias Wren has been the "
            "managing director since 2016. The longest-serving member of the crew is Captain Ingrid Solberg, who has "
            "worked on the Sound for 31 years and still says good morning to the harbour before she says it to us.",
            "Staff number 44 is a cat. Her name is Pickle, she lives in the ticket office at Penderby, and her duties "
            "are mice and morale. She was appointed after an open competition in which she was the only candidate to "
            "come through the window.",
        ),
        _table(
            [
                ["Place of work", "People"],
                ["On the ships", "24"],
                ["In the workshop and the paint store", "8"],
                ["In the ticket offices and on the quays", "7"],
                ["In the office above the old seed store", "4"],
            ],
            [10, 3],
        ),
        Paragraph("Table 3. Where the people of the company worked. The cat works where she likes.", CAPTION),
        Paragraph("The new waiting room on Ivery", SUBHEADING),
        *_paragraphs(
            "For forty years people on Ivery waited for the boat in a bus shelter that had come from a town with no "
            "sea. On 14 May 2024 we opened a proper waiting room on Ivery quay. The waiting room was designed by the "
            "architect Noor Haddad, who grew up two streets away and had waited in the bus shelter herself. The "
            "building cost 186,000 pounds. Its roof carries 48 solar panels, and its stove is lit from the first of "
            "October. There are benches for 70 people, and a hook at the height of a child for a wet coat.",
        ),
        Paragraph("A rescue off Cormorant Rock", SUBHEADING),
        *_paragraphs(
            "On 22 September the crew of the Juniper rescued two kayakers off Cormorant Rock. Deckhand Bryn Tolley "
            "saw an orange paddle where no paddle should be, and the Juniper was alongside nine minutes later. Both "
            "kayakers were cold and well. They have since bought season tickets, which we think is wise.",
        ),
        Paragraph("Looking after one another", SUBHEADING),
        *_paragraphs(
            "We spent 57,000 pounds on training in 2024. The money paid for, among other things:",
        ),
        _bullets(
            "three new mates’ tickets and one master’s ticket;",
            "first-aid courses for everyone who works on a quay;",
            "a week of sign language lessons for the ticket office, at the office’s own request.",
        ),
    ]


def _money() -> list[Any]:
    return [
        Paragraph("Money, and what comes next", HEADING),
        *_paragraphs(
            "Our income in 2024 was 4.82 million pounds and our costs were 4.508 million pounds. That left a surplus "
            "of 312,000 pounds, all of which goes towards the new ship. The accounts were audited by Pike and "
            "Lowther of Penderby, who found one mistake. It was a sheep, entered as a car."
        ),
        _table(
            [
                ["Income", "£ thousand", "Costs", "£ thousand"],
                ["Passenger fares", "1,540", "Wages", "1,930"],
                ["Cars and freight", "1,420", "Fuel", "540"],
                ["Contract with the islands council", "1,780", "Repairs and docking", "1,010"],
                ["Tea, cake and charters", "80", "Insurance, dues and the rest", "1,028"],
                ["All income", "4,820", "All costs", "4,508"],
            ],
            [5.6, 2.4, 5.4, 2.8],
            bold=(5,),
        ),
        Paragraph("Table 4. Income and costs in 2024.", CAPTION),
        Paragraph("The Camellia", SUBHEADING),
        *_paragraphs(
            "On 3 December 2024 we signed the order for an electric car ferry. She will be called the Camellia. The "
            "name was chosen by the children of Ivery, and it beat Dandelion by four votes after a campaign of some "
            "bitterness. The Camellia is being built by the Brightwater yard in Lindhaven and is to be delivered in "
            "April 2027.",
            "The Camellia will cost 11.4 million pounds. The National Ferry Fund pays 7.5 million of this, and the "
            "company pays the rest from its savings. The battery of the Camellia will hold 1,900 kilowatt-hours. She "
            "will carry 30 cars and 220 passengers, and she will charge for 18 minutes at Penderby between crossings, "
            "which is about as long as it takes to load a coach party and its opinions.",
        ),
        Paragraph("Dates for shareholders", SUBHEADING),
        _bullets(
            "The annual meeting will be held on Saturday 7 June 2025 in the Seed Hall at Penderby.",
            "Questions for the board should reach the company secretary, Helen Arkwright, by 16 May 2025.",
            "Shareholders who come by boat travel free that day. Our founder wrote it into the rules in 1894.",
        ),
    ]


def _keep_table_left(story: list[Any]) -> list[Any]:
    """Left-align the second column, which is text, in tables of amounts."""
    for flowable in story:
        if isinstance(flowable, Table):
            flowable.setStyle(TableStyle([("ALIGN", (2, 0), (2, -1), "LEFT"), ("LEFTPADDING", (2, 0), (2, -1), 22)]))
    return story


def write_report(path: Path) -> None:
    """Write the annual report, one section per page."""
    document = _Report(
        str(path),
        pagesize=A4,
        invariant=1,
        title=f"Annual Report 2024 of the {COMPANY}",
        author=COMPANY,
        subject="The fleet, the traffic, the people and the accounts of 2024",
        creator="data/samples/build.py",
        lang="en-GB",
    )
    height = A4[1]
    foot = 2.1 * cm
    plain = {"leftPadding": 0, "rightPadding": 0, "topPadding": 0, "bottomPadding": 0}
    first = Frame(MARGIN, foot, COLUMN, height - foot - 8.7 * cm, **plain)
    later = Frame(MARGIN, foot, COLUMN, height - foot - 2.2 * cm, **plain)
    document.addPageTemplates(
        [
            PageTemplate("first", [first], onPage=_cover, onPageEnd=_footer),
            PageTemplate("later", [later], onPageEnd=_footer),
        ]
    )
    story: list[Any] = [NextPageTemplate("later"), *_letter()]
    for section in (_fleet(), _traffic(), _people(), _keep_table_left(_money())):
        story += [PageBreak(), *section]
    document.build(story)


# --------------------------------------------------------------------------------------------------------------- DOCX

# Blocks between empty lines; what a block begins with says its style.
HANDBOOK_TEXT = """
# Crew Handbook

~ Tarrow Sound Ferry Company, edition of January 2025

Welcome aboard. This handbook is short on purpose: it fits the inside pocket of the jacket you are about to be given,
and you are expected to have read it before that jacket gets wet. It is kept by Samuel Okafor, the training officer.
If something in it is wrong, tell him. If something in it is annoying, tell him at lunch.

## Before you sail

Be on board 40 minutes before the first sailing of your shift. Sign the crew list in the wheelhouse, not on the way
past it. Deck crew then walk the ship from bow to stern and try every door that is meant to open and every door that
is not.

Three things are done before the gangway goes down, always in this order:

1. The mate tests the radio. The harbour office at Penderby listens on channel 12.

1. The engineer reads the tank gauges aloud, and somebody else writes them down.

1. The youngest person on board rings the ship’s bell. Nobody knows why. It is not optional.

## Shifts and leave

Crews work four days on and three days off. Everyone has 28 days of paid leave a year, and public holidays come on
top. Leave for the week of the Ivery Cheese Fair is drawn from a hat on the first Monday in March, because there is no
fairer way and we have tried several.

If you are ill, ring the duty manager on extension 214 before half past five in the morning. A message passed on by a
friend, a neighbour or a seagull does not count.

## Uniform

The company gives you two jackets, three shirts and one hat. The jacket is navy blue with an orange collar, so that
you can be seen from the water. You buy your own boots, and the company pays 85 pounds a year towards them. Boots must
have a sole that grips on wet steel. Captain Solberg checks this by looking at you.

## Weather limits

Every ship has a limit for wind, measured in gusts at the Penderby breakwater. Below the limit, the master decides. At
the limit, nobody decides: the ship stays in harbour. You will never be blamed for a sailing that you stopped.

| Ship | Stays in harbour at gusts of | Smallest crew |
| Marigold | 45 knots | 7 |
| Juniper | 34 knots | 4 |
| Old Tansy | 22 knots | 5 |

The Marigold stays in harbour when gusts reach 45 knots. The Juniper stays in harbour when gusts reach 34 knots. Old
Tansy stays in harbour when gusts reach 22 knots, or when her stoker does not like the look of it. In fog, no ship
sails if the end of the breakwater cannot be seen from the ticket office door.

## Drills and emergencies

Safety drills are held every second Tuesday at half past six in the morning. They are real drills, with real boats in
the water, and they are followed by bacon rolls at the company’s expense.

Over the loudspeaker we do not say words that frighten people. Instead we use the names of plants. Learn these three
by heart:

- The code word for a medical emergency is Foxglove.

- The code word for a fire is Snapdragon.

- The code word for a person overboard is Water Lily.

If the terminal at Penderby has to be cleared, everyone gathers at the bronze anchor beside the car park. Count your
passengers there, then count them again. The first-aid kit of every ship hangs behind the wheelhouse door, and the
nearest doctor on Ivery is Doctor Amina Farrow in Chapel Lane.

## Looking after passengers

### Announcements

Speak slowly, say the name of the ship and say where she is going. It is surprising how many people find out this way.
Welcome everyone once, warn them about the step once, and then let them look at the sea.

### Lost property

Anything left on board goes to the green cupboard in the Penderby ticket office before the end of your shift. Lost
property is kept for 90 days. After that it goes to the hospice shop in Mill Street. Last year’s cupboard held 112
umbrellas, a trombone and a wedding cake, and only the cake was collected the same day.

### Passengers who need a hand

Wheelchair users board first and leave whenever they like. The ramp on the Juniper needs two people and takes a load
of 300 kilograms. Offer an arm before you take one, and talk to the passenger, not to whoever is standing next to the
passenger.

## A last word about tea

Whoever comes aboard last makes the tea. This rule is older than the radio and has done more for punctuality. The blue
mug belongs to Captain Solberg. You have now been told.
"""
BLOCK_STYLES = {
    "# ": "Title",
    "~ ": "Subtitle",
    "## ": "Heading 1",
    "### ": "Heading 2",
    "1. ": "List Number",
    "- ": "List Bullet",
}


def _shade(cell: Any, colour: str) -> None:
    shading = OxmlElement("w:shd")
    shading.set(qn("w:val"), "clear")
    shading.set(qn("w:color"), "auto")
    shading.set(qn("w:fill"), colour)
    cell._tc.get_or_add_tcPr().append(shading)


def _word_table(document: Any, rows: list[list[str]]) -> None:
    table = document.add_table(rows=len(rows), cols=len(rows[0]), style="Table Grid")
    table.alignment = WD_TABLE_ALIGNMENT.LEFT
    for number, row in enumerate(rows):
        for column, text in enumerate(row):
            cell = table.cell(number, column)
            cell.text = text
            cell.paragraphs[0].paragraph_format.space_after = Pt(2)
            if number == 0:
                _shade(cell, "DCE7E2")
                cell.paragraphs[0].runs[0].bold = True
    heading_row = OxmlElement("w:tblHeader")
    heading_row.set(qn("w:val"), "true")
    table.rows[0]._tr.get_or_add_trPr().append(heading_row)
    document.add_paragraph().paragraph_format.space_after = Pt(0)


def _word_styles(document: Any) -> None:
    green = RGBColor(0x1F, 0x4D, 0x43)
    for name, size in (("Title", 28), ("Subtitle", 13), ("Heading 1", 16), ("Heading 2", 13), ("Normal", 11)):
        style = document.styles[name]
        style.font.name = "Calibri"
        style.font.size = Pt(size)
        fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
        for key in [key for key in fonts.attrib if key.endswith("Theme")]:
            del fonts.attrib[key]
        if name != "Normal":
            style.font.color.rgb = green
    document.styles["Normal"].paragraph_format.space_after = Pt(8)
    document.styles["Normal"].paragraph_format.line_spacing = 1.15
    for section in document.sections:
        section.page_width, section.page_height = Cm(21), Cm(29.7)
        section.left_margin = section.right_margin = Cm(2.5)
        section.top_margin = section.bottom_margin = Cm(2.3)


def _write_zip_without_clock(data: bytes, path: Path) -> None:
    """Write the parts of a DOCX with a fixed date instead of python-docx's time of writing."""
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(path, "w") as target:
        for part in source.infolist():
            entry = zipfile.ZipInfo(part.filename, date_time=(2025, 1, 6, 9, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            target.writestr(entry, source.read(part.filename))


def write_handbook(path: Path) -> None:
    """Write the crew handbook."""
    document = Document()
    _word_styles(document)
    for block in HANDBOOK_TEXT.strip().split("\n\n"):
        if block.startswith("| "):
            rows = [row.strip("| ").split(" | ") for row in block.splitlines()]
            _word_table(document, rows)
            continue
        mark = next((mark for mark in BLOCK_STYLES if block.startswith(mark)), "")
        text = " ".join(block.removeprefix(mark).split())
        document.add_paragraph(text, style=BLOCK_STYLES.get(mark, "Normal"))
    about = document.core_properties
    about.title = f"Crew Handbook of the {COMPANY}"
    about.author = about.last_modified_by = "Samuel Okafor"
    about.subject = "For everyone who works on our ships and quays"
    about.comments = ""
    about.language = "en-GB"
    about.created = about.modified = dt.datetime(2025, 1, 6, 9, 0, tzinfo=dt.UTC)
    buffer = io.BytesIO()
    document.save(buffer)
    _write_zip_without_clock(buffer.getvalue(), path)


def main() -> None:
    """Write both documents."""
    SAMPLES.mkdir(parents=True, exist_ok=True)
    for path, write in ((REPORT, write_report), (HANDBOOK, write_handbook)):
        write(path)
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
