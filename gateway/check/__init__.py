"""`rhopush check`: checks, findings, inventory of a RhoConnect, and clean-up."""
