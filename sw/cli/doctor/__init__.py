"""Diagnosis of a board, in checks from the connection up to generated tokens, or of the host computer."""
