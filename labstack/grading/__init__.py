"""How the labs are graded: a student's part, in a running stack, told the same story as the package's own.

`story` is the language the checks are written in, `machines` are those that a story can be told to,
`submission` reads what a student wrote, and `judge` runs it, in a process of its own, and says what broke.
"""
