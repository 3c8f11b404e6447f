"""What goes wrong in the world: processes killed, providers that misbehave, Redis that goes away."""
