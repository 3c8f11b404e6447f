"""Operating system helpers without an event loop: private files, pauses, texts of network errors."""
