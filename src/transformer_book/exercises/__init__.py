"""Checks for the exercises, one module per chapter.

A check takes the reader's function and prints one short feedback: "✓" right, "✗" wrong and in which way,
"○" not written yet. It never raises because of what the reader wrote.
"""
