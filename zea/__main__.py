"""`python -m zea`: the same as `zea`."""

from zea.cli.app import main

main()
