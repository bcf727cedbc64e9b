"""Reference sections that are generated from the code: the commands, the configuration's keys, the search spaces."""

import dataclasses
import importlib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import typer

from docs.hooks.config_keys import MEANINGS
from search_spaces.space import shipped_spaces
from trainables.core.config import CONFIGS, TrainConfig
from trainables.core.config.rule import Rule

ROOT = Path(__file__).parents[2]


def commands() -> dict[str, Any]:
    """Return the click command of each console script, by its name."""
    scripts: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    modules = {name: target.partition(":")[0] for name, target in sorted(scripts.items())}
    return {name: typer.main.get_command(importlib.import_module(module).app) for name, module in modules.items()}


def command_section(name: str) -> str:
    """Describe one command: its usage, its help text, and a table of options for each panel of its help."""
    command = commands()[name]
    options = [param for param in command.params if param.opts[0].startswith("-")]
    arguments = [param for param in command.params if param not in options]
    usage = " ".join([name, *(_argument(param) for param in arguments), "[OPTIONS]"])
    parts = [f"```\n{usage}\n```", _prose(command.help)]
    if arguments:
        rows = ((f"`{_argument(param)}`", _prose(param.help), _default(param)) for param in arguments)
        parts.append(_table(("argument", "meaning", "default"), rows))
    for panel in dict.fromkeys(_panel(option) for option in options):
        chosen = [option for option in options if _panel(option) == panel]
        rows = ((_flags(option, command), _prose(option.help) + _range(option), _default(option)) for option in chosen)
        parts += [f"**{panel}**", _table(("option", "meaning", "default"), rows)]
    return "\n\n".join(parts)


def config_section(task: str) -> str:
    """Describe the keys of one task's configuration that other tasks do not share; "shared" describes the others."""
    shared = [field.name for field in dataclasses.fields(TrainConfig)]
    fields = dataclasses.fields(TrainConfig if task == "shared" else CONFIGS[task])
    rows = (
        (f"`{field.name}`", MEANINGS[task][field.name], *_rule(field))
        for field in fields
        if task == "shared" or field.name not in shared
    )
    return _table(("key", "meaning", "values", "default", "read only with"), rows)


def spaces_section() -> str:
    """Describe the search spaces that come with the package."""
    rows = (
        (
            f"`{space.name}`",
            space.title,
            ", ".join(f"`{backbone}`" for backbone in space.backbones),
            str(len(space.recipes)),
            f"`{space.metric}`",
            f"{space.image_size}",
            f"{space.num_samples} x {space.epochs}",
        )
        for space in shipped_spaces()
    )
    heads = ("space", "data", "backbones", "recipes", "objective", "image size", "trials x epochs")
    return _table(heads, rows)


def _rule(field: "dataclasses.Field[Any]") -> tuple[str, str, str]:
    rule: Rule = field.metadata["rule"]
    if rule.choices:
        values = ", ".join(f"`{choice}`" for choice in rule.choices)
    else:
        bounds = rule._range() if rule.type in (int, float) else ""
        values = rule.type.__name__ + (f", {bounds}" if bounds and bounds != "a finite number" else "")
    default = "required" if field.default is dataclasses.MISSING else f"`{field.default}`"
    when = ""
    if rule.read_when:
        selector, readers = rule.read_when
        when = f"`{selector}`: " + ", ".join(f"`{reader}`" for reader in readers)
    return values, default, when


def _argument(param: Any) -> str:
    name = (param.metavar or param.name).upper().strip("[]")
    return (name if param.required else f"[{name}]") + ("..." if param.nargs == -1 else "")


def _panel(option: Any) -> str:
    return getattr(option, "rich_help_panel", None) or "Options"


def _flags(option: Any, command: Any) -> str:
    """Format an option as its help does: its flags and the kind of its value."""
    flags: str = option.get_help_record(typer.Context(command))[0]
    flags = re.sub(r"<list\[(\w+)\]>|<(\w+) range>", r"<\1\2>", " ".join(flags.split()))
    return f"`{flags}`"


def _range(option: Any) -> str:
    low, high = getattr(option, "min", None), getattr(option, "max", None)
    if low is None:
        return ""
    return f" At least {low}." if high is None else f" From {low} to {high}."


def _default(param: Any) -> str:
    parts = []
    default = param.default
    if default is not None and not isinstance(default, bool) and not callable(default):
        parts.append(f"`{getattr(default, 'value', default)}`")
    elif default is True:
        parts.append("on")
    if getattr(param, "envvar", None):
        parts.append(f"or `${param.envvar}`")
    return ", ".join(parts)


def _prose(text: str | None) -> str:
    """Escape what Markdown would read as a tag, and join the lines of each paragraph."""
    paragraphs = (text or "").split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in paragraphs).replace("<", "&lt;").replace("*", "\\*")


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(heads), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# By the word in a page's marker, `<!-- generated: WORD -->`.
SECTIONS: Mapping[str, Callable[[], str]] = {
    **{name: partial(command_section, name) for name in commands()},
    **{task: partial(config_section, task) for task in ("shared", *CONFIGS)},
    "spaces": spaces_section,
}
