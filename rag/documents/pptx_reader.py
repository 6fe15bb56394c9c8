"""Read PowerPoint presentations (PPTX): a page per slide with title, text, tables, diagrams and speaker notes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

from rag.documents.input_file import InputFile, Pages, open_zip, tag, xml_parser
from rag.documents.tables import cell_text, table_lines
from rag.schema import Page

logger = logging.getLogger(__name__)


def read_pptx(source: InputFile) -> Pages:
    """Read each slide as "Slide 1", "Slide 2", ..., including hidden ones; titles are Markdown headings."""
    from pptx import Presentation

    open_zip(source).close()
    presentation = Presentation(str(source.path))
    slides = list(presentation.slides._sldIdLst)
    for number, entry in enumerate(slides, 1):
        label = f"Slide {number}"
        try:
            slide = presentation.part.related_slide(entry.rId)
            text = re.sub(r"\n{3,}", "\n\n", "\n".join(_slide(slide)))
            label += " (hidden)" if slide.element.get("show") in {"0", "false"} else ""
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a broken slide raises anything; others may be fine
            logger.info("a slide could not be read: %r", error)
            source.warn(f"Slide {number} could not be read.")
            text = ""
        yield Page(text.strip("\n"), number, label), len(slides)


def _slide(slide: Any) -> Iterator[str]:
    title = slide.shapes.title
    if title is not None and title.text_frame.text.strip():
        yield f"# {' '.join(title.text_frame.text.split())}\n"
    yield from _shapes(slide, slide.shapes._spTree, None if title is None else title._element)
    if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None and frame.text.strip():
        yield f"\nNotes: {frame.text}"


def _shapes(slide: Any, parent: Any, title: Any) -> Iterator[str]:
    """Yield the text of the shapes below an element, in order, including groups and diagrams."""
    for element in parent:
        kind = tag(element)
        if element is title:
            continue
        if kind == "txBody":
            yield from filter(None, map(_paragraph, element.iterchildren("{*}p")))
        elif kind == "tbl":
            rows = (
                [" ".join(map(_paragraph, cell.iter("{*}p"))) for cell in row.iterchildren("{*}tc")]
                for row in element.iter("{*}tr")
            )
            yield from ("", *table_lines(rows), "")
        elif kind == "relIds":
            yield from _diagram(slide, element)
        elif kind == "chart":
            yield from _chart(slide, element)
        elif kind not in {"nvSpPr", "spPr", "nvPicPr", "blipFill", "style", "Fallback"}:
            yield from _shapes(slide, element, title)


def _diagram(slide: Any, element: Any) -> Iterator[str]:
    """Yield the text of SmartArt, which is in a separate part."""
    from lxml import etree

    if part := _related(slide, element, "}dm"):
        yield from filter(None, map(_paragraph, etree.fromstring(part.blob, xml_parser()).iter("{*}p")))


def _chart(slide: Any, element: Any) -> Iterator[str]:
    """Yield a chart's title and its data as a table."""
    if not (part := _related(slide, element, "}id")):
        return
    chart = part.chart
    if chart.has_title and chart.chart_title.has_text_frame:
        yield f"\n{chart.chart_title.text_frame.text}"
    for plot in chart.plots:
        series = list(plot.series)
        names = ["", *(one.name for one in series)]
        values = zip(*(map(cell_text, one.values) for one in series), strict=False)
        rows = ([str(category), *row] for category, row in zip(plot.categories, values, strict=False))
        yield from table_lines([names, *rows])


def _related(slide: Any, element: Any, key: str) -> Any:
    """Return the part that an element refers to, None if it is missing or outside of the file."""
    id_ = next((value for name, value in element.attrib.items() if name.endswith(key)), "")
    return slide.part.related_part(id_) if id_ in slide.part.rels and not slide.part.rels[id_].is_external else None


def _paragraph(paragraph: Any) -> str:
    return "".join("\n" if tag(part) == "br" else part.text or "" for part in paragraph.iter("{*}t", "{*}br")).strip()
