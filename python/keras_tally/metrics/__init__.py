"""The metric classes, one file per family."""
