"""``python -m openline.cli``: the `openline` command where it is not on the path."""

from openline.cli import main

main()
