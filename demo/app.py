"""The page as a host of Gradio apps runs it: `python demo/app.py`, or `demo` imported from here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a file that is run finds its own folder alone

from demo.command import build, serve
from ram.system.command import command_line

if __name__ == "__main__":
    command_line("demo/app.py", serve)
else:
    demo = build([])
