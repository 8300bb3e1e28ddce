"""One module per `fosp` command; each imports what it needs when it is called, so that `--help` is quick."""
