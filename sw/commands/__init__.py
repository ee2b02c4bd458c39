"""The commands of the command line, one file each. A command is a function that `sw.command_line` registers."""
