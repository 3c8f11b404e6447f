"""What `rhopush check` looks at, and what it finds."""
