"""Operating system helpers without an event loop: private files, secrets, pauses, texts of network errors,
imports without unused packages."""
