"""`python -m demo`: open the page."""

from demo.command import serve
from ram.system.command import command_line

if __name__ == "__main__":
    command_line("python -m demo", serve)
