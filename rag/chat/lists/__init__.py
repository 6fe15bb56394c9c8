"""Lists and counts by reading everything: what is asked for, and where it is found in tables, sections and prose."""
