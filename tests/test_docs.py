"""Drift fails the build: help ends with an example, the README has every command, every error class has its exit code."""

import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from agent.cli.main import run_command as agent_command
from agent.contract.errors import EdgewattError
from agent.contract.exits import run_command

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def group_of(program: str) -> click.Group:
    """The command group behind a console script: the one in its module that is in no other."""
    module = importlib.import_module(SCRIPTS[program].partition(":")[0])
    groups = [value for value in vars(module).values() if isinstance(value, click.Group)]
    inner = {id(command) for group in groups for _, command in commands_of(group)}
    (root,) = {id(group): group for group in groups if id(group) not in inner}.values()
    return root


def commands_of(group: click.Group) -> list[tuple[str, click.Command]]:
    """Names and commands of a group; a group may load them when they are asked for."""
    context = click.Context(group)
    found = [(name, group.get_command(context, name)) for name in sorted(group.list_commands(context))]
    return [(name, command) for name, command in found if command is not None]


def walk(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in commands_of(group):
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from walk(command, (*path, name))


@pytest.mark.parametrize("program", list(SCRIPTS))
class TestCommands:
    def test_every_command_shows_help(self, program):
        root = group_of(program)
        for path, _ in [((), root), *walk(root)]:
            result = CliRunner().invoke(root, [*path, "--help"], prog_name=program)
            assert result.exit_code == 0, (path, result.output)
            assert result.output.startswith(f"Usage: {' '.join((program, *path))}"), path

    def test_every_help_text_ends_with_an_example_of_the_command_itself(self, program):
        wrong = []
        root = group_of(program)
        for path, command in [((), root), *walk(root)]:
            _, found, example = (command.help or "").rpartition("Example:")
            lines = [line.strip() for line in example.replace("\b", "").splitlines() if line.strip()]
            if not found or not lines or not all(is_call(line, program, path) for line in lines):
                wrong.append(" ".join(path))
        assert wrong == []

    def test_every_option_is_explained(self, program):
        wrong = [
            f"{' '.join(path)} {parameter.opts[0]}"
            for path, command in walk(group_of(program))
            for parameter in command.params
            if isinstance(parameter, click.Option) and not parameter.help
        ]
        assert wrong == []

    def test_every_command_stands_in_the_readme(self, program):
        missing = [name for name, _ in commands_of(group_of(program)) if not in_readme(program, name)]
        assert missing == []


def is_call(line: str, program: str, path: tuple[str, ...]) -> bool:
    """Whether `program [options] path...` stands in a line; it may go on, or come out of a pipe."""
    words = " ".join(map(re.escape, path))
    return re.search(rf"\b{re.escape(program)} (?:--?[\w-]+(?: |=)(?:[^\s-]\S* )?)*{words}\b", line) is not None


def in_readme(program: str, name: str) -> bool:
    """Whether a line of a code block calls the command, or a `code span` names it, with or without the program."""
    call = rf"\b{re.escape(program)} (?:\S+ )*?{re.escape(name)}\b"
    span = rf"`(?:{re.escape(program)} )?{re.escape(name)}\b[^`\n]*`"
    return re.search(call, README) is not None or re.search(span, README) is not None


def all_errors() -> list[type[EdgewattError]]:
    """Every error class of the three packages, wherever it is defined."""
    for package in ("agent", "converter", "trainer"):
        for path in sorted((ROOT / package).rglob("*.py")):
            # Only modules that define one: adapters of libraries that are not installed here cannot be imported.
            if re.search(r"^class \w+\((\w+\.)?\w*Error\)", path.read_text(), re.MULTILINE):
                importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    found, queue = [], [EdgewattError]
    while queue:
        found.append(queue.pop())
        queue += found[-1].__subclasses__()
    return found


def test_every_error_class_has_its_documented_exit_code():
    rows = dict(re.findall(r"^\|\s*(\d+)\s*\|(.*)$", README, re.MULTILINE))
    for error in all_errors():
        assert str(error.exit_code) in rows, f"README has no exit code {error.exit_code} ({error.__name__})"
    for error in (EdgewattError, *EdgewattError.__subclasses__()):
        if error.__module__ == "agent.contract.errors":
            assert f"`{error.__name__}`" in rows[str(error.exit_code)], error.__name__


@pytest.mark.parametrize("of", ["edgewatt", "edgewatt-converter"])
def test_an_interrupt_is_told_and_has_its_documented_exit_code(of, capsys, monkeypatch):
    group = group_of(of)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(group, "main", interrupted)
    code = agent_command([]) if of == "edgewatt" else run_command(group, [], of)
    assert code == 130
    assert capsys.readouterr().err == f"{of}: interrupted\n"
    assert "| 130 |" in README


def test_files_and_folders_that_the_readme_names_exist():
    """Paths in its table of folders."""
    for name in re.findall(r"^\| `([a-z/-]+)` \|", README, re.MULTILINE):
        assert (ROOT / name).is_dir(), name


def test_every_room_explains_itself():
    """A package folder that has outgrown one screen of files has a README of about a page."""
    for package in ("agent", "converter", "trainer"):
        for folder in [ROOT / package, *(path for path in (ROOT / package).rglob("*") if path.is_dir())]:
            modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
            if len(modules) < 5:
                continue
            readme = folder / "README.md"
            assert readme.exists(), f"{folder.relative_to(ROOT)} has {len(modules)} modules and no README.md"
            assert len(readme.read_text().splitlines()) <= 80, readme
