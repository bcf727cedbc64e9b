"""Sentences about an external evaluation that its page and the console share."""

from analysis.report.evaluation.inputs import ExternalResult, Interval
from analysis.report.sections.wording import sentence
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL
from trainables.core.plural import plural

NOT_TESTED = "images of a group are in several subgroups, or only one subgroup has a score"


def with_bounds(value: float | None, interval: Interval | None, signed: bool = False) -> str:
    """Format a value with its interval, such as ``0.833 [0.750, 0.901]``; an empty string without a value."""
    sign = "+" if signed else ""
    if value is None:
        return ""
    return f"{value:{sign}.3f}" + (f" [{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]" if interval else "")


def about_sample(result: ExternalResult) -> str:
    """Say what was scored and how intervals are made."""
    patients = result.evaluation.patients
    by_patient = f" of {plural(patients.units, 'patient')}" if patients else ""
    return (
        f"{plural(result.images, 'image')}{by_patient} in {plural(result.evaluation.groups, 'group')}. Intervals are "
        f"95% and allow for groups. A class with fewer than {GROUPS_FOR_INTERVAL} groups has none."
    )


def about_earlier(result: ExternalResult) -> str:
    """Say how often this model was evaluated on these images before, as a phrase."""
    if result.earlier is None:
        return "earlier evaluations on these images are not known"
    if not result.earlier:
        return "the first evaluation of this model on these images"
    times = "once" if result.earlier == 1 else f"{result.earlier} times"
    return f"this model was evaluated on these images {times} before, so choices made since then may fit them"


def about_copies(result: ExternalResult) -> str:
    """Say how many copies of images of the search were left out."""
    copies = result.copies
    if copies.images is None:
        return sentence(copies.method)
    listed = f" ({', '.join(copies.names)}{', ...' * (copies.images > len(copies.names))})" if copies.images else ""
    related = f" and {copies.related} other images of their groups" if copies.related else ""
    return f"Copies of images of the search, which were left out: {copies.images}{listed}{related}; {copies.method}."


def about_left_out(result: ExternalResult) -> str:
    """Say how many images were not scored and why; an empty string if there are none."""
    if not result.left_out:
        return ""
    reasons = "; ".join(f"{count} {reason}" for reason, count in result.left_out.items())
    return f"Not scored: {reasons}."


def about_differences(result: ExternalResult) -> str:
    """Say what the internal scores are, or that they are not known."""
    if not result.differences:
        return "The internal test scores are not known, so there is no difference to them."
    return (
        "Internal scores and their intervals are those stored with the model's run. Both samples are independent, so "
        "the interval of the difference combines the two (MOVER; Zou and Donner 2008). Averages over classes have a "
        "difference only if both samples have the same classes."
    )


def about_shift(result: ExternalResult) -> str:
    """Say how unlike the training images the new ones are."""
    shift = result.shift
    parts = [f"The model calls {shift.unlike} of {plural(shift.images, 'image')} unlike its training images."]
    if shift.median is not None and shift.far is not None:
        parts.append(
            f"The median distance to training images in the model's features is {shift.median:.2f}, where 99% of "
            f"held-out images of the search are below 1; {plural(shift.far, 'image is', 'images are')} above."
        )
    if shift.test is not None:
        test = shift.test
        p_value = "" if test.p_value is None else f"; p = {test.p_value:.2g}"
        parts.append(
            f"A classifier tells new from training images with accuracy {test.accuracy:.3f} on {test.images} held-out "
            f"images (0.5 if they are alike{p_value}). Networks remember their training images, so part "
            "of this is no difference between the hospitals."
        )
        if test.p_value is None:
            parts.append(
                "There is no p-value, because the model, registered by an earlier version, does not store which of its "
                "training images are of different groups."
            )
    return " ".join(parts)


def about_subgroups(result: ExternalResult) -> str:
    """Say how subgroups are compared; an empty string if no difference can be tested."""
    tests = sum(len(division.p_values) for division in result.divisions)
    if not tests:
        return ""
    return (
        "For each column, a permutation test of whole groups within a class tests whether scores differ between its "
        f"subgroups. P-values are corrected for the number of tests, {tests} (Holm). A large p-value does not show "
        "that subgroups are alike: small ones hide even large differences."
    )


def about_undivided(result: ExternalResult) -> str:
    """Name the columns in which all images have the same value, which have no table; an empty string without any."""
    columns = [division for division in result.divisions if len(division.subgroups) == 1]
    alike = ", ".join(f"{division.column} ({division.subgroups[0].name})" for division in columns)
    return f"No subgroups, since all images have the same value: {alike}." if columns else ""


def about_recalibration(result: ExternalResult) -> list[str]:
    """Say what a recalibration was fitted to; nothing without one."""
    found = result.recalibrated
    if found is None:
        return []
    temperatures = ", ".join(f"{value:.3f}" for value in found.temperatures)
    biases = ", ".join(f"{name} {value:+.3f}" for name, value in zip(result.class_names, found.biases, strict=True))
    images = plural(found.images, "image")
    return [
        f"Recalibration: temperature {temperatures} and biases {biases} were fitted to {images}, "
        f"{100 * found.share:g}% of the groups of each class. All scores are of the other images. The model was not "
        "changed."
    ]
