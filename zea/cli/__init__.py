"""The `zea` command: one module per group of commands, loaded when one of them is called."""
