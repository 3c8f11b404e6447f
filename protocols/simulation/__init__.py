"""What the simulated providers share: scripted faults, answers and the record of a push."""
