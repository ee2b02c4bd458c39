"""The commands of the command line, one file each. A command is a function that `sw.__main__` registers."""
