"""The 44 items of CLAIM, the Checklist for Artificial Intelligence in Medical Imaging (Tejani et al. 2024).

The wording is ours and short; see Radiology: Artificial Intelligence 6 (4), e240300 for the full text.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """An item of the checklist.

    Attributes:
        number: 1 to 44.
        part: Part of the paper it belongs to.
        text: Requirement.
        key: Key of the study file that answers it, or empty.
    """

    number: int
    part: str
    text: str
    key: str = ""


_PARTS: dict[str, tuple[tuple[str, str], ...]] = {
    "Title and abstract": (
        ("identified as a study of AI, with the kind of technology", ""),
        ("structured summary of design, methods, results and conclusions", "summary"),
    ),
    "Introduction": (
        ("background, intended use and clinical role", "purpose"),
        ("aims and hypotheses", "aims"),
    ),
    "Study design": (
        ("prospective or retrospective", "design"),
        ("goal of the study", "goal"),
    ),
    "Data": (
        ("sources of the data", "population"),
        ("inclusion and exclusion criteria", "inclusion"),
        ("preprocessing", ""),
        ("selection of subsets of the data", ""),
        ("de-identification", "deidentification"),
        ("handling of missing data", "missing_data"),
        ("image acquisition protocol", "acquisition"),
    ),
    "Reference standard": (
        ("method that gave the reference standard", "reference_standard"),
        ("reason for choosing it", "reference_reason"),
        ("source of the annotations", "annotators"),
        ("annotation of the test set", "test_annotation"),
        ("variability between and within annotators", "rater_variability"),
    ),
    "Data partitions": (
        ("how data were assigned to partitions", ""),
        ("level at which partitions are disjoint", ""),
    ),
    "Testing data": (("intended sample size", "sample_size"),),
    "Model": (
        ("description of the model", ""),
        ("software libraries", ""),
        ("initialization of the parameters", ""),
    ),
    "Training": (
        ("training approach", ""),
        ("selection of the final model", ""),
        ("ensembling", ""),
    ),
    "Evaluation": (
        ("performance metrics", ""),
        ("significance and uncertainty", ""),
        ("robustness or sensitivity analysis", "robustness"),
        ("explainability, and how it was validated", "explainability"),
        ("evaluation on internal data", ""),
        ("testing on external data", "external_testing"),
        ("registration of a clinical trial", "registration"),
    ),
    "Results: data": (
        ("numbers of patients or examinations included and excluded", ""),
        ("demographic and clinical characteristics in each partition", "demographics"),
    ),
    "Results: performance": (
        ("performance with its uncertainty", ""),
        ("diagnostic performance and its precision", ""),
        ("failure analysis", ""),
    ),
    "Discussion": (
        ("limitations", "limitations"),
        ("implications for practice", "implications"),
    ),
    "Other information": (
        ("reference to the protocol or technical details", "protocol"),
        ("availability of software, model and data", "availability"),
        ("funding and the role of funders", "funding"),
    ),
}

ITEMS = tuple(
    Item(number, part, text, key)
    for number, (part, text, key) in enumerate(
        ((part, text, key) for part, items in _PARTS.items() for text, key in items), 1
    )
)
# ``ethics`` is not a CLAIM item, but journals require it; the methods paragraph holds it.
STUDY_KEYS = ("ethics", *(item.key for item in ITEMS if item.key))
