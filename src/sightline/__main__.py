"""`python -m sightline` is the command line."""

from sightline.cli.main import main

main()
