"""Fuzzing of every parser that reads bytes from outside: `python -m tests.fuzz` (see `tests.fuzz.__main__`).

| module | what it holds |
| --- | --- |
| `target` | what is fuzzed: a function, examples of its input, its limits |
| `targets` | the table of all targets |
| `mutation` | inputs made from a target's examples by a seeded generator |
| `judge` | runs one step and says what is wrong with it |
| `child` | runs targets in a process of their own |
| `runner` | starts the children, sees their crashes and hangs, keeps failing inputs |
"""
