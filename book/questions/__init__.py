"""What the chapters ask, one file a chapter: beliefs, predictions, hints, and the answers to their gaps.

They stand here, and not in the notebooks, so that nobody reads an answer by accident. A chapter says
`from questions import ch01 as ask`.
"""
