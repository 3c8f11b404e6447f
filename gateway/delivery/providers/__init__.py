"""The providers of the gateway itself, one module each, and the base class of every provider (`base`).

A provider is found by its entry point (`gateway.delivery.provider_registry`); nothing imports the modules here by name.
"""
