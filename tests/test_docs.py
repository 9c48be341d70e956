"""What documents and help pages tell a reader to type works: commands parse, the README's rig talks to an engine."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import zmq
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

from cortexwire.cli.app import app
from cortexwire.wire import Kind, Packet, decode_packet

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[list[str], TyperCommand]]:
    """Every command, with the words that lead to it."""

    def below(group: TyperGroup, words: list[str]) -> Iterator[tuple[list[str], TyperCommand]]:
        for name, command in group.commands.items():
            if isinstance(command, TyperGroup):
                yield from below(command, [*words, name])
            elif isinstance(command, TyperCommand):
                yield [*words, name], command

    top = typer.main.get_command(app)
    assert isinstance(top, TyperGroup)
    yield from below(top, [])


COMMANDS = {" ".join(words): command for words, command in commands()}


def command_lines() -> list[str]:
    in_pages = (line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines())
    in_help = (line for command in COMMANDS.values() for line in examples_of(command))
    return sorted({line for line in (*in_pages, *in_help) if line.startswith("cortexwire ")})


def examples_of(command: TyperCommand) -> list[str]:
    return [found.replace("\\[", "[") for found in re.findall(r"\[cyan\](.*)\[/cyan\]", command.epilog or "")]


@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_in_documents_and_help_parses(line: str) -> None:
    words = re.sub(r" [|&].*", "", line)
    arguments = [word for word in shlex.split(words, comments=True)[1:] if word != "--help"]
    name = next((" ".join(arguments[:n]) for n in (2, 1) if " ".join(arguments[:n]) in COMMANDS), None)
    assert name is not None, f"there is no such command: {line}"
    COMMANDS[name].make_context(name, arguments[len(name.split()) :])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0, result.output
    assert COMMANDS[name].help
    assert examples_of(COMMANDS[name])


def test_every_page_links_to_files_that_exist() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z0-9-]+)", (REPOSITORY / "README.md").read_text(), re.MULTILINE))
    assert named - targets == set()


def test_the_rig_of_the_readme_sends_what_an_engine_reads(tmp_path: Path) -> None:
    (program,) = (block for block in blocks(REPOSITORY / "README.md", "python") if "Rig(" in block)
    endpoint = f"ipc://{tmp_path}/rig"
    with zmq.Context() as context, context.socket(zmq.PULL) as engine:
        engine.set(zmq.RCVHWM, 0)
        engine.bind(endpoint)
        assert "range(30_000)" in program
        short = program.replace("tcp://127.0.0.1:5555", endpoint).replace("range(30_000)", "range(1000)")
        exec(compile(short, "README.md", "exec"), {})
        packets: list[Packet] = []
        while not packets or packets[-1].kind != Kind.END:
            assert engine.poll(5000)
            packets.append(decode_packet(engine.recv()))
    assert sum(packet.n_samples for packet in packets if packet.kind == Kind.WIDEBAND) == 30_000
