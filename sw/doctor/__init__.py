"""What is wrong with a board: checks from the link to a token, each built on those before it."""
