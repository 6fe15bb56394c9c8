"""The Chat and Compare pages."""
