"""`python -m cortexwire.cli`: how processes of this package start each other."""

from cortexwire.cli import main

main()
