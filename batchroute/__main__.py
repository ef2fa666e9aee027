"""`python -m batchroute` is the command."""

from batchroute.cli import main

main()
