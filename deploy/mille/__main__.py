"""`python -m deploy.mille` is `mille`."""

from deploy.mille.cli import main

main()
