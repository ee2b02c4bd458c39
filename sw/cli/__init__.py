"""The commands of the command line, one file each. A command is a function that `sw.cli.command_line` registers."""
