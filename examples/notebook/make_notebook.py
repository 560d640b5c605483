"""Make walkthrough.ipynb from walkthrough.py and run it: `make notebook` (extra [notebook]).

The script is the source, because a script can be read, compared and tested; the notebook is what it shows.
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
SCRIPT, NOTEBOOK = HERE / "walkthrough.py", HERE / "walkthrough.ipynb"
_MARKER = re.compile(r"^# %%(?P<markdown> \[markdown\])?\n", re.MULTILINE)


def cells(script: str) -> list[tuple[str, str]]:
    """(kind, source) of every cell of a script in the percent format; kind is code or markdown."""
    marks = list(_MARKER.finditer(script))
    ends = [mark.start() for mark in marks[1:]] + [len(script)]
    found = []
    for mark, end in zip(marks, ends, strict=True):
        source = script[mark.end() : end].strip("\n")
        if mark["markdown"]:
            source = "\n".join(line.removeprefix("#").removeprefix(" ") for line in source.split("\n"))
        found.append(("markdown" if mark["markdown"] else "code", source))
    return found


def main() -> None:
    """Write the notebook with its outputs; stops at the first cell that fails."""
    import nbformat
    from nbclient import NotebookClient

    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        make[kind](source, id=f"cell-{number:02d}")
        for number, (kind, source) in enumerate(cells(SCRIPT.read_text()), start=1)
    ]
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute(cwd=str(HERE))
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran says nothing and changes every time
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, NOTEBOOK)
    print(f"{NOTEBOOK.name}: {len(notebook.cells)} cells")


if __name__ == "__main__":
    main()
