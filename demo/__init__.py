"""A page on which a visitor draws a digit and sees where the network looks: `python -m demo`, see docs/demo.md."""
