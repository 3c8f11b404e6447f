"""The rules of tools/house_rules.py that look at names: each module holds one rule or two of one subject."""
