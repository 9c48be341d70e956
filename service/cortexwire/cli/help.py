"""What every command's help ends with."""


def examples(*lines: str) -> str:
    """Lay out example command lines for a help page, one each."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"  [cyan]{_escaped(line)}[/cyan]" for line in lines)])


def _escaped(line: str) -> str:
    return line.replace("[", "\\[")
