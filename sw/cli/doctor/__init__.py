"""What is wrong with a board, by checks from the link to a token, each built on those before it; or with a computer."""
