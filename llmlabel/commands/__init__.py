"""The subcommands of `llmlabel`, one file per family."""
