"""Common parts of the simulated providers: scripted faults, answers and the record of a push."""
