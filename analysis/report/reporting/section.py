"""The last section of a report: data flow, methods paragraph, and the CLAIM checklist."""

from analysis.report.inputs import EnsembleInputs, SearchInputs
from analysis.report.page import Block, Section, Table, Text
from analysis.report.reporting.answers import FILLED, OPEN, PARTLY, answers
from analysis.report.reporting.claim_items import ITEMS, STUDY_KEYS
from analysis.report.reporting.data_flow import characteristics_table, data_flow, halved_interval, partition_table
from trainables.core.plural import plural

_IN_METHODS = (
    *("ethics", "design", "population", "inclusion", "acquisition", "reference_standard", "annotators"),
    *("deidentification",),
)


def flow_section(search: SearchInputs, ensemble: EnsembleInputs | None) -> Section:
    """Show the flow of the data, the partitions, and the size of a test set that would halve the interval."""
    size = halved_interval(search, ensemble) if ensemble else ""
    of_partitions = characteristics_table(search)
    blocks: list[Block] = [data_flow(search), partition_table(search)]
    if of_partitions.rows:
        blocks.append(of_partitions)
    elif search.metadata:  # columns of many values
        blocks.append(Text(of_partitions.title, [of_partitions.how_to_read]))
    return Section("Data flow", "flow", [*blocks, *([Text("Size of the test set", [size])] if size else [])])


def reporting_section(search: SearchInputs, ensemble: EnsembleInputs | None) -> Section:
    """Show a methods paragraph to copy and the CLAIM checklist."""
    return Section(
        "Reporting standard",
        "claim",
        [
            Text("Methods, to copy", [methods(search, ensemble)]),
            checklist(search, ensemble),
        ],
        folded=True,
    )


def methods(search: SearchInputs, ensemble: EnsembleInputs | None) -> str:
    """Return a methods paragraph from the study file and the search."""
    found, study = answers(search, ensemble), search.study_texts
    numbers = (9, 19, 20, 22, 24, 25, 26, 27, 28, 29)
    said = [study[key].rstrip(".") + "." for key in _IN_METHODS if key in study]
    return " ".join(
        [*said, *(found[number].text for number in numbers if number in found), f"Software: {found[23].text}"]
    )


def checklist(search: SearchInputs, ensemble: EnsembleInputs | None) -> Table:
    """Return the 44 items, each with its state, its answer and the place of more."""
    found, study = answers(search, ensemble), search.study_texts
    rows: list[list[str]] = []
    for item in ITEMS:
        known, said = found.get(item.number), study.get(item.key, "")
        state = FILLED if said else known.state if known else OPEN
        text = " ".join(filter(None, [said, known.text if known else ""])) or _ask(item.key)
        place = known.place if known else "study file" if said else ""
        rows.append([str(item.number), item.part, item.text, state, text, place])
    counts = {state: sum(row[3] == state for row in rows) for state in (FILLED, PARTLY, OPEN)}
    open_ = f"{plural(counts[PARTLY], 'item')} partly, {counts[OPEN]} for you to state"
    how = (
        "CLAIM 2024 (Tejani et al., Radiology: Artificial Intelligence 6 (4), e240300), in our own short words: "
        f"{counts[FILLED]} of {len(rows)} filled, {open_}. The option --study FILE fills what only people know "
        f"({len(STUDY_KEYS)} keys). Compare the items with the publication before you submit."
    )
    headings = ("item", "part", "to report", "state", "answer", "place")
    return Table("CLAIM checklist", how, headings, rows, wrapped=True)


def _ask(key: str) -> str:
    return f"State it in the study file: {key}." if key else "after the search has an ensemble"
