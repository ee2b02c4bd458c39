"""Conversations with a checkpoint's own chat template."""
